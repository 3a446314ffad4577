"""Patch features of a source, computed once and kept by content, a map a sample.

They are many times larger than pooled features, so they lie in one HDF5 file and are read map by
map. In float16, which has more digits than most networks were trained with.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from domainjepa.data.files.identity import Identity
from domainjepa.data.source import Source
from domainjepa.encoder.patches import Patches
from domainjepa.errors import DataError
from domainjepa.evaluation.encoders.features import some_of
from domainjepa.evaluation.reporting.progress import counting
from domainjepa.evaluation.segmentation.dense import Dense
from domainjepa.evaluation.splits import Rows
from domainjepa.writing import write_atomically

AT_ONCE = 64
"""Samples that an encoder is given together."""
LARGEST = float(np.finfo(np.float16).max)
LOOKED_AT = 20_000
"""Positions that the principal component is found from."""


class Maps:
    """The patch features of some rows, by row.

    Args:
        kept: row -> what `Patches` holds, or an HDF5 file with a data set a row.
    """

    def __init__(self, kept: dict[int, Patches] | Path) -> None:
        self._kept = kept if isinstance(kept, dict) else None
        self._file = h5py.File(kept, "r") if isinstance(kept, Path) else None
        self._last: tuple[int, Patches] | None = None

    def __getitem__(self, row: int) -> Patches:
        """In float32; the one that was asked for last is at hand."""
        if self._last is None or self._last[0] != row:
            self._last = None  # before the next one is in memory, too
            self._last = row, self._read(row)
        return self._last[1]

    def _read(self, row: int) -> Patches:
        if self._kept is not None:
            features, pitch = self._kept[row]
            return Patches(features.astype(np.float32), pitch)
        assert self._file is not None
        found = self._file[str(row)]
        return Patches(found[()].astype(np.float32), tuple(found.attrs["pitch"].tolist()))


def maps_of(
    encoder: Dense,
    source: Source,
    rows: Rows,
    *,
    cache: Path | None = None,
    console: Console | None = None,
) -> Maps:
    """The patch features of some rows of a source.

    Args:
        cache: folder to keep them in; without one they stay in memory.
        console: where to show progress.

    Raises:
        DataError: features that are not finite.
    """
    digest = getattr(encoder, "sha256", None)
    if cache is None or digest is None:
        return Maps(dict(_made(encoder, source, rows, console)))
    text = f"{digest} {Identity.of(source).exact} patches 2"
    name = hashlib.sha256(text.encode())
    name.update(np.ascontiguousarray(rows).tobytes())
    path = cache / f"{name.hexdigest()[:32]}.h5"
    with contextlib.suppress(OSError, KeyError):
        found = Maps(path)
        if found[int(rows[-1])].features.size:
            return found
    path.parent.mkdir(parents=True, exist_ok=True)

    def write(file: object) -> None:
        with h5py.File(file, "w") as target:
            for row, (features, pitch) in _made(encoder, source, rows, console):
                target[str(row)] = features
                target[str(row)].attrs["pitch"] = pitch

    write_atomically(path, write)
    return Maps(path)


def _made(
    encoder: Dense, source: Source, rows: Rows, console: Console | None
) -> Iterator[tuple[int, Patches]]:
    """Row by row, as they are kept."""
    with counting(console, f"patch features: {encoder.name}", len(rows)) as counter:
        for first in range(0, len(rows), AT_ONCE):
            some = rows[first : first + AT_ONCE]
            for row, (features, pitch) in zip(
                some.tolist(), encoder.patches(some_of(source, some)), strict=True
            ):
                if not np.isfinite(features).all():
                    raise DataError(
                        f"{encoder.name} gave patch features that are not finite for sample {row} "
                        f"of {source.name}"
                    )
                small = np.abs(features).max() < LARGEST
                yield row, Patches(features.astype(np.float16 if small else np.float32), pitch)
                counter.advance()


def first_component(maps: Maps, rows: Sequence[int]) -> float:
    """The share of the variance of patch features that one direction holds, 0 to 1.

    Of positions evenly spread over some rows, each feature as it is.
    """
    taken = []
    each = max(LOOKED_AT // len(rows), 1)
    for row in rows:
        features = maps[row].features
        flat = features.reshape(-1, features.shape[-1])
        taken.append(flat[:: max(len(flat) // each, 1)][:each].astype(np.float64))
    found = np.concatenate(taken)
    centred = found - found.mean(axis=0)
    spread: NDArray[np.float64] = np.linalg.eigvalsh(centred.T @ centred)
    total = float(spread.sum())
    return float(spread[-1]) / total if total > 0 else 1.0
