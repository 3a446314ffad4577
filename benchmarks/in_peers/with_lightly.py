"""LeJEPA from the parts of lightly, in the plain loop of PyTorch that its documentation shows.

`LeJEPALoss` refuses views without local ones; its two terms, each a function of its own, take them.
Its own views are those of its documented example: `DINOTransform` with the arguments below.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from lightly.data import LightlyDataset
from lightly.loss.lejepa_loss import SIGReg, lejepa_invariance_loss
from lightly.models.modules import LeJEPAProjectionHead
from lightly.transforms import DINOTransform
from shared import (
    IMAGENET,
    Meter,
    OurViews,
    first_backbone,
    keep,
    run_config,
    share_of_peak,
    task,
    versions,
)
from torch import Tensor, nn
from torch.utils.data import DataLoader

from domainjepa.config import PretrainConfig


def its_views(pictures: Path, config: PretrainConfig) -> Iterator[Tensor]:
    """(2, N, 3, S, S) float32 without end."""
    size = config.views.global_size
    assert size is not None
    transform = DINOTransform(
        global_crop_size=size,
        global_crop_scale=(0.3, 1.0),
        n_local_views=0,
        gaussian_blur=(0.5, 0.5, 0.5),
    )
    loader = DataLoader(
        LightlyDataset(str(pictures), transform=transform),
        batch_size=config.batch_size,
        shuffle=True,
        drop_last=True,
    )
    while True:
        for views, _, _ in loader:
            yield torch.stack(views)


def main() -> None:
    asked = task()
    meter = Meter()
    config = run_config(asked.data, asked.steps, asked.set)
    backbone = first_backbone(config)
    head = LeJEPAProjectionHead(
        backbone.num_features,
        hidden_dim=config.projector.hidden,
        output_dim=config.projector.out,
        num_layers=config.projector.layers,
    )
    model = nn.Sequential(backbone, head).train()
    sigreg, lam = SIGReg(num_vectors=config.objective.num_slices), config.objective.lam
    # lr and weight decay of our own run.
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.optimizer.lr, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: share_of_peak(config, step)
    )
    ours = OurViews(config) if asked.views == "ours" else None
    feed = iter(ours) if ours else its_views(asked.pictures, config)
    for _ in range(asked.steps):
        views = next(feed)
        z = model(views.flatten(0, 1)).unflatten(0, views.shape[:2])
        loss = lam * sigreg(z) + (1 - lam) * lejepa_invariance_loss(all_proj=z, global_proj=z)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        meter.tick()
    keep(asked.out, backbone, ours.numbers if ours else IMAGENET)
    meter.write(asked.out, last_loss=loss.item(), versions=versions("lightly"))


if __name__ == "__main__":
    main()
