"""An encoder as a folder that timm loads."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from domainjepa.data.source import Source
from domainjepa.encoder.frozen import FrozenEncoder
from domainjepa.errors import UserError


def to_timm(encoder: FrozenEncoder, out: Path, source: Source | None) -> str:
    """A folder with weights and `config.json` for `timm.create_model("local-dir:FOLDER")`."""
    from timm.models import save_for_hf

    card = encoder.card
    backbone, _ = encoder.network
    if card.dimensions == 3:
        raise UserError(f"{card.backbone.name} is no timm model: export --to onnx holds it.")
    if card.backbone.stem_reduction != 1:
        raise UserError(
            f"the stride of this {card.backbone.name}'s stem was divided by "
            f"{card.backbone.stem_reduction} for small images, which timm cannot build: export "
            "--to onnx holds it as it is."
        )
    channels = len(card.mean)  # after the intensity, which may make several of one
    built: dict[str, Any] = {"in_chans": channels}
    if backbone.reads_layers:  # a plain ViT, whose position embedding has the size of the images
        built["img_size"] = card.size
        if getattr(backbone.net, "dynamic_img_size", False):  # not those of relative positions
            built["dynamic_img_size"] = True
    seen = {
        "mean": list(card.mean),
        "std": list(card.std),
        "input_size": [channels, card.size, card.size],
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as part:
        whole = Path(part) / out.name
        save_for_hf(
            backbone.net,
            str(whole),
            model_config={"pretrained_cfg": seen},
            model_args=built,
            safe_serialization=True,
        )
        whole.rename(out)  # an interrupted export leaves no half of a folder
    return (
        f'model = timm.create_model("local-dir:{out.name}", pretrained=True, num_classes=0)\n'
        "Maps: features_only=True in the place of num_classes=0 (docs/dense.md).\n"
        "Its mean and std are of images after the intensity: "
        f"{json.dumps(card.intensity)}"
    )
