from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from domainjepa.data.metadata.fields import AmbiguousNumbers, Comma, typed


@pytest.mark.parametrize(
    ("fields", "values"),
    [
        (["1", " 2", "-3"], [1, 2, -3]),
        (["0.5", "1e-05", "2"], [0.5, 1e-5, 2.0]),
        (["1e5", "0.5"], [1e5, 0.5]),
        (["0,100", "0,5"], [0.1, 0.5]),
        (["1.234,5", "2"], [1234.5, 2.0]),
        (["1,234.5", "2"], [1234.5, 2.0]),
        (["inf", "1"], [np.inf, 1.0]),
        (["true", "FALSE"], [True, False]),
    ],
)
def test_a_type_is_that_of_all_fields(fields: list[str], values: list[Any]) -> None:
    found = typed(fields)
    assert found.tolist() == values
    assert found.dtype == np.array(values).dtype


@pytest.mark.parametrize(
    "fields", [["1", "2", "2"], ["true", "false", "true"], ["a", "b", "a"], ["0.5", "1.5", "0.5"]]
)
def test_a_blank_changes_no_other_value(fields: list[str]) -> None:
    whole, gap = typed(fields), typed([*fields, ""])
    assert [str(one) for one in gap[:-1].tolist()] == [
        f"{one}.0" if isinstance(one, int) and not isinstance(one, bool) else str(one)
        for one in whole.tolist()
    ]
    assert gap[-1] == "" or np.isnan(gap[-1])


@pytest.mark.parametrize(
    "fields",
    [["1E2", "10E1"], ["007", "7"], ["1_12", "11_2"], ["9" * 19, "1"], ["１", "1"], ["1e400", "1"]],
)
def test_identifiers_that_a_number_would_merge_stay_apart(fields: list[str]) -> None:
    assert typed(fields).tolist() == fields


def test_none_is_a_word_among_words_and_a_blank_among_numbers() -> None:
    assert typed(["none", "mild", "NA", "None"]).tolist() == ["none", "mild", "NA", "None"]
    np.testing.assert_array_equal(typed(["1", "NA", "none"]), [1, np.nan, np.nan])
    assert typed(["none", "mild"], ["none"]).tolist() == ["", "mild"]
    np.testing.assert_array_equal(typed(["unknown", "5"], ["unknown"]), [np.nan, 5])


@pytest.mark.parametrize(("comma", "value"), [("decimal", 1.234), ("unknown", None)])
def test_a_comma_that_may_be_either_is_asked_for(comma: Comma, value: float | None) -> None:
    if value is None:
        with pytest.raises(AmbiguousNumbers, match=r"'1,234'.*comma may be a decimal point or"):
            typed(["1,234", "5"], (), comma)
    else:
        assert typed(["1,234", "5"], (), comma).tolist() == [value, 5.0]
