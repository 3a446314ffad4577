"""What `similar` is asked for: rows, ids, or files with images of one's own."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.metadata.pseudonym import pseudonym
from domainjepa.data.opening import open_source, sniff
from domainjepa.data.source import Image, OpenOptions, Source
from domainjepa.discovery.embedded import Embedded
from domainjepa.embed.blocks import Features
from domainjepa.errors import DataError, UserError, did_you_mean
from domainjepa.pictures import to_rgb

MOST_IN_FILE = 16
"""Images of a file that are asked for, each as a query of its own."""


@dataclass(frozen=True)
class Query:
    """One sample that others are sought for.

    Attributes:
        name: what to call it: an id, a row, or the number of an image that was given; no file.
        position: of the samples, or None of an image that was given.
        image: that was given, or None.
    """

    name: str
    position: int | None = None
    image: Image | None = None

    def picture(self) -> NDArray[np.uint8] | None:
        """The image that was given, as people see it."""
        return None if self.image is None else to_rgb(self.image)


def queries_of(text: str, of: Embedded) -> list[Query]:
    """The queries in `17,42`, an id, or the path of a file with images.

    The whole text goes first as an id and as a file, since both may hold commas; then its parts. A
    number is a row; `id:17` is the id 17.

    Raises:
        UserError: something that is none of these.
    """
    whole = text.strip()
    parts = [whole] if _is_one(whole, of) else [part.strip() for part in whole.split(",")]
    found = [query for part in parts if part for query in _found(part, of)]
    if not found:
        raise UserError(f"--query {text!r}: name a row, an id or a file with an image.")
    return found


def features_of_queries(queries: list[Query], of: Embedded) -> Features:
    """(Q, D) float32, of given images by the encoder."""
    found = np.empty((len(queries), of.features.width), np.float32)
    known = [(at, one.position) for at, one in enumerate(queries) if one.position is not None]
    if known:
        places, positions = zip(*known, strict=True)
        found[list(places)] = of.features.take(np.array(positions, np.int64))
    for at, one in enumerate(queries):
        if one.image is not None:
            seen = np.asarray(of.encoder.transform([one.image]), np.float32)
            if seen.shape[1] != of.features.width:
                raise UserError(
                    f"the encoder gives {seen.shape[1]} features, and those of the data are "
                    f"{of.features.width}: they are of another encoder."
                )
            found[at] = seen[0]
    return found


def _is_one(text: str, of: Embedded) -> bool:
    return _by_id(text, of) is not None or _is_file(text)


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):  # too long for a name, or a zero in it
        return False


def _by_id(text: str, of: Embedded) -> int | None:
    """The position of an id, of its hash, or of the sample whose id has this hash."""
    ids = of.samples.ids
    if ids is None:
        return None
    wanted = text.removeprefix("id:")
    # `beside` replaces ids of persons by hashes, but those of DICOM, which are hashes already.
    at = np.flatnonzero((ids == wanted) | (ids == pseudonym("id", wanted)))
    return int(at[0]) if len(at) else None


def _found(part: str, of: Embedded) -> list[Query]:
    if part.isdecimal():
        row = int(part)
        at = np.flatnonzero(of.rows == row)
        if not len(at):
            raise UserError(
                f"--query {part}: {of.source.name} has rows 0 to {len(of.source) - 1:,}"
                + (", and this one cannot be read." if row < len(of.source) else ".")
                + (
                    " For an id that is a number write id:" + part
                    if of.samples.ids is not None
                    else ""
                )
            )
        return [Query(of.samples.called(int(at[0])), int(at[0]))]
    position = _by_id(part, of)
    if position is not None:
        return [Query(of.samples.called(position), position)]
    if _is_file(part):
        return _in_file(Path(part), of)
    ids: list[Any] = [] if of.samples.ids is None else of.samples.ids[:1000].tolist()
    hint = "" if of.samples.personal else did_you_mean(part, ids)
    raise UserError(f"--query {part!r} is no row, no id of the data, and no file.{hint}")


def _in_file(path: Path, of: Embedded) -> list[Query]:
    given = _opened(path, of.source)
    if len(given) > MOST_IN_FILE:
        raise UserError(
            f"--query {path.name} holds {len(given):,} samples: give at most {MOST_IN_FILE} in a "
            "file, or rows of --data."
        )
    names = [f"given image {number + 1}" if len(given) > 1 else "given image"
             for number in range(len(given))]  # fmt: skip
    return [Query(name, image=given[row]) for row, name in enumerate(names)]


def _opened(path: Path, like: Source) -> Source:
    """A file as one sample where that is of the kind of the data, else as a container of some."""
    options = OpenOptions(dimensions=3 if like.volumetric else 2)
    with contextlib.suppress(DataError):
        one = sniff(path).open_files(path.parent, [path.name], options)
        if (
            len(one) == 1
            and one[0].shape[-1] == like.channels
            and one.volumetric == like.volumetric
        ):
            return one
    return open_source(path, options=options)
