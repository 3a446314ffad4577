"""`domainjepa export`: what an encoder is written as."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from domainjepa.data.source import Source
from domainjepa.encoder.frozen import FrozenEncoder
from domainjepa.errors import UserError, did_you_mean
from domainjepa.export.onnx_graph import to_onnx
from domainjepa.export.sklearn_pipeline import to_sklearn
from domainjepa.export.timm_folder import to_timm

TARGETS: dict[str, Callable[[FrozenEncoder, Path, Source | None], str]] = {
    "sklearn": to_sklearn,
    "onnx": to_onnx,
    "timm": to_timm,
}
ENDINGS = {"sklearn": ".skops", "onnx": ".onnx", "timm": ""}
"""Of what is written; nothing for a folder."""


def export(encoder: FrozenEncoder, to: str, out: Path, source: Source | None = None) -> str:
    """Write an encoder for other software.

    Args:
        encoder: a trained one.
        to: sklearn, onnx or timm.
        out: the file, FILE.skops or FILE.onnx, or for timm the folder, to write.
        source: labelled data, for sklearn alone: the pipeline then ends in a classifier.

    Returns:
        How to use it, for a person.

    Raises:
        UserError: no such target, an ending that is not what it writes, a target that cannot hold
            this encoder, a classifier of patches, or a file that is there.
        MissingExtra: the package that writes it is not installed.
    """
    if to not in TARGETS:
        raise UserError(f"export --to {to!r} is not known.{did_you_mean(to, TARGETS)}")
    _refuse_ending(to, out)
    if out.exists():
        raise UserError(f"{out.name} exists already: choose another --out, or remove it.")
    if source is not None and to != "sklearn":
        raise UserError(f"--data trains a classifier, which {to} does not take: leave it out.")
    if source is not None and encoder.output == "patches":
        raise UserError("--data trains a classifier of samples: leave it out, or --patches.")
    return TARGETS[to](encoder, out, source)


def _refuse_ending(to: str, out: Path) -> None:
    """A file that says by its name to be something else would be opened as that."""
    wanted = ENDINGS[to]
    if wanted and out.suffix != wanted:
        raise UserError(f"--out {out.name!r}: {to} is written to FILE{wanted}")
    # A folder may be called resnet-0.5, not encoder.pth.
    if not wanted and re.fullmatch(r"\.[A-Za-z]\w*", out.suffix):
        raise UserError(f"--out {out.name!r}: {to} is a folder, whose name has no such ending")
