"""A table of paths, one sample a row, with labels, groups, split, ids as columns.

Paths are relative to the table's folder, or to data.root, and stay in it. The files are of any one
format whose loader takes a list of files; of a FITS mosaic a row may name a position: its sample is
a cut-out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.files.identity import content_digest
from domainjepa.data.formats.tables.catalogue import Catalogue
from domainjepa.data.formats.tables.paths import find_files, root_of
from domainjepa.data.formats.tables.reading import TEXT, is_table, read_table
from domainjepa.data.formats.tables.roles import find_roles, joined
from domainjepa.data.formats.tables.tabular import RowsOf
from domainjepa.data.metadata.where import choose
from domainjepa.data.opening import sniff
from domainjepa.data.source import MEDICAL, Image, Loader, OpenOptions, Source, spread
from domainjepa.errors import DataError

MOST_LOOKED_AT = 64
"""Files whose format is checked as the table is opened."""


@dataclass(kw_only=True)
class TableSource(Source):
    """The samples of another source, one a row, and the columns of the table.

    Attributes:
        chosen: rows of the table that are samples; None for all.
    """

    path: Path = field(repr=False)
    samples: Source = field(repr=False)
    chosen: NDArray[np.int64] | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitems__(self, indices: Sequence[int]) -> list[Image]:
        return self.samples.__getitems__(indices)

    def region(self, index: int, start: Sequence[int], stop: Sequence[int]) -> Image:
        return self.samples.region(index, start, stop)

    def sides(self, index: int) -> tuple[int, ...]:
        return self.samples.sides(index)

    @property
    def reads_parts(self) -> bool:
        return self.samples.reads_parts

    @property
    def axes(self) -> tuple[str, ...] | None:
        """What D, H, W of a volume are in the patient, where the format tells."""
        return getattr(self.samples, "axes", None)

    @property
    def directions(self) -> tuple[str, ...] | None:
        """Where D, H, W of a volume lead in the patient, where the format tells."""
        return getattr(self.samples, "directions", None)

    def file_names(self) -> Sequence[str] | None:
        return self.samples.file_names()

    def read_column(self, name: str) -> NDArray[Any]:
        values = read_table(self.path, self.blank).column(name)
        return values if self.chosen is None else values[self.chosen]

    def content_key(self) -> str:
        """The table's content, and the files'."""
        chosen = " and ".join(self.conditions)
        return f"{content_digest(self.path)} {chosen} {self.samples.content_key()}"


class TableLoader(Loader):
    """Opens tables of paths."""

    name = "table"
    title = "a CSV or Parquet table of paths"
    suffixes = (*TEXT, ".ecsv", ".vot", ".parquet", ".pq")
    container = True

    def sniff(self, path: Path, head: bytes) -> bool:
        return is_table(path, head)

    def open(self, path: Path, options: OpenOptions) -> Source:
        where, root = path.name, root_of(path, options.root)
        table = read_table(path, options.blank)
        if not table.rows:
            raise DataError(f"{where} has no rows.")
        choice = None
        if options.where:
            choice = choose(options.where, table.names, table.column, table.rows)
            table = RowsOf(table, choice.rows)
        name, files, told = find_files(table, root, options)
        loader = _format(root, files, where)
        inner = replace(
            options,
            root=None,
            images=None,
            labels=None,
            groups=None,
            ids=None,
            split=None,
            where=(),
        )
        catalogue = Catalogue.of(table, files) if loader.name == "fits" else None
        if catalogue:
            samples = catalogue.cutouts(root, files, inner)
        else:
            samples = loader.open_files(root, files, inner)
        if len(samples) != table.rows:
            raise DataError(
                f"{where} has {table.rows:,} rows, and their files hold {len(samples):,} samples: "
                "each file of a table is one sample."
            )
        medical = samples.modality is not None or loader.name in MEDICAL
        columns = find_roles(table, name, options, medical)
        columns.decisions[:1] = [told[0], *table.decisions, *told[1:]]
        if choice:
            columns.decisions.append(choice.hidden if medical else choice.decision)
        return TableSource(
            name=path.stem,
            loader=self.name,
            shape=samples.shape,
            dtype=samples.dtype,
            spacings=samples.spacings,
            modality=samples.modality,
            origin=samples.loader,
            keys=table.names,
            path=path,
            samples=samples,
            chosen=choice.rows if choice else None,
            conditions=options.where,
            **joined(columns, samples, options, catalogue),
        )


def _format(root: Path, files: Sequence[str], where: str) -> Loader:
    """The one format of the files, by the first bytes of some of them.

    Raises:
        DataError: there are several formats; says which row is of which.
    """
    loader = sniff(root / files[0])
    endings = sorted({name[-4:] for name in files})[:MOST_LOOKED_AT]
    looked_at = {
        *spread(len(files), MOST_LOOKED_AT),
        *(next(row for row, name in enumerate(files) if name[-4:] == one) for one in endings),
    }
    for row in sorted(looked_at):
        path = root / files[row]
        with path.open("rb") as file:
            head = file.read(4096)
        if not loader.sniff(path, head):
            other = sniff(path)
            raise DataError(
                f"{where} names files of several formats: row 0 is {loader.title}, row {row} is "
                f"{other.title}. Make a table of each."
            )
    if isinstance(loader, TableLoader):
        raise DataError(f"{where} names tables; give one of them.")
    return loader
