"""A table of paths: CSV or Parquet, one sample a row, with labels, groups, split, ids as columns.

Paths are relative to the table's folder and stay in it. The files are of any one format whose
loader takes a list of files; of a FITS mosaic a row may name a position: its sample is a cut-out.
"""

from __future__ import annotations

from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.columns import USUAL_NAMES, find_columns
from domainjepa.data.identity import content_digest
from domainjepa.data.layout import Array, full_name, is_usual
from domainjepa.data.opening import sniff
from domainjepa.data.source import Image, Loader, OpenOptions, Source, spread
from domainjepa.data.tables.catalogue import Catalogue
from domainjepa.data.tables.inside import files_inside
from domainjepa.data.tables.tabular import MOST_BYTES, PARQUET, Table, read_table
from domainjepa.errors import DataError

PATHS = (
    "path",
    "file",
    "filename",
    "file_name",
    "filepath",
    "file_path",
    "image",
    "image_path",
    "image_file",
    "img",
    "img_path",
    "image_id",
)
"""Usual names of the column of paths, lower case, the most telling first."""
PLACES = ("x", "y")
MOST_LOOKED_AT = 64
"""Files whose format is checked as the table is opened."""


@dataclass(kw_only=True)
class TableSource(Source):
    """The samples of another source, one a row, and the columns of the table."""

    path: Path = field(repr=False)
    samples: Source = field(repr=False)

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

    def column(self, name: str) -> NDArray[Any]:
        return read_table(self.path).column(name)

    def content_key(self) -> str:
        """The table's content, and the files'."""
        return f"{content_digest(self.path)} {self.samples.content_key()}"


class TableLoader(Loader):
    """Opens CSV and Parquet tables of paths."""

    name = "table"
    title = "a CSV or Parquet table of paths"
    suffixes = (".csv", ".tsv", ".parquet", ".pq")

    def sniff(self, path: Path, head: bytes) -> bool:
        # Text has no magic bytes, but for UTF-16, which is told to be saved anew.
        is_text = b"\0" not in head or head.startswith((BOM_UTF16_LE, BOM_UTF16_BE))
        return head.startswith(PARQUET) or (is_text and path.suffix.lower() in (".csv", ".tsv"))

    def open(self, path: Path, options: OpenOptions) -> Source:
        where, root = path.name, path.resolve().parent
        table = read_table(path)
        if not table.rows:
            raise DataError(f"{where} has no rows.")
        name = _paths(table, root, options.images)
        what = f"{where}, column {name!r}"
        files = files_inside(root, table.text(name), options.follow_links, what)
        loader = _format(root, files, where)
        inner = replace(options, images=None, labels=None, groups=None, split=None)
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
        # y beside x is no label; an id or a name beside a scan may be the patient's.
        places = {one for one in table.names if one.lower() in PLACES}
        unread = places if len(places) > 1 else set()
        if samples.modality is not None or loader.name in ("dicom", "nifti"):
            unread |= {one for one in table.names if is_usual(one, USUAL_NAMES["ids"])}
        unread -= {options.labels, options.groups, options.split}
        columns = find_columns(
            {
                one: Array((table.rows,), np.dtype(object))
                for one in table.names
                if one not in unread
            },
            lambda one: _short(table, one),
            name,
            options,
            where,
        )
        columns.decisions[0] = (
            f"paths: column {name!r}, {len(set(files)):,} files, {table.rows:,} rows"
        )
        if options.groups is None and _parts(columns.groups, samples.groups):
            # Such as arms of a study in a column "group", where the files tell the patients.
            columns.groups = None
            for said in (columns.decisions, columns.warnings):
                said[:] = [one for one in said if not one.startswith("groups:")]
            columns.warnings.append(
                "groups are those that the files tell, which the table's column would part; if the "
                "column is right, name it: --set data.groups=NAME"
            )
        found = vars(columns)
        for role in ("groups", "ids", "split"):
            found[role] = getattr(samples, role) if found[role] is None else found[role]
        if columns.labels is None:
            found |= {"labels": samples.labels, "classes": samples.classes}
        found["decisions"] = [*columns.decisions, *samples.decisions]
        if catalogue:
            found["decisions"].insert(1, str(catalogue))
        found["warnings"] = [*columns.warnings, *samples.warnings]
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
            **found,
        )


def _paths(table: Table, root: Path, chosen: str | None) -> str:
    """The column of paths: the one that the user names, else that of a usual name.

    Among several of them, the one whose first row is a file is taken.
    """
    if chosen is not None:
        return full_name(dict.fromkeys(table.names), chosen, "images", table.where)
    usual = [name for name in table.names if name.lower() in PATHS]
    if len(usual) > 1:
        firsts = [name for name in usual if _is_file(root, table.text(name)[0])]
        usual = firsts or usual
    if len(usual) == 1:
        return usual[0]
    listed = ", ".join((usual or list(table.names))[:20])
    problem = "several columns of paths" if usual else "no column of paths"
    raise DataError(
        f"{table.where} has {problem}; {'they are' if usual else 'its columns are'} {listed}. The "
        f"first line names the columns; pick one: --set data.images={(usual or ['NAME'])[0]}"
    )


def _is_file(root: Path, name: str) -> bool:
    try:
        return bool(files_inside(root, [name], True, ""))
    except DataError:
        return False


def _short(table: Table, name: str) -> NDArray[Any]:
    """A column for labels, groups, ids or split, which become strings of one length."""
    values = table.column(name)
    if values.dtype.kind == "O":
        longest = max(map(len, map(str, values.tolist())))
        if 4 * longest * len(values) > MOST_BYTES:
            raise DataError(
                f"column {name!r} of {table.where} has a field of {longest:,} characters: too long "
                "for labels, groups, ids or a split."
            )
    return values


def _parts(groups: NDArray[np.int64] | None, own: NDArray[np.int64] | None) -> bool:
    """Whether groups put samples apart that belong together in the files' own groups."""
    if groups is None or own is None:
        return False
    pairs = np.unique(np.stack([own, groups]), axis=1)
    return bool(pairs.shape[1] > len(np.unique(own)))


def _format(root: Path, files: Sequence[str], where: str) -> Loader:
    """The one format of the files, by the first bytes of some of them.

    Raises:
        DataError: there are several formats; says which row is of which.
    """
    loader = sniff(root / files[0])
    last = len(files) - 1
    of_each_ending = dict(
        zip((name[-4:] for name in reversed(files)), range(last, -1, -1), strict=True)
    )
    looked_at = {
        *spread(len(files), MOST_LOOKED_AT),
        *islice(of_each_ending.values(), MOST_LOOKED_AT),
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
