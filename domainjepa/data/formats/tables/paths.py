"""Which files the rows of a table name: by a column of paths, or by a path made of columns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from domainjepa.data.formats.tables.inside import files_inside
from domainjepa.data.formats.tables.reading import PATHS
from domainjepa.data.formats.tables.tabular import Table
from domainjepa.data.formats.tables.template import filled, is_template
from domainjepa.data.remote.path import local
from domainjepa.data.source import OpenOptions
from domainjepa.data.storage.layout import full_name
from domainjepa.errors import DataError
from domainjepa.registry import LOADERS


def find_files(table: Table, root: Path, options: OpenOptions) -> tuple[str, list[str], list[str]]:
    """The column of paths, "" where several make them; the files below the root; what to tell.

    Raises:
        DataError: there is no such column, or as `filled` and `files_inside`.
    """
    endings, images, told = _endings(), options.images, [""]
    if images is not None and is_template(images):
        name, paths, of = "", filled(table, images), images
    else:
        name = _column(table, root, images, endings)
        paths, of = table.texts(name), f"column {name!r}"
    files, distinct = files_inside(
        root, paths, options.follow_links, f"{table.where}, {of}", endings, told.append
    )
    told[0] = f"paths: {of}, {distinct:,} files, {table.rows:,} rows"
    return name, files, told


def root_of(path: Path, told: str | None) -> Path:
    """The folder that no path leads out of."""
    if told is None:
        return path.resolve().parent
    root = local(told).expanduser().resolve()
    if not root.is_dir():
        raise DataError(f"data.root={told} is no folder: name the one that the images lie in.")
    return root


def _endings() -> tuple[str, ...]:
    """Of files that a name without an ending may mean."""
    loaders = (thing for name, thing in LOADERS.load_all().items() if name != "table")
    every = {ending for thing in loaders for ending in getattr(thing, "suffixes", ())}
    return tuple(sorted(filter(None, every)))


def _column(table: Table, root: Path, chosen: str | None, endings: Sequence[str]) -> str:
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
        return bool(files_inside(root, [name], True, "", endings).files)
    except DataError:
        return False
