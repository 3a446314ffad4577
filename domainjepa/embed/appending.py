"""Features that were written before: read again, block by block, so that new samples join them."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from domainjepa.embed.formats import ABOUT, ABOUT_FITS, Columns, Features
from domainjepa.errors import UserError

BLOCK = 8192
"""Rows that are read at once."""


@dataclass
class Written:
    """A file of `domainjepa embed`.

    Attributes:
        name: of the file.
        shape: (N, D) of its features.
        columns: name -> (N, …); text as numpy's U.
        about: where the features came from.
        blocks: gives them, (n, D) float32 at a time.
    """

    name: str
    shape: tuple[int, int]
    columns: Columns
    about: dict[str, Any]
    blocks: Callable[[], Iterator[Features]]


def read_written(path: Path) -> Written:
    """What `domainjepa embed` wrote.

    Raises:
        UserError: the file was not written by it, or is damaged.
    """
    try:
        return _READERS[path.suffix](path)
    except Exception as error:  # whatever its reader raises of what somebody else wrote
        raise UserError(
            f"{path.name} holds no features of domainjepa embed that can be added to: choose "
            "another --out, or leave --append out to replace it."
        ) from error


def only_new(before: Written, columns: Columns, encoder: str) -> tuple[NDArray[np.bool_], Columns]:
    """Which samples a file does not hold, by their ids, and the columns of all together.

    Args:
        before: the file.
        columns: of the samples, N of them.
        encoder: what their features depend on.

    Returns:
        (N,) whether a sample is new; and the columns of the file with those of new samples below.

    Raises:
        UserError: another encoder, no ids to tell samples by, or other columns.
    """
    if before.about.get("encoder_sha256") != encoder:
        raise UserError(
            f"{before.name} holds features of another encoder, "
            f"{before.about.get('backbone')}: choose another --out."
        )
    if "ids" not in columns or "ids" not in before.columns:
        raise UserError(
            "--append tells new samples by their ids, and there are none: name a column by --set "
            "data.ids=NAME, or leave --append out to write all features anew."
        )
    if len(np.unique(columns["ids"])) < len(columns["ids"]):
        raise UserError("--append tells new samples by their ids, and some of these are the same.")
    # Which row of its source a sample was means nothing any more.
    old, added = ({n: c for n, c in of.items() if n != "rows"} for of in (before.columns, columns))
    for name in old.keys() - added.keys():
        blank = _blank(name, old[name])
        if blank is not None:
            added[name] = np.full((len(columns["ids"]), *old[name].shape[1:]), blank)
    if old.keys() != added.keys():
        other = ", ".join(sorted(old.keys() ^ added.keys()))
        raise UserError(
            f"the samples and {before.name} do not have the same columns ({other}): choose "
            "another --out."
        )
    new = ~np.isin(columns["ids"], before.columns["ids"])
    added = {name: column[new] for name, column in added.items()}
    if "class" in old and "labels" in old:
        added["labels"] = _same_numbers(old, added)
    return new, {name: np.concatenate([old[name], added[name]]) for name in old}


def _blank(name: str, column: NDArray[Any]) -> Any:
    """What stands for nothing in a column; None where there is no such value."""
    if name == "labels" and column.dtype.kind == "i":
        return column.dtype.type(-1)
    if column.dtype.kind == "f":
        return column.dtype.type(np.nan)
    return "" if column.dtype.kind == "U" else None


def _same_numbers(old: Columns, added: Columns) -> NDArray[Any]:
    """Labels of new samples by the names of their classes: a class keeps its number."""
    numbers = dict(zip(old["class"].tolist(), old["labels"].tolist(), strict=True))
    for name, label in zip(added["class"].tolist(), added["labels"].tolist(), strict=True):
        if name not in numbers:
            numbers[name] = label if label < 0 else max([-1, *numbers.values()]) + 1
    return np.array([numbers[name] for name in added["class"].tolist()], old["labels"].dtype)


def _npz(path: Path) -> Written:
    with np.load(path, allow_pickle=False) as packed:
        about = json.loads(str(packed[ABOUT]))
        columns = {name: packed[name] for name in packed.files if name not in ("features", ABOUT)}

    def blocks() -> Iterator[Features]:
        with zipfile.ZipFile(path) as archive, archive.open("features.npy") as stream:
            _head(stream)
            while data := stream.read(BLOCK * 4 * shape[1]):
                yield np.frombuffer(data, "<f4").reshape(-1, shape[1])

    with zipfile.ZipFile(path) as archive, archive.open("features.npy") as stream:
        shape = _head(stream)
    return Written(path.name, shape, columns, about, blocks)


def _head(stream: Any) -> tuple[int, int]:
    np.lib.format.read_magic(stream)
    (samples, width), _, dtype = np.lib.format.read_array_header_1_0(stream)
    if dtype != np.dtype("<f4"):
        raise ValueError(f"features are float32, not {dtype}")
    return samples, width


def _hdf5(path: Path) -> Written:
    with h5py.File(path) as file:
        shape, about = file["features"].shape, json.loads(file.attrs[ABOUT])
        columns = {name: file[name][()] for name in file if name != "features"}

    def blocks() -> Iterator[Features]:
        with h5py.File(path) as file:
            for first in range(0, shape[0], BLOCK):
                yield file["features"][first : first + BLOCK]

    return Written(path.name, shape, _as_text(columns), about, blocks)


def _parquet(path: Path) -> Written:
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        about = json.loads(file.schema_arrow.metadata[ABOUT.encode()])
        names = [name for name in file.schema_arrow.names if name != "features"]
        table = file.read(names)
        columns = {name: np.array(table[name].to_pylist()) for name in names}
        shape = (file.metadata.num_rows, file.schema_arrow.field("features").type.list_size)

    def blocks() -> Iterator[Features]:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(BLOCK, columns=["features"]):
                yield batch.column(0).flatten().to_numpy().reshape(-1, shape[1])

    return Written(path.name, shape, columns, about, blocks)


def _fits(path: Path) -> Written:
    from astropy.io import fits

    with fits.open(path, memmap=False) as file:
        data, about = file[1].data, json.loads(file[1].header[ABOUT_FITS])
        names = [name for name in data.names if name != "features"]
        columns = {name: _native(data[name]) for name in names}
        shape = data["features"].shape

    def blocks() -> Iterator[Features]:
        with fits.open(path, memmap=True) as file:
            for first in range(0, shape[0], BLOCK):
                yield file[1].data["features"][first : first + BLOCK].astype(np.float32)

    return Written(path.name, shape, _as_text(columns), about, blocks)


def _zarr(path: Path) -> Written:
    import zarr

    group: Any = zarr.open_group(path, mode="r")
    shape = group["features"].shape
    columns = {name: _plain(one[...]) for name, one in group.arrays() if name != "features"}

    def blocks() -> Iterator[Features]:
        for first in range(0, shape[0], BLOCK):
            yield group["features"][first : first + BLOCK]

    return Written(path.name, shape, columns, dict(group.attrs[ABOUT]), blocks)


def _plain(values: Any) -> NDArray[Any]:
    """Text of Zarr as numpy's U."""
    array = np.asarray(values)
    return np.array(array.tolist(), np.str_) if array.dtype.kind in "OT" else array


def _native(values: Any) -> NDArray[Any]:
    array = np.array(values)
    return array.astype(array.dtype.newbyteorder("="))


def _as_text(columns: Columns) -> Columns:
    return {
        name: np.char.decode(of, "utf-8") if of.dtype.kind == "S" else of
        for name, of in columns.items()
    }


_READERS: dict[str, Callable[[Path], Written]] = {
    ".npz": _npz,
    ".h5": _hdf5,
    ".hdf5": _hdf5,
    ".parquet": _parquet,
    ".fits": _fits,
    ".zarr": _zarr,
}
