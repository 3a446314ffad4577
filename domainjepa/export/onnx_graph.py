"""An encoder as an ONNX graph that takes raw images, and the pages that say how to feed it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from domainjepa.data.source import Source
from domainjepa.domains.intensity import OwnScale, load_intensity
from domainjepa.encoder.frozen import FrozenEncoder
from domainjepa.errors import MissingExtra, UserError
from domainjepa.export.input_page import input_page, markdown
from domainjepa.export.own_scale_graph import OPSET, own_scale_graph
from domainjepa.export.raw_images import RawImages, input_dtype
from domainjepa.writing import write_atomically

SECOND = ".intensity.onnx"
LARGEST = 2**31
"""Bytes that one ONNX file may have: protobuf's limit."""


def to_onnx(encoder: FrozenEncoder, out: Path, source: Source | None) -> str:
    """FILE.onnx from stored pixels to features, and beside it FILE.json and FILE.md on its input.

    Where each image has a scale of its own (MR), FILE.intensity.onnx brings it to that, and
    FILE.onnx goes on from there.

    Raises:
        MissingExtra: onnx or onnxscript is not installed.
        UserError: one of the files is there, or the network is too large for one file.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401  (the exporter of torch writes through it)
    except ImportError as error:
        raise MissingExtra("onnx", "export", "export --to onnx") from error
    intensity = load_intensity(encoder.card.intensity)
    beside = [out.with_suffix(ending) for ending in (".json", ".md")]
    graphs: dict[Path, Any] = {out: None}
    if isinstance(intensity, OwnScale):
        graphs[out.with_suffix(SECOND)] = None
    for path in (*beside, *graphs):
        if path.exists():
            raise UserError(f"{path.name} exists already: choose another --out, or remove it.")
    if sum(weight.nbytes for weight in encoder.network[0].state_dict().values()) >= LARGEST:
        raise UserError(
            f"{encoder.card.backbone.name} has more than 2 GB of weights, which one ONNX file "
            "cannot hold: export --to timm, or use encoder.safetensors."
        )
    graphs[out] = _traced(encoder, RawImages(encoder, intensity).eval(), input_dtype(intensity))
    if isinstance(intensity, OwnScale):
        graphs[out.with_suffix(SECOND)] = own_scale_graph(intensity, encoder.card.dimensions)
    page = input_page(encoder, intensity, _shape(graphs[out]), [path.name for path in graphs])
    out.parent.mkdir(parents=True, exist_ok=True)
    for path, model in graphs.items():
        _write(path, _sealed(model, page))
    _write(beside[0], (json.dumps(page, indent=2) + "\n").encode())
    _write(beside[1], markdown(page).encode())
    return f"How to feed it: {beside[1].name}; for programs: {beside[0].name}."


def _write(path: Path, data: bytes) -> None:
    write_atomically(path, lambda file: file.write(data))


def _traced(encoder: FrozenEncoder, module: RawImages, dtype: torch.dtype) -> Any:
    """The graph that torch writes: the batch is free, and so are the sides where they may be."""
    card = encoder.card
    sides = [card.size] * card.dimensions
    free: dict[int, Any] = {0: torch.export.Dim("batch")}
    dense = module.layers is not None
    # In three dimensions the exporter wrote down the positions of the example.
    if card.dimensions == 2 and not (dense and encoder.grid.fixed):
        free |= {2: torch.export.Dim.AUTO, 3: torch.export.Dim.AUTO}
        if not dense:  # no side of the example may look like one of the network's
            sides = [card.size + 3, card.size + 5]
    program = torch.onnx.export(
        module,
        (torch.zeros(2, card.channels, *sides, dtype=dtype),),
        dynamo=True,
        verbose=False,
        opset_version=OPSET,
        input_names=["images"],
        output_names=["patches" if dense else "features"],
        dynamic_shapes=(free,),
    )
    assert program is not None
    return program.model_proto


def _shape(model: Any) -> list[int | str]:
    """Of the input: a number where the graph takes no other, else a letter."""
    sides = model.graph.input[0].type.tensor_type.shape.dim
    names = ("N", "C", "H", "W") if len(sides) == 4 else ("N", "C", "D", "H", "W")
    return [side.dim_value or name for side, name in zip(sides, names, strict=True)]


def _sealed(model: Any, page: dict[str, Any]) -> bytes:
    """A graph's bytes, with what it is and without the places where it was made."""
    import onnx

    _forget_places(model)
    model.doc_string = f"{page['backbone']} pretrained by domainjepa: {page['told']}"
    told = {name: page[name] for name in ("intensity", "size", "domain", "encoder_sha256")}
    told |= {"channels": page["input"]["shape"][1], "input": page["input"]}
    texts = {name: of if isinstance(of, str) else json.dumps(of) for name, of in told.items()}
    onnx.helper.set_model_props(model, texts)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


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
