"""A source through a frozen encoder: the features of every sample in one file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from domainjepa.data.metadata.beside import beside
from domainjepa.data.source import Source
from domainjepa.errors import UserError
from domainjepa.evaluation.encoders.baselines import encoder as load
from domainjepa.evaluation.encoders.features import features_of
from domainjepa.writing import write_atomically


def embed(encoder: str | Path, source: Source, out: Path) -> tuple[int, int]:
    """Write `features` (N, D) float32, and beside them what there is of each sample.

    That is `labels` and their names, `class`; `groups`, `split`, `ids`; and the columns of the
    data, so that a catalogue can be joined. Of patients ids are hashes and no column comes along,
    see `domainjepa.data.metadata.beside`.

    Samples that the source knows to be unreadable are left out, and `rows` (N,) int64 then says
    which sample each of the others is; the order stays that of the source.

    Args:
        encoder: a run folder, an `encoder.safetensors`, or `timm:NAME[=WEIGHTS]`.
        source: the images.
        out: a `.npz`, `.h5` or `.parquet` file; in a table, features are lists of one length.

    Returns:
        The shape of the features.

    Raises:
        UserError: another suffix, or an encoder or data that cannot be read.
    """
    if out.suffix not in (".npz", ".h5", ".hdf5", ".parquet"):
        raise UserError(f"--out {out.name!r}: features are written to .npz, .h5 or .parquet")
    rows = readable(source)
    network = load(str(encoder))
    if hasattr(network, "adapt"):
        network.adapt(source, np.intersect1d(rows, source.rows("train", "val")))
    features = features_of(network, source, rows, console=Console())
    columns = {"features": features, **beside_features(source, rows)}
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix == ".npz":
        write_atomically(out, lambda file: np.savez(file, **columns))  # type: ignore[arg-type]
    elif out.suffix == ".parquet":
        write_atomically(out, lambda file: _write_parquet(file, columns))
    else:
        write_atomically(out, lambda file: _write_hdf5(file, columns))
    return features.shape[0], features.shape[1]


def readable(source: Source) -> NDArray[np.int64]:
    """All rows but those that the source knows to be unreadable."""
    return np.setdiff1d(np.arange(len(source)), source.unreadable(range(len(source))))


def beside_features(source: Source, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """What there is of these rows: see `embed`. What is left out is said on stderr."""
    taken = ("features", "patches", "rows", "class", "labels", "groups", "split", "ids")
    found = beside(source, taken=taken)
    if found.left_out:
        Console(stderr=True).print(found.told(), highlight=False, markup=False)
    columns = {**found.roles, **found.columns}
    if source.labels is not None and source.classes:
        columns["class"] = np.array(source.class_names(range(len(source))))
    some = {"rows": rows} if len(rows) < len(source) else {}
    return {**some, **{name: column[rows] for name, column in columns.items()}}


def _write_parquet(file: Any, columns: dict[str, NDArray[Any]]) -> None:
    import pyarrow
    from pyarrow import parquet

    features = columns["features"]
    lists = pyarrow.FixedSizeListArray.from_arrays(
        pyarrow.array(features.ravel()), features.shape[1]
    )
    rest = {
        name: pyarrow.array(of if of.ndim == 1 else list(of))
        for name, of in columns.items()
        if name != "features"
    }
    parquet.write_table(pyarrow.table({**rest, "features": lists}), file)


def _write_hdf5(file: Any, columns: dict[str, NDArray[Any]]) -> None:
    with h5py.File(file, "w") as target:
        for name, column in columns.items():
            text = column.dtype.kind == "U"
            target[name] = np.char.encode(column, "utf-8") if text else column
