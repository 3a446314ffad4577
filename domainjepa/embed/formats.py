"""Features and what lies beside them as .npz, .h5, .parquet, .zarr or .fits, block by block.

Each writer takes the features as an iterator of blocks, so that no more than one is in memory; the
columns, one value a sample, are whole. `about` is a few words of JSON on where they came from.
"""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from domainjepa.errors import MissingExtra, UserError
from domainjepa.writing import write_atomically

ABOUT = "domainjepa"
"""The attribute, key or keyword that says where features came from."""

ABOUT_FITS = "DJ_ABOUT"
"""Its keyword in FITS, which has eight letters at most."""


Features = NDArray[np.float32]
Columns = dict[str, NDArray[Any]]


class Table(NamedTuple):
    """What is written.

    Attributes:
        shape: (N, D) of the features.
        blocks: (n, D) float32 each, N rows together.
        columns: name -> (N,) or (N, M); text as numpy's U.
        about: encoder, data and versions.
    """

    shape: tuple[int, int]
    blocks: Iterable[NDArray[np.float32]]
    columns: dict[str, NDArray[Any]]
    about: dict[str, Any]


def check_ending(out: Path) -> None:
    """Before anything is computed.

    Raises:
        UserError: another ending, or a folder of Zarr that holds something else: a folder is not
            taken away for a name that was mistyped.
        MissingExtra: Zarr is not installed.
    """
    if out.suffix not in WRITERS:
        raise UserError(
            f"--out {out.name!r}: features are written to .npz, .h5, .parquet, .zarr or .fits"
        )
    if out.suffix == ".zarr":
        _zarr()
        if out.exists() and not _is_ours(out):
            raise UserError(
                f"{out.name} exists already and holds no features of domainjepa embed: choose "
                "another --out, or remove it."
            )


def _is_ours(out: Path) -> bool:
    try:
        return ABOUT in _zarr().open_group(out, mode="r").attrs
    except Exception:  # whatever Zarr raises of what is none
        return False


def write(out: Path, table: Table) -> None:
    """Write a file, or a folder of Zarr, whole or not at all."""
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix == ".zarr":
        _write_zarr(out, table)
    else:
        write_atomically(out, lambda file: WRITERS[out.suffix](file, table))


def placed(table: Table) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """Each block with the rows that it is of."""
    first = 0
    for block in table.blocks:
        yield slice(first, first + len(block)), block
        first += len(block)


def _write_npz(file: Any, table: Table) -> None:
    rest = {**table.columns, ABOUT: np.array(json.dumps(table.about))}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        with archive.open("features.npy", "w", force_zip64=True) as target:
            head = {"descr": "<f4", "fortran_order": False, "shape": table.shape}
            np.lib.format.write_array_header_1_0(target, head)
            for block in table.blocks:
                target.write(np.ascontiguousarray(block, "<f4").tobytes())
        for name, column in rest.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as target:
                np.lib.format.write_array(target, column, allow_pickle=False)


def _write_hdf5(file: Any, table: Table) -> None:
    with h5py.File(file, "w") as target:
        features = target.create_dataset("features", table.shape, np.float32)
        for rows, block in placed(table):
            features[rows] = block
        for name, column in table.columns.items():
            text = column.dtype.kind == "U"
            target[name] = np.char.encode(column, "utf-8") if text else column
        target.attrs[ABOUT] = json.dumps(table.about)


def _write_parquet(file: Any, table: Table) -> None:
    import pyarrow
    from pyarrow import parquet

    def rows_of(rows: slice, block: NDArray[np.float32]) -> Any:
        lists = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(block.ravel()), table.shape[1])
        rest = {
            name: pyarrow.array(of[rows] if of.ndim == 1 else list(of[rows]))
            for name, of in table.columns.items()
        }
        made = pyarrow.table({**rest, "features": lists})
        return made.replace_schema_metadata({ABOUT: json.dumps(table.about)})

    writer = None
    for rows, block in placed(table):
        part = rows_of(rows, block)
        writer = writer or parquet.ParquetWriter(file, part.schema)
        writer.write_table(part)
    if writer is not None:
        writer.close()


