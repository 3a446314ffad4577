"""Boxes of one volume or mosaic as samples: train, val and test inside of it, with a margin.

A sample that is too large to be read whole becomes a box, too, all of it: what lies around a box,
or beyond the end of a volume, is never read.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

from domainjepa.data.parts.drawn import drawn_to_look_at
from domainjepa.data.parts.occupancy import Occupancy, find_occupancy
from domainjepa.data.parts.parts import READ_AT_ONCE, Found, PartsSource, bytes_of, inherited
from domainjepa.data.source import Image, OpenOptions, Source, spread
from domainjepa.data.storage.cost import in_bytes
from domainjepa.data.storage.large import Grid, Large
from domainjepa.errors import DataError

PARTS = ("train", "val", "test")
MOST_LOOKED_AT = 64
"""Samples whose sizes are asked for."""
_BOUND = re.compile(r"(\d+)(\.\d+)?(%?)", re.ASCII)


@dataclass(frozen=True)
class Box:
    """A part of a volume or an image.

    Attributes:
        part: of the split: train, val or test.
        start, stop: pixels or voxels along H, W or D, H, W.
    """

    part: str
    start: tuple[int, ...]
    stop: tuple[int, ...]

    def apart(self, other: Box) -> int:
        """Pixels or voxels between two boxes, along the axis where they are farthest apart; below 0
        where they overlap."""
        ends = zip(self.start, self.stop, other.start, other.stop, strict=True)
        return max(max(c - b, a - d) for a, b, c, d in ends)


@dataclass(kw_only=True)
class BoxesSource(PartsSource):
    """Boxes of volumes (D, H, W, C) or images (H, W, C), read in parts.

    Attributes:
        known: of each box, where it is too large to be read whole; else None.
        max_sample_bytes: of a box that is read whole.
    """

    known: list[Large | None] = field(repr=False)
    max_sample_bytes: int

    def read(self, index: int) -> Image:
        size = bytes_of(self.whole, self.sides(index))
        if size > self.max_sample_bytes:
            raise DataError(
                f"sample {index} of {self.name}, {'x'.join(map(str, self.sides(index)))}, would "
                f"take {in_bytes(size)}, more than {in_bytes(self.max_sample_bytes)}: it is read "
                "in parts. Take tiles of it (data.dimensions=2, or data.tile), a smaller box "
                "(data.split_boxes), or a coarser resolution (data.images)."
            )
        return self.region(index, (0,) * len(self.sides(index)), self.sides(index))

    def region(self, index: int, start: Sequence[int], stop: Sequence[int]) -> Image:
        corner, sides = self.start[index], np.array(self.sides(index))
        begin, end = ((corner + np.clip(ends, 0, sides)).tolist() for ends in (start, stop))
        return self.cut(int(self.of[index]), begin, end)

    def sides(self, index: int) -> tuple[int, ...]:
        return tuple((self.stop[index] - self.start[index]).tolist())

    @property
    def reads_parts(self) -> bool:
        return self.whole.reads_parts

    def chunks(self, index: int) -> tuple[int, ...] | None:
        return self.whole.chunks(int(self.of[index]))

    def large(self, index: int) -> Large | None:
        return self.known[index]

    @property
    def axes(self) -> tuple[str, ...] | None:
        """What D, H, W of a volume are in the patient, where the format tells."""
        return getattr(self.whole, "axes", None)

    @property
    def directions(self) -> tuple[str, ...] | None:
        """Where D, H, W of a volume lead in the patient, where the format tells."""
        return getattr(self.whole, "directions", None)

    def content_key(self) -> str:
        boxes = [self.of.tolist(), self.start.tolist(), self.stop.tolist()]
        return f"{self.whole.content_key()} boxes {boxes}"

    def fingerprint(self) -> str:
        """Of small parts of it, where it is too large to be read whole."""
        return drawn_to_look_at(self).fingerprint() if any(self.known) else super().fingerprint()


def boxed(source: Source, told: Sequence[str], options: OpenOptions) -> Source:
    """The boxes of its one sample, or each sample as a box where some are too large to be read
    whole; the source itself where neither is so. Images of which all tiles are asked for are cut as
    any other, whatever their size.

    Args:
        told: `data.split_boxes`.
        options: limits, and the margin between boxes.

    Raises:
        DataError: boxes that overlap, lie too close together or outside; or nothing is in them.
    """
    looked_at = spread(len(source), MOST_LOOKED_AT) if source.reads_parts else []
    sizes = [bytes_of(source, _sides_of(source, row)) for row in looked_at]
    every_tile = not source.volumetric and options.tile is not None and options.regions is None
    large = max(sizes, default=0) > options.max_sample_bytes and not every_tile
    if not (told or large):
        return source
    if options.crop:
        raise DataError(
            f"data.crop takes the centre of frames, and {source.name} is cut into boxes: leave it "
            "out, or tell the centre by data.split_boxes."
        )
    if told and len(source) != 1:
        raise DataError(
            f"data.split_boxes are boxes of one volume or mosaic, and {source.name} has "
            f"{len(source):,}: choose one (data.images, data.where), or split whole samples "
            "(data.split)."
        )
    if large and source.masks is not None:
        source.masks = None
        source.warnings.append("masks are left out: they are as large as what they outline")
    sides = [_sides_of(source, row) for row in range(len(source))]
    if told:
        return _cut(source, read_boxes(told, sides[0], options.split_margin), large, options)
    return _cut(source, [Box("", (0,) * len(one), one) for one in sides], large, options)


def _sides_of(source: Source, row: int) -> tuple[int, ...]:
    """Of a sample; of one that cannot be read, for which whoever reads it is told, the first's."""
    with contextlib.suppress(DataError):
        return source.sides(row)
    return source.shape[:-1]


