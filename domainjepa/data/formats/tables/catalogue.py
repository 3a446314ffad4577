"""Columns of a table that say where in a mosaic its samples lie: x, y or ra, dec, and a size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.formats.tables.tabular import Table
from domainjepa.data.source import OpenOptions, Source
from domainjepa.errors import DataError

POSITIONS = (("x", "y"), ("ra", "dec"))
"""Pixels from (0, 0), the centre of the first; or degrees (ICRS). Pixels go first."""
HDUS = ("hdu", "ext", "extension", "hdu_name")


@dataclass(frozen=True)
class Catalogue:
    """Positions in mosaics.

    Attributes:
        names: of the two columns of positions.
        positions: (N, 2), finite.
        hdus: (N,) names or numbers of HDUs, None where a row has none; or None.
        size: pixels a side, of all.
    """

    names: tuple[str, str]
    positions: NDArray[np.float64]
    hdus: list[Any] | None
    size: int

    @classmethod
    def of(cls, table: Table, files: Sequence[str]) -> Catalogue | None:
        """The catalogue that a table is, where it has columns of positions and of a size.

        Args:
            files: of each row.

        Raises:
            DataError: a position is no number, or the size is not one number of whole pixels; or
                there is none, and rows name several positions of one file.
        """
        columns = {name.lower(): name for name in table.names}
        names = next((pair for pair in POSITIONS if set(pair) <= set(columns)), None)
        if names is None:
            return None
        if "size" not in columns:
            places = zip(
                files, *(table.texts(columns[name]).to_pylist() for name in names), strict=True
            )
            if len(set(places)) > len(set(files)):
                raise DataError(
                    f"{table.where} names several positions ({' and '.join(names)}) of one file, "
                    "and not how large its cut-outs are: add a column 'size', in pixels a side."
                )
            return None
        sizes = _numbers(table, columns["size"])
        wrong = np.flatnonzero((sizes < 1) | (sizes != np.floor(sizes)))
        if len(wrong):
            raise DataError(
                f"{table.where} has the size {sizes[wrong[0]]:g} in row {wrong[0]}; it is a number "
                "of whole pixels."
            )
        if (sizes != sizes[0]).any():
            raise DataError(
                f"{table.where} has sizes from {sizes.min():g} to {sizes.max():g} pixels; cut-outs "
                "are of one size."
            )
        hdu = next((columns[name] for name in HDUS if name in columns), None)
        return cls(
            names=names,
            positions=np.stack([_numbers(table, columns[name]) for name in names], axis=1),
            hdus=None if hdu is None else [_hdu(value) for value in table.column(hdu).tolist()],
            size=int(sizes[0]),
        )

    def cutouts(self, root: Path, files: Sequence[str], options: OpenOptions) -> Source:
        """One cut-out a row, of the mosaics in these files."""
        from domainjepa.data.formats.fits.cutouts import cutouts

        sky = self.names == ("ra", "dec")
        return cutouts(root, files, self.hdus, self.positions, self.size, options, sky=sky)

    def __str__(self) -> str:
        return f"cut-outs: {self.size} pixels a side, at columns {' and '.join(self.names)}"


def _numbers(table: Table, name: str) -> NDArray[np.float64]:
    values = table.column(name)
    if values.dtype.kind not in "iuf" or not np.isfinite(values).all():
        raise DataError(f"column {name!r} of {table.where} is not a number in every row.")
    return values.astype(np.float64)


def _hdu(value: Any) -> str | int | None:
    """A name or a number; a column of numbers with gaps is one of floats."""
    if value == "" or value != value:
        return None
    return int(value) if isinstance(value, float) else value
