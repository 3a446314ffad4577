"""The paper's controlled experiment, in small."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch

from domainjepa.objective import SIGReg

SCRIPT = Path(__file__).parents[2] / "examples" / "x_plane.py"


@pytest.mark.skipif(not SCRIPT.exists(), reason="the examples are not here")
def test_redrawn_slices_unfold_the_x_and_fixed_ones_do_not() -> None:
    spec = importlib.util.spec_from_file_location("x_plane", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)

    start = example.x_plane(256, 1024)
    torch.testing.assert_close(start.var(0).mean(), torch.tensor(1.0), rtol=0.02, atol=0)
    assert example.distance(start) > 4
    redrawn = example.unfold(start, SIGReg(16), steps=600)
    fixed = example.unfold(start, SIGReg(16, directions="fixed"), steps=600)
    assert example.distance(redrawn) < 0.6 * example.distance(start)
    assert example.distance(fixed) > 0.9 * example.distance(start)