def _write_fits(file: Any, table: Table) -> None:
    """A binary table (FITS standard 4.0, 7.3); text is ASCII there, other letters are escaped."""
    from astropy.io import fits

    columns = {name: _for_fits(column) for name, column in table.columns.items()}
    made = [fits.Column(name, _form(column), array=column[:1]) for name, column in columns.items()]
    made.append(fits.Column("features", f"{table.shape[1]}E"))
    header = fits.BinTableHDU.from_columns(made, nrows=0).header
    header["NAXIS2"] = table.shape[0]
    header["EXTNAME"] = "FEATURES"
    header[ABOUT_FITS] = json.dumps(table.about)
    kinds = [(name, _big(column), column.shape[1:]) for name, column in columns.items()]
    kind = np.dtype([*kinds, ("features", ">f4", table.shape[1:])])
    if kind.itemsize != header["NAXIS1"]:
        raise UserError("these columns do not fit a FITS table: write .parquet or .h5")
    file.write(fits.PrimaryHDU().header.tostring().encode("ascii"))
    file.write(header.tostring().encode("ascii"))
    for rows, block in placed(table):
        part = np.empty(len(block), kind)
        part["features"] = block
        for name, column in columns.items():
            part[name] = column[rows]
        file.write(part.tobytes())
    file.write(b"\0" * (-table.shape[0] * kind.itemsize % 2880))


_FORMS = {"i2": "I", "i4": "J", "i8": "K", "u1": "B", "f4": "E", "f8": "D"}
_WIDER = {"b1": "u1", "i1": "i2", "u2": "i4", "u4": "i8", "u8": "i8", "f2": "f4"}
"""What FITS has no numbers of that kind for."""


def _for_fits(column: NDArray[Any]) -> NDArray[Any]:
    if column.dtype.kind == "U":
        escaped = [text.encode("ascii", "backslashreplace") for text in column.tolist()]
        return np.array(escaped, np.bytes_)
    return column.astype(_WIDER.get(column.dtype.str[1:], column.dtype))


def _form(column: NDArray[Any]) -> str:
    if column.dtype.kind == "S":
        return f"{column.dtype.itemsize}A"
    return f"{math.prod(column.shape[1:])}{_FORMS[column.dtype.str[1:]]}"


def _big(column: NDArray[Any]) -> str:
    return column.dtype.newbyteorder(">").str


def _zarr() -> Any:
    try:
        import zarr
    except ImportError as error:
        raise MissingExtra("zarr", "zarr", "writing Zarr") from error
    return zarr


def _write_zarr(out: Path, table: Table) -> None:
    """A folder that takes the place of an older one once it is whole."""
    with TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as part:
        whole, before = Path(part) / out.name, Path(part) / "before"
        group = _zarr().create_group(whole)
        chunks = (max(min(2**20 // max(table.shape[1], 1), table.shape[0]), 1), table.shape[1])
        features = group.create_array("features", shape=table.shape, dtype="float32", chunks=chunks)
        for rows, block in placed(table):
            features[rows] = block
        for name, column in table.columns.items():
            kind = "str" if column.dtype.kind == "U" else column.dtype
            group.create_array(name, shape=column.shape, dtype=kind)[...] = column
        group.attrs[ABOUT] = table.about
        if out.exists():
            out.rename(before)
        whole.rename(out)


WRITERS: dict[str, Callable[[Any, Table], None]] = {
    ".npz": _write_npz,
    ".h5": _write_hdf5,
    ".hdf5": _write_hdf5,
    ".parquet": _write_parquet,
    ".fits": _write_fits,
    ".zarr": _write_zarr,
}
