"""A table of paths, one sample a row, with labels, groups, split, ids as columns.

Paths are relative to the table's folder, or to data.root, and stay in it. The files are of any one
format whose loader takes a list of files; of a FITS mosaic a row may name a position: its sample is
a cut-out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.columns import USUAL_NAMES, Columns, find_columns
from domainjepa.data.fields import AmbiguousNumbers
from domainjepa.data.identity import content_digest
from domainjepa.data.layout import Array, full_name, is_usual
from domainjepa.data.opening import sniff
from domainjepa.data.source import MEDICAL, Image, Loader, OpenOptions, Source, spread
from domainjepa.data.tables.catalogue import Catalogue
from domainjepa.data.tables.inside import files_inside
from domainjepa.data.tables.reading import PATHS, TEXT, is_table, read_table
from domainjepa.data.tables.tabular import MOST_BYTES, RowsOf, Table
from domainjepa.data.tables.template import filled, is_template
from domainjepa.data.where import choose
from domainjepa.errors import DataError
from domainjepa.registry import LOADERS

PLACES = ("x", "y")
_IDENTIFIER = re.compile(
    r"[a-z](ID|Id)$|[ _-]?id$|^id[ _-]|(^|[ _-])(uid|study|session|exam|series|mrn)"
)
"""Columns that may tell what belongs together."""
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
        where, root = path.name, _root(path, options.root)
        table = read_table(path, options.blank)
        if not table.rows:
            raise DataError(f"{where} has no rows.")
        choice = None
        if options.where:
            choice = choose(options.where, table.names, table.column, table.rows)
            table = RowsOf(table, choice.rows)
        endings = _endings()
        images = options.images
        if images is not None and is_template(images):
            name, paths, what = "", filled(table, images), f"{where}, {images}"
        else:
            name = _paths(table, root, images, endings)
            paths, what = table.texts(name), f"{where}, column {name!r}"
        told: list[str] = []
        files = files_inside(root, paths, options.follow_links, what, endings, told.append)
        del paths
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
        columns = _roles(table, name, options, medical)
        of = f"column {name!r}" if name else f"of {images}"
        columns.decisions[:1] = [
            f"paths: {of}, {len(set(files)):,} files, {table.rows:,} rows",
            *table.decisions,
            *told,
        ]
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
            **_joined(columns, samples, options, catalogue),
        )


def _roles(table: Table, name: str, options: OpenOptions, medical: bool) -> Columns:
    """Labels, groups, ids and split out of the columns beside the paths."""
    # y beside x is no label; an id or a name beside a scan may be the patient's.
    places = {one for one in table.names if one.lower() in PLACES}
    unread = places if len(places) > 1 else set()
    if medical:
        unread |= {one for one in table.names if is_usual(one, USUAL_NAMES["ids"])}
    unread -= {options.labels, options.groups, options.ids, options.split}
    one_a_row = Array((table.rows,), np.dtype(object))
    arrays = {one: one_a_row for one in table.names if one not in unread}
    columns = find_columns(
        arrays | {name: one_a_row}, lambda one: _short(table, one), name, options, table.where
    )
    if columns.groups is None and options.groups is None:
        columns.warnings += _hints(table, name)
    return columns


def _hints(table: Table, paths: str) -> list[str]:
    """Columns of identifiers that rows share, and that may tell what belongs together."""
    shared = {}
    for one in table.names:
        if one != paths and _IDENTIFIER.search(one) and not is_usual(one, USUAL_NAMES["ids"]):
            distinct = len(table.texts(one).unique())
            if 1 < distinct < table.rows:
                shared[one] = distinct
    if not shared:
        return []
    listed = ", ".join(f"{one} ({count:,})" for one, count in shared.items())
    return [
        f"groups: none. Rows share values of {listed}; where these belong to one patient or "
        f"object, say so: --set data.groups={next(iter(shared))}"
    ]


def _joined(
    columns: Columns, samples: Source, options: OpenOptions, catalogue: Catalogue | None
) -> dict[str, Any]:
    """What the table tells, and where it does not, what the files tell."""
    if options.groups is None and _parts(columns.groups, samples.groups):
        # Such as arms of a study in a column "group", where the files tell the patients.
        columns.groups = None
        for said in (columns.decisions, columns.warnings):
            said[:] = [one for one in said if not one.startswith("groups:")]
        columns.warnings.append(
            "groups are those that the files tell, which the table's column would part; if the "
            "column is right, name it: --set data.groups=NAME"
        )
    elif columns.groups is None and samples.groups is not None:
        columns.warnings[:] = [one for one in columns.warnings if not one.startswith("groups:")]
    found = vars(columns)
    for role in ("groups", "ids", "split"):
        found[role] = getattr(samples, role) if found[role] is None else found[role]
    if columns.labels is None:
        found |= {"labels": samples.labels, "classes": samples.classes}
    found["decisions"] = [*columns.decisions, *samples.decisions]
    if catalogue:
        found["decisions"].insert(1, str(catalogue))
    found["warnings"] = [*columns.warnings, *samples.warnings]
    return found


def _root(path: Path, told: str | None) -> Path:
    """The folder that no path leads out of."""
    if told is None:
        return path.resolve().parent
    root = Path(told).expanduser().resolve()
    if not root.is_dir():
        raise DataError(f"data.root={told} is no folder: name the one that the images lie in.")
    return root


def _endings() -> tuple[str, ...]:
    """Of files that a name without an ending may mean."""
    loaders = (thing for name, thing in LOADERS.load_all().items() if name != TableLoader.name)
    every = {ending for thing in loaders for ending in getattr(thing, "suffixes", ())}
    return tuple(sorted(filter(None, every)))


def _paths(table: Table, root: Path, chosen: str | None, endings: Sequence[str]) -> str:
    """The column of paths: the one that the user names, else that of a usual name.

    Among several of them, the one whose first row is a file is taken.
    """
    if chosen is not None:
        return full_name(dict.fromkeys(table.names), chosen, "images", table.where)
    usual = [name for name in table.names if name.lower().replace(" ", "_") in PATHS]
    if len(usual) > 1:
        first = {name: table.texts(name)[0].as_py() for name in usual}
        usual = (
            [name for name in usual if _is_file(root, first[name])]
            or [name for name in usual if _may_be_file(root, first[name], endings)]
            or usual
        )
    if len(usual) == 1:
        return usual[0]
    listed = ", ".join((usual or list(table.names))[:20])
    problem = "several columns of paths" if usual else "no column of paths"
    raise DataError(
        f"{table.where} has {problem}; {'they are' if usual else 'its columns are'} {listed}. The "
        f"first line names the columns; pick one: --set data.images={(usual or ['NAME'])[0]}; or "
        "make paths of columns: --set 'data.images=FOLDER/{NAME}.png'"
    )


def _is_file(root: Path, name: str) -> bool:
    """Whether there is a file of this very name."""
    return "\0" not in name and ".." not in name and (root / name).is_file()


def _may_be_file(root: Path, name: str, endings: Sequence[str]) -> bool:
    try:
        return bool(files_inside(root, [name], True, "", endings))
    except DataError:
        return False


def _short(table: Table, name: str) -> NDArray[Any]:
    """A column for labels, groups, ids or split, which become strings of one length."""
    try:
        values = table.column(name)
    except AmbiguousNumbers:  # as names they are what they are
        values = table.texts(name).to_numpy(zero_copy_only=False)
    if values.dtype.kind == "O":
        longest = max(map(len, values.tolist()))
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
