"""A source through a frozen encoder, position by position: one sample in memory at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import h5py
import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from domainjepa import waiting
from domainjepa.backbones.feature_maps import Layers
from domainjepa.data.chosen import of_rows
from domainjepa.data.files.identity import Identity
from domainjepa.data.source import Source
from domainjepa.embed import beside_features, readable
from domainjepa.encoder.artefact import package_versions
from domainjepa.encoder.frozen import FrozenEncoder
from domainjepa.encoder.patches import Patches
from domainjepa.errors import MissingExtra, UserError
from domainjepa.writing import write_atomically

CHUNK = 64
"""Positions a side of a chunk, so that a part of a large map can be read."""


class Target(Protocol):
    """A group of HDF5 or of Zarr."""

    def array(self, name: str, shape: tuple[int, ...], chunks: tuple[int, ...]) -> Any:
        """A new array of float32."""

    def column(self, name: str, values: NDArray[Any]) -> None:
        """A small array, whole."""

    def about(self, text: dict[str, Any]) -> None:
        """What it is and where it came from."""


def embed_patches(
    encoder: str | Path, source: Source, out: Path, layers: Layers = "last", scale: float = 1.0
) -> str:
    """Write `patches` (N, h, w, D) float32, of volumes (N, d, h, w, D), and what lies beside.

    Of samples of several sizes `patches` is a group of one array a row, named by its place: 0, 1 …
    `pitch` (N, 2) or (N, 3) float64 holds the stored pixels from position to position, `sides`
    int64 the stored sides. The attribute `domainjepa` is JSON: encoder, settings, data, versions.
    The file is whole or not there; labels, ids and columns are those of `domainjepa.embed.embed`.

    Args:
        encoder: a run folder or an `encoder.safetensors`.
        source: the images.
        out: a `.h5` file, or a `.zarr` folder that does not exist.
        layers, scale: see `FrozenEncoder`.

    Returns:
        What was written, in words.

    Raises:
        UserError: another suffix, or an encoder or data that cannot be read.
        MissingExtra: Zarr is not installed.
    """
    if out.suffix not in (".h5", ".hdf5", ".zarr"):
        raise UserError(f"--out {out.name!r}: patch features are written to .h5 or .zarr")
    if str(encoder).startswith("timm:"):
        raise UserError(f"{encoder}: patch features are written for encoders pretrained here")
    frozen = FrozenEncoder(encoder, output="patches", layers=layers, scale=scale)
    rows = readable(source)
    columns = beside_features(source, rows)
    some = of_rows(source, rows)
    about = _about(frozen, source)
    out.parent.mkdir(parents=True, exist_ok=True)
    told: list[str] = []

    def fill(target: Target) -> None:
        told.append(_fill(target, frozen, some))
        for name, values in columns.items():
            target.column(name, values)
        target.about(about)

    if out.suffix == ".zarr":
        _write_zarr(out, fill)
    else:
        write_atomically(out, lambda file: _write_hdf5(file, fill))
    return told[0]


def parse_layers(text: str) -> Layers:
    """`last`, a number, or several between commas.

    Raises:
        UserError: something else.
    """
    if text == "last":
        return "last"
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError as error:
        raise UserError(f"--layers {text!r}: last, or numbers such as -1 or -4,-3") from error
    return numbers[0] if len(numbers) == 1 else numbers


def _fill(target: Target, frozen: FrozenEncoder, source: Source) -> str:
    sides = np.array([source.sides(row) for row in range(len(source))], np.int64)
    uniform = len(np.unique(sides, axis=0)) == 1
    if source.volumetric and source.spacings is not None:
        uniform = uniform and len(np.unique(source.spacings, axis=0)) == 1
    pitch, whole = np.zeros(sides.shape), None
    shape: tuple[int, ...] = ()
    for row, found in enumerate(_shown(frozen, source)):
        shape = found.features.shape
        chunks = (*(min(side, CHUNK) for side in shape[:-1]), shape[-1])
        if not uniform:
            target.array(f"patches/{row}", shape, chunks)[...] = found.features
        else:
            if whole is None:
                whole = target.array("patches", (len(source), *shape), (1, *chunks))
            whole[row] = found.features
        pitch[row] = found.pitch
    target.column("pitch", pitch)
    target.column("sides", sides)
    size = "x".join(map(str, shape[:-1])) if uniform else "several sizes"
    return f"patches of {len(source):,} samples, {size} positions of {shape[-1]} features"


def _shown(frozen: FrozenEncoder, source: Source) -> Iterator[Patches]:
    with waiting.bar(Console(stderr=True), "patch features", len(source)) as show:
        for done, found in enumerate(frozen.patches(source), start=1):
            yield found
            show(done)


def _about(frozen: FrozenEncoder, source: Source) -> dict[str, Any]:
    """Where the features came from: no path, no file name."""
    card, layers = frozen.card, frozen.layers
    return {
        "backbone": card.backbone.name,
        "encoder_sha256": card.sha256,
        "features_sha256": frozen.sha256,
        "layers": layers if isinstance(layers, str | int) else list(layers),
        "scale": frozen.scale,
        "overlap": frozen.overlap,
        "data": (source.card or {}).get("name"),
        "fingerprint": Identity.of(source).fingerprint,
        "versions": package_versions(card.dimensions),
    }


class _HDF5:
    def __init__(self, file: h5py.File) -> None:
        self._file = file

    def array(self, name: str, shape: tuple[int, ...], chunks: tuple[int, ...]) -> Any:
        return self._file.create_dataset(name, shape, np.float32, chunks=chunks, fletcher32=True)

    def column(self, name: str, values: NDArray[Any]) -> None:
        text = values.dtype.kind == "U"
        self._file[name] = np.char.encode(values, "utf-8") if text else values

    def about(self, text: dict[str, Any]) -> None:
        self._file.attrs["domainjepa"] = json.dumps(text)


class _Zarr:
    def __init__(self, group: Any) -> None:
        self._group = group

    def array(self, name: str, shape: tuple[int, ...], chunks: tuple[int, ...]) -> Any:
        return self._group.create_array(name, shape=shape, dtype="float32", chunks=chunks)

    def column(self, name: str, values: NDArray[Any]) -> None:
        kind = "str" if values.dtype.kind == "U" else values.dtype
        self._group.create_array(name, shape=values.shape, dtype=kind)[...] = values

    def about(self, text: dict[str, Any]) -> None:
        self._group.attrs["domainjepa"] = text


def _write_hdf5(file: Any, fill: Callable[[Target], None]) -> None:
    with h5py.File(file, "w") as target:
        fill(_HDF5(target))


def _write_zarr(out: Path, fill: Callable[[Target], None]) -> None:
    try:
        import zarr
    except ImportError as error:
        raise MissingExtra("zarr", "zarr", "writing Zarr") from error
    if out.exists():
        raise UserError(f"{out.name} exists already: choose another --out, or remove it.")
    try:
        # What is interrupted leaves no half of a folder.
        with TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as part:
            whole = Path(part) / out.name
            fill(_Zarr(zarr.create_group(whole)))
            whole.rename(out)
    except OSError as error:
        raise UserError(f"{out.name} could not be written: {error.strerror}.") from error
