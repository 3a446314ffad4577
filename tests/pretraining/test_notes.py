from __future__ import annotations

from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from domainjepa.backbones import Backbone, traits
from domainjepa.config import BackboneConfig
from domainjepa.pretraining.monitor import nuisances
from domainjepa.pretraining.notes import affordable_samples, backbone_note
from domainjepa.pretraining.plan import make_plan
from tests.conftest import tiny, write_blobs


def work(reduction: int) -> int:
    """Floating-point operations of one image of 32 px."""
    config = BackboneConfig(name="resnet10t", stem_reduction=reduction)  # type: ignore[arg-type]
    return flops(Backbone(config, 3, 32).eval(), 32)


def flops(backbone: Backbone, size: int) -> int:
    with FlopCounterMode(display=False) as counted, torch.no_grad():
        backbone(torch.zeros(1, 3, size, size))
    return counted.get_total_flops()


def test_a_reduced_stem_costs_what_the_plan_says() -> None:
    assert 0.75 * 16 < work(4) / work(1) < 16  # the stem itself costs less
    assert 0.75 * 4 < work(2) / work(1) < 4
    backbone = Backbone(BackboneConfig(name="resnet10t"), 3, 32)
    nominal = traits("resnet10t")
    note = backbone_note(backbone, 32, nominal)
    assert "stem stride / 4: up to 16 times the work, for 4x4 positions of a global view" in note
    assert "backbone.stem_reduction=1 has 1x1 for as little as a 16th" in note
    whole = Backbone(BackboneConfig(name="resnet10t", stem_reduction=1), 3, 32)
    few = backbone_note(whole, 32, nominal)
    assert "1x1 positions, which is few: backbone.stem_reduction=2 has 2x2 for up to 4 times" in few
    assert "stem" not in backbone_note(whole, 128, nominal)


def test_smaller_views_cost_less(tmp_path: Path) -> None:
    data = write_blobs(tmp_path / "blobs.h5", size=64)
    common = {"backbone__name": "resnet10t", "backbone__stem_reduction": "auto"}
    costs = []
    for size in (64, 56, 48, 32):
        plan = make_plan(tiny(data, **common, views__global_size=size))
        assert plan.backbone.stem_reduction == 2  # that of whole images
        costs.append(flops(plan.backbone.eval(), size))
    assert costs[0] > costs[1] > costs[2] > 2 * costs[3]
    assert "2x2 positions, which is few" in dict(plan.notes)["backbone"]
    larger = make_plan(tiny(data, **common, views__global_size=128))
    assert larger.backbone.stem_reduction == 1


def test_shortcuts_take_a_tenth_of_a_run_at_most(blobs: Path) -> None:
    plan = make_plan(tiny(blobs))
    # 8 steps of 16 with 3 views are 384; a tenth, twice with 4 views of each sample: 4 samples.
    assert affordable_samples(plan.config) == 4
    assert "not looked for" in dict(plan.notes)["shortcuts"]
    assert nuisances(plan) == []
    long = make_plan(tiny(blobs, steps=200))
    assert affordable_samples(long.config) == 120
    assert "shortcuts" not in dict(long.notes)
    assert "shortcuts" not in dict(make_plan(tiny(blobs, log__shortcuts=False)).notes)
