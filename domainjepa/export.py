"""An encoder for other software: a scikit-learn pipeline, an ONNX graph, a timm model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from domainjepa.data.source import Source
from domainjepa.encoder.frozen import FrozenEncoder
from domainjepa.errors import MissingExtra, UserError, did_you_mean
from domainjepa.writing import write_atomically


def export(encoder: FrozenEncoder, to: str, out: Path, source: Source | None = None) -> str:
    """Write an encoder for other software.

    Args:
        encoder: a trained one.
        to: sklearn, onnx or timm.
        out: the file, or for timm the folder, to write.
        source: labelled data, for sklearn alone: the pipeline then ends in a classifier.

    Returns:
        How to use it, for a person.

    Raises:
        UserError: no such target, a target that cannot hold this encoder, a classifier of patches,
            or a file that is there.
        MissingExtra: the package that writes it is not installed.
    """
    if to not in TARGETS:
        raise UserError(f"export --to {to!r} is not known.{did_you_mean(to, TARGETS)}")
    if out.exists():
        raise UserError(f"{out.name} exists already: choose another --out, or remove it.")
    if source is not None and to != "sklearn":
        raise UserError(f"--data trains a classifier, which {to} does not take: leave it out.")
    if source is not None and encoder.output == "patches":
        raise UserError("--data trains a classifier of samples: leave it out, or --patches.")
    return TARGETS[to](encoder, out, source)


class Features(nn.Module):
    """(N, C, S, S), of volumes (N, C, S, S, S), on the 0..1 scale -> (N, D) features; of an
    encoder of patches (N, D, *positions)."""

    def __init__(self, encoder: FrozenEncoder) -> None:
        super().__init__()
        self.backbone, self.standardise = encoder.network
        self.layers = encoder.layers if encoder.output == "patches" else None

    def forward(self, images: Tensor) -> Tensor:
        seen = self.standardise(images)
        if self.layers is None:
            return self.backbone.probe_features(seen)
        return self.backbone.feature_maps(seen, self.layers)


def to_sklearn(encoder: FrozenEncoder, out: Path, source: Source | None) -> str:
    """A skops file with a pipeline: the encoder, and with labels LayerNorm and a classifier.

    skops loads no type that the reader does not name, so opening such a file runs no code of it.
    """
    try:
        import skops.io
    except ImportError as error:
        raise MissingExtra("skops", "export", "export --to sklearn") from error
    from sklearn.pipeline import make_pipeline

    steps: list[Any] = [encoder]
    if source is not None:
        steps.append(_classifier(encoder, source))
    data = skops.io.dumps(make_pipeline(*steps))
    trusted = skops.io.get_untrusted_types(data=data)
    _write(out, lambda file: file.write(data))
    return (
        f"pipeline = skops.io.load({out.name!r}, trusted={trusted})\n"
        f"pipeline.{'predict' if source is not None else 'transform'}(images)"
    )


def _classifier(encoder: FrozenEncoder, source: Source) -> Any:
    """The linear probe of the evaluation, fitted on the training labels."""
    from domainjepa.data.metadata.targets import target_of
    from domainjepa.evaluation.encoders.features import features_of
    from domainjepa.evaluation.probes.fitting import fit_probe
    from domainjepa.evaluation.protocol import read_protocol
    from domainjepa.evaluation.splits import train_test

    protocol, target = read_protocol("linear"), target_of(source)
    train = train_test(source, target, protocol.seed).train
    groups = None if source.groups is None else source.groups[train]
    features = features_of(encoder, source, train)
    probe, _ = fit_probe(protocol, target, features, target.values[train], groups)
    return probe


def to_onnx(encoder: FrozenEncoder, out: Path, source: Source | None) -> str:
    """An ONNX graph from standardisation to features; its metadata hold the intensity."""
    try:
        import onnx
        import onnxscript  # noqa: F401  (the exporter of torch writes through it)
    except ImportError as error:
        raise MissingExtra("onnx", "export", "export --to onnx") from error
    card = encoder.card
    module = Features(encoder).eval()
    sides: list[int | str] = [card.size] * card.dimensions
    channels = len(card.mean)  # after the intensity, which may make several of one
    example = torch.zeros(2, channels, *[card.size] * card.dimensions)
    dense = encoder.output == "patches"
    free: dict[int, Any] = {0: torch.export.Dim("batch")}
    if dense and card.dimensions == 2 and not encoder.grid.fixed:
        # In three dimensions the exporter wrote down the positions of the example.
        free |= {2: torch.export.Dim.AUTO, 3: torch.export.Dim.AUTO}
        sides = ["H", "W"]
    program = torch.onnx.export(
        module,
        (example,),
        dynamo=True,
        verbose=False,
        input_names=["images"],
        output_names=["patches" if dense else "features"],
        dynamic_shapes=(free,),
    )
    assert program is not None
    model = program.model_proto
    _forget_places(model)
    shape = ", ".join(map(str, ["N", channels, *sides]))
    model.doc_string = (
        f"{card.backbone.name} pretrained by domainjepa. Input: ({shape}) float32 after the "
        "intensity of the metadata, 8-bit values divided by 255."
        + (f" Output: patches, (N, D, positions), {encoder.grid.stride} px apart." if dense else "")
    )
    onnx.helper.set_model_props(
        model,
        {
            "intensity": json.dumps(card.intensity),
            "size": str(card.size),
            "channels": str(channels),
            "domain": card.domain,
            "encoder_sha256": card.sha256,
        },
    )
    onnx.checker.check_model(model)
    _write(out, lambda file: file.write(model.SerializeToString()))
    return model.doc_string


def _forget_places(message: Any) -> None:
    """Takes out what the exporter notes of each node: tracebacks with the paths of this machine.

    Args:
        message: of protobuf; changed in place, with all that is inside.
    """
    for described, value in message.ListFields():
        if described.name in ("doc_string", "metadata_props"):
            message.ClearField(described.name)
        elif described.message_type is not None:
            for inside in [value] if hasattr(value, "ListFields") else value:
                _forget_places(inside)


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


TARGETS: dict[str, Callable[[FrozenEncoder, Path, Source | None], str]] = {
    "sklearn": to_sklearn,
    "onnx": to_onnx,
    "timm": to_timm,
}


def _write(out: Path, write: Callable[[Any], object]) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, write)