def read_boxes(told: Sequence[str], sides: Sequence[int], margin: int) -> list[Box]:
    """Boxes from words such as `train=:70%,0:2000`.

    Args:
        told: one word a box.
        sides: of the whole.
        margin: that must lie between boxes of different parts.

    Raises:
        DataError: a word that is none, a box outside or empty, or two that are too close.
    """
    boxes = [_box(one, sides) for one in told]
    for (first, one), (second, other) in combinations(zip(told, boxes, strict=True), 2):
        between = one.apart(other)
        if one.part != other.part and between < margin:
            said = f"{between} apart" if between >= 0 else "on each other"
            raise DataError(
                f"the boxes {first} and {second} lie {said}, and data.split_margin asks for "
                f"{margin} pixels or voxels between parts: what lies side by side looks alike. "
                "Move them, or set another margin."
            )
    return boxes


def _box(told: str, sides: Sequence[int]) -> Box:
    part, _, spans = told.partition("=")
    words = spans.split(",") if spans.strip() else []
    part, letters = part.strip(), "D,H,W"[-2 * len(sides) + 1 :]
    if part not in PARTS or not words or len(words) > len(sides):
        raise DataError(
            f"data.split_boxes has {told!r}; write train, val or test, =, and from:to along "
            f"{letters}, such as train=:70%,0:2000"
        )
    start, stop = [], []
    for number, side in enumerate(sides):
        low, colon, high = words[number].partition(":") if number < len(words) else ("", ":", "")
        first, last = _bound(low, side, 0), _bound(high, side, side)
        if not colon or first is None or last is None or not 0 <= first < last <= side:
            raise DataError(
                f"data.split_boxes has {told!r}, of which {words[number].strip()!r} is no from:to "
                f"within 0 and {side} (or 0% and 100%)"
            )
        start.append(first)
        stop.append(last)
    return Box(part, tuple(start), tuple(stop))


def _bound(word: str, side: int, usual: int) -> int | None:
    """Pixels from the corner; None where a word is none."""
    if not word.strip():
        return usual
    match = _BOUND.fullmatch(word.strip())
    if match is None or (match[2] and not match[3]):
        return None
    number = float(match[1] + (match[2] or ""))
    return round(number * side / 100) if match[3] else int(match[1])


def _cut(source: Source, boxes: Sequence[Box], large: bool, options: OpenOptions) -> BoxesSource:
    named = bool(boxes[0].part)
    found = Found(
        of=np.zeros(len(boxes), np.int64) if named else np.arange(len(boxes)),
        start=np.array([box.start for box in boxes], dtype=np.int64),
        stop=np.array([box.stop for box in boxes], dtype=np.int64),
        sides=[box.stop for box in boxes],
        empty=0,
    )
    facts = inherited(source, found, [",".join(map(str, box.start)) for box in boxes])
    facts["decisions"] = [*source.decisions]
    if named:
        facts["split"] = np.array([box.part for box in boxes])
        facts["groups"] = np.arange(len(boxes), dtype=np.int64)
        told = "; ".join(f"{box.part} {_sides(box)}" for box in boxes)
        facts["decisions"].append(
            f"split: boxes of {'x'.join(map(str, source.sides(0)))}, {told}; "
            f"{options.split_margin} or more between parts"
        )
    known: list[Large | None] = [None] * len(boxes)
    if large:
        some = options.dimensions == 3 and source.volumetric  # of volumes each is read its own way
        known, how = _known(source, found, boxes, options.max_sample_bytes if some else 0)
        facts["decisions"].append(
            f"too large to be read whole: read in parts, at places drawn by key where something "
            f"is, told by {how}"
        )
    first = tuple((found.stop[0] - found.start[0]).tolist())
    made = BoxesSource(
        **facts,
        shape=(*first, source.channels),
        known=known,
        max_sample_bytes=max(options.max_sample_bytes, READ_AT_ONCE if options.tile else 0),
    )
    made.spacings = source.spacings[found.of] if source.spacings is not None else None
    made.bands = source.bands
    return made


def _known(
    source: Source, found: Found, boxes: Sequence[Box], small: int
) -> tuple[list[Large | None], str]:
    """What is known of each box, and what told where something is.

    Args:
        small: bytes of a sample that is read whole, and of which nothing has to be known.
    """
    maps: dict[int, Occupancy] = {}
    for row in np.unique(found.of).tolist():
        if bytes_of(source, _sides_of(source, row)) > small:
            with contextlib.suppress(DataError):  # whoever reads it is told
                maps[row] = find_occupancy(source, row)
    known: list[Large | None] = []
    for row, box in zip(found.of.tolist(), boxes, strict=True):
        if row not in maps:
            known.append(None)
            continue
        sides = tuple(last - first for first, last in zip(box.start, box.stop, strict=True))
        chunks = source.chunks(row)
        grid = Grid(chunks, (0,) * len(sides)).within(box.start) if chunks else None
        try:
            places = maps[row].within(box.start, box.stop)
        except DataError as error:
            what = f"the box {box.part} {_sides(box)}" if box.part else f"sample {row}"
            raise DataError(
                f"{what} of {source.name}: {error}. `domainjepa inspect` shows the values."
            ) from error
        known.append(Large(sides, grid, places))
    return known, next((one.told for one in maps.values()), "nothing: it cannot be read")


def _sides(box: Box) -> str:
    return ",".join(f"{a}:{b}" for a, b in zip(box.start, box.stop, strict=True))
