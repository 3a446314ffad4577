from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from domainjepa.domains.view_spec import ViewSpec
from domainjepa.errors import ConfigError
from domainjepa.registry import DOMAINS

SPEC = ViewSpec(32, (0.5, 1.0), 3, np.dtype(np.uint8))


def test_a_transform_can_be_left_out_by_its_name() -> None:
    astronomy = DOMAINS.load("astronomy")
    every = [step.name for step in astronomy().kept(SPEC)]
    fewer = [step.name for step in astronomy(without=("gain", "seeing")).kept(SPEC)]
    assert fewer == [name for name in every if name not in ("gain", "seeing")]
    assert len(fewer) == len(every) - 2


def test_what_global_views_alone_have_can_be_left_out_of_a_run() -> None:
    domain = DOMAINS.load("radiography")(without=("collimation",))
    for local in (False, True):
        names = [step.name for step in domain.kept(replace(SPEC, local=local))]
        assert "collimation" not in names
        assert "gamma" in names


@pytest.mark.parametrize(("name", "told"), [("gian", "gain"), ("crop", "seeing")])
def test_what_cannot_be_left_out_is_refused(name: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told) as refused:
        DOMAINS.load("astronomy")(without=(name,)).kept(SPEC)
    assert str(refused.value).count(told) == 1
