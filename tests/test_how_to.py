"""What the pages of docs/how-to/ show, used as they say."""

from __future__ import annotations

import random
import re
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from domainjepa import registry
from domainjepa.backbones import Backbone
from domainjepa.config import BackboneConfig
from domainjepa.domains.view_spec import ViewSpec
from domainjepa.errors import ConfigError

HOW_TO = Path(__file__).parent.parent / "docs" / "how-to"


def shown(page: str) -> dict[str, Any]:
    """What the Python of a page defines."""
    scope: dict[str, Any] = {"__name__": "shown"}
    for block in re.findall(r"^```python\n(.*?)^```", (HOW_TO / page).read_text(), re.S | re.M):
        exec(compile(block, page, "exec"), scope)
    return scope


def test_the_domain_makes_views_of_rock() -> None:
    domain = shown("domain.md")["ThinSections"]()
    rng = np.random.default_rng(0)
    samples = [rng.integers(0, 255, (64, 64, 3), np.uint8) for _ in range(8)]
    assert domain.fit_intensity(samples) is not None
    spec = ViewSpec(size=32, scale=(0.3, 1.0), channels=3, dtype=np.dtype(np.uint8))
    assert [step.name for step in domain.kept(spec)] == ["crop", "gain"]
    chain = domain.chain(spec)
    chain.set_random_state(np.random.default_rng(0), random.Random(0))
    assert chain(image=samples[0])["image"].shape == (32, 32, 3)


def test_the_backbone_takes_views_of_two_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.BACKBONES.builtin, "lab-small", "lab_networks:small")
    lab = types.ModuleType("lab_networks")
    vars(lab).update(shown("backbone.md"))
    monkeypatch.setitem(sys.modules, "lab_networks", lab)
    net = Backbone(BackboneConfig(name="lab-small"), channels=4, size=32)
    assert net.dim == 128
    assert net(torch.zeros(2, 4, 16, 16)).shape == (2, 128)
    with pytest.raises(ConfigError, match="drop_path"):
        Backbone(BackboneConfig(name="lab-small", drop_path=0.1), channels=4, size=32)
