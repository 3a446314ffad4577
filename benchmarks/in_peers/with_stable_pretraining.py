"""LeJEPA from the parts of stable-pretraining, run by its Module, DataModule and Manager.

Its class `LeJEPA` takes networks with an `embed_dim`, which timm's ResNets lack, and refuses views
without local ones; its SIGReg is a module of its own, and its loss is `prediction + lambda SIGReg`,
SIGReg of all views as one sample. Its own views are those that its README names LeJEPA beside: a
batched chain of kornia, on the device that trains, which here is the processor.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import lightning
import stable_pretraining as spt
import torch
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
from stable_pretraining.data import gpu_transforms, transforms
from stable_pretraining.methods.lejepa import SlicedEppsPulley
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder

from domainjepa.config import PretrainConfig


def its_views(pictures: Path, config: PretrainConfig) -> DataLoader[Any]:
    """Batches with 2 views of each sample, made when a batch has come to its device."""
    chain = gpu_transforms.GPUCompose(
        [
            gpu_transforms.GPURandomResizedCrop(size=config.views.global_size, scale=(0.08, 1.0)),
            gpu_transforms.GPURandomHorizontalFlip(p=0.5),
            gpu_transforms.GPUColorJitter(0.4, 0.4, 0.2, 0.1, p=0.8),
            gpu_transforms.GPURandomGrayscale(p=0.2),
            gpu_transforms.GPUGaussianBlur(kernel_size=23, p=0.5),
            gpu_transforms.GPUNormalize(**{name: list(of) for name, of in IMAGENET.items()}),
        ]
    )
    dataset = spt.data.FromTorchDataset(
        ImageFolder(str(pictures)),
        names=["image", "label"],
        transform=transforms.ToImage(rgb=True, scale=True),
        gpu_transform=gpu_transforms.StackedMultiView(chain, n_views=2),
    )
    return DataLoader(dataset, batch_size=config.batch_size, shuffle=True, drop_last=True)


def main() -> None:
    asked = task()
    meter = Meter()
    config = run_config(asked.data, asked.steps, asked.set)
    ours = OurViews(config) if asked.views == "ours" else None
    backbone = first_backbone(config)
    lam, wide = config.objective.lam, [config.projector.hidden] * (config.projector.layers - 1)

    def forward(module: Any, batch: dict[str, Any], stage: str) -> dict[str, Any]:
        views = (
            ours.standardise(batch["global"])
            if ours
            else torch.stack([view["image"] for view in batch["views"]])
        )
        features = module.backbone(views.flatten(0, 1))
        flat = module.projector(features)
        z = flat.unflatten(0, views.shape[:2])
        prediction = (z.mean(0) - z).square().mean()
        return {"loss": prediction + lam * module.sigreg(flat), "embedding": features.detach()}

    class Ticks(lightning.Callback):
        def on_train_batch_end(self, *_: Any) -> None:
            meter.tick()

    spt.set(cache_dir=str((asked.out / "spt").resolve()), verbose="WARNING")
    module = spt.Module(
        forward=forward,
        backbone=backbone,
        projector=spt.backbone.MLP(
            backbone.num_features,
            [*wide, config.projector.out],
            norm_layer="batch_norm",
            activation_layer=torch.nn.ReLU,
            inplace=True,
        ),
        sigreg=SlicedEppsPulley(num_slices=config.objective.num_slices),
        optim={
            # lr and weight decay of our own run.
            "optimizer": {"type": "AdamW", "lr": config.optimizer.lr, "weight_decay": 5e-4},
            "scheduler": partial(
                torch.optim.lr_scheduler.LambdaLR,
                lr_lambda=lambda step: share_of_peak(config, step),
            ),
            "interval": "step",
        },
    )
    trainer = lightning.Trainer(
        max_steps=asked.steps,
        max_epochs=-1,
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        num_sanity_val_steps=0,
        limit_val_batches=0,
        callbacks=[Ticks()],
    )
    train = ours.loader if ours else its_views(asked.pictures, config)
    spt.Manager(trainer=trainer, module=module, data=spt.data.DataModule(train=train), seed=0)()
    keep(asked.out, backbone, ours.numbers if ours else IMAGENET)
    meter.write(asked.out, versions=versions("stable-pretraining", "lightning", "kornia"))


if __name__ == "__main__":
    main()
