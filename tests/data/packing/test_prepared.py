from __future__ import annotations

import numpy as np
import pytest

from domainjepa.data.packing import prepared
from domainjepa.data.source import OpenOptions
from domainjepa.data.storage.layout import Array
from domainjepa.errors import DataError

IMAGES = Array((4, 8, 8, 1), np.dtype("u1"))


@pytest.mark.parametrize("text", [None, "", "{", "[]", b"\xff", "3", {"format": 9}])
def test_other_attributes_mean_nothing(text: object) -> None:
    assert prepared.about(text) is None


def test_json_and_plain_data_are_read() -> None:
    assert prepared.about(b'{"format": 1, "loader": "fits"}') == prepared.about(
        {"format": 1, "loader": "fits"}
    )


def test_the_layout_is_known_whatever_the_sizes() -> None:
    def layout(*shape: int, **options: str) -> object:
        return prepared.layout_in({"images": Array(shape, np.dtype("f4"))}, OpenOptions(**options))

    assert str(layout(4, 2, 3, 40)) == "channels last"
    assert getattr(layout(4, 5, 2, 3, 1), "shape", None) == (5, 2, 3, 1)
    assert layout(4, 5) is None
    assert layout(4, 5, 6, 1, labels="other") is None
    assert layout(4, 5, 6, 1, labels="labels") is not None


def test_columns_of_another_length_are_refused() -> None:
    arrays = {"images": IMAGES, "labels": Array((3,), np.dtype("i8"))}
    with pytest.raises(DataError, match=r"'labels' in it is 3 int64; it should have 4 rows"):
        prepared.restored({}, arrays, lambda name: np.zeros(3), "it")


def test_only_cards_that_are_known_are_taken() -> None:
    told = {"format": 1, "loader": "arrays", "card": "../secret", "modality": 7}
    fields = prepared.restored(told, {"images": IMAGES}, lambda name: np.zeros(4), "it")
    assert "card" not in fields
    assert "modality" not in fields
    fields = prepared.described({"card": "breastmnist"}, None)
    assert fields["card"]["name"] == "breastmnist"
