"""`domainjepa explore`: one page, or a folder, to look at all samples with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from domainjepa.discovery.embedded import Embedded
from domainjepa.discovery.mapping import Axes, along_the_map, coordinates
from domainjepa.discovery.neighbours import neighbours_of_all
from domainjepa.discovery.outlyingness import density, distance_to_kth
from domainjepa.discovery.page import SHEETS, render
from domainjepa.discovery.space import Kind, space_of
from domainjepa.discovery.sprites import largest_side, sheets_of
from domainjepa.errors import UserError
from domainjepa.inspection.drawing import displayed
from domainjepa.waiting import stage
from domainjepa.writing import write_atomically

MOST_IN_PAGE = 50_000
"""Samples of a page that is one file."""
MOST_IN_FOLDER = 500_000
PAGE_BYTES = 24 * 2**20
"""Of pictures in a page, before they are written as text, which takes a third more: the tiles are
as large as fits. A page of this size opens in about a second."""
FOLDER_BYTES = 2 * 2**30
"""Of pictures beside one, which the page asks for when they are seen."""


@dataclass(frozen=True)
class Explorer:
    """What was written.

    Attributes:
        path: the page.
        size: bytes, in all files.
        side: pixels of a picture.
        axes: of the map, in words.
    """

    path: Path
    size: int
    side: int
    axes: str


def explore(
    of: Embedded,
    out: Path,
    *,
    axes: Axes = "auto",
    space: Kind = "plain",
    neighbours: int = 50,
    title: str | None = None,
    console: Console | None = None,
) -> Explorer:
    """Write the page, or a folder with `index.html` and the pictures beside it.

    Args:
        of: samples with their features.
        out: `FILE.html`, or a folder.
        axes: of the map.
        space: in which samples are alike.
        neighbours: k of the outlier score and the density that points can be coloured by.
        title: what to call the data; their public name by default.
        console: where to show progress.

    Raises:
        UserError: too few or too many samples, or what cannot be written.
    """
    console = console or Console(quiet=True)
    inside = out.suffix.lower() in (".html", ".htm")
    refuse_number(len(of), of.source.name, inside)
    where = space_of(space, of.features)
    near = neighbours_of_all(of.features, where, neighbours, console)
    plane, told = coordinates(of.features, where, near, axes, console)
    show = displayed(of.source)
    most = PAGE_BYTES if inside else FOLDER_BYTES
    side = largest_side(show, of.rows, of.source, most)
    sheets = sheets_of(show, of.rows, along_the_map(plane), side, of.source.volumetric, console)
    scores = {"outlier score": distance_to_kth(near), "density": density(near)}
    stage(console, "writing the page")
    html = render(
        of.samples, plane, told, near, scores, sheets, title or of.source.public_name, inside
    ).encode()
    path = out if inside else out / "index.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    size = len(html)
    if not inside:
        (out / SHEETS).mkdir(exist_ok=True)
        for number, content in enumerate(sheets.files):
            _write(out / SHEETS / f"{number}.webp", content)
            size += len(content)
    _write(path, html)
    return Explorer(path, size, side, told)


def refuse_number(count: int, name: str, inside: bool) -> None:
    """Whether so many samples can be looked at in a page, asked before the work.

    Raises:
        UserError: they are too few or too many.
    """
    if count < 3:
        raise UserError(f"{name} has {count} samples: too few for a map.")
    if inside and count > MOST_IN_PAGE:
        raise UserError(
            f"{name} has {count:,} samples, and one file holds at most {MOST_IN_PAGE:,}. Write a "
            "folder (--out explorer/), or choose samples by --set 'data.where=[…]'."
        )
    if count > MOST_IN_FOLDER:
        raise UserError(
            f"{name} has {count:,} samples, and an explorer shows at most {MOST_IN_FOLDER:,}. "
            "Choose samples by --set 'data.where=[…]'."
        )


def _write(path: Path, content: bytes) -> None:
    write_atomically(path, lambda file: file.write(content))
