"""Which samples belong together: other views of a sample are of its siblings.

Neighbouring slices of a scan, images of one study, exposures of one field show the same object, and
differ in what an encoder should ignore.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from domainjepa.data.metadata.blanks import as_values
from domainjepa.data.sampling import key
from domainjepa.data.source import Image, Source
from domainjepa.errors import ConfigError

MOST = 4
"""Siblings that the views of a sample show in an epoch: each is read, and others in another."""
FOREIGN = 0.1
"""Share of siblings in other groups from which on a plan warns."""

_ALONG = re.compile(r"z:±?(\d+|\d+(?:\.\d+)?mm)")
_FORMS = "write z:12mm, z:2, group or column:NAME"


@dataclass(frozen=True)
class Siblings:
    """The samples that belong to each sample, as ranges of one order.

    Attributes:
        told: what they are, for the plan.
        order: (M,) int64, the rows that have a place, side by side where they belong together.
        first, stop: (len(source),) int64, the range of a row; empty where it has no place.
        place: (len(source),) int64, where a row is in the order itself.
    """

    told: str
    order: NDArray[np.int64]
    first: NDArray[np.int64]
    stop: NDArray[np.int64]
    place: NDArray[np.int64]

    def counts(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many siblings each of these rows has, itself not counted."""
        counts: NDArray[np.int64] = np.maximum(self.stop[rows] - self.first[rows] - 1, 0)
        return counts

    def drawn(self, seed: int, epoch: int, row: int, most: int = MOST) -> list[int]:
        """Rows of different siblings of a row, in the order in which its views show them.

        Args:
            seed: of the run.
            epoch: each draws anew.
            row: of the source.
            most: at most so many.
        """
        first, others = int(self.first[row]), int(self.stop[row] - self.first[row]) - 1
        if others < 1:
            return []
        draw = np.random.default_rng(key(seed, "siblings", epoch, row))
        places = first + draw.choice(others, min(most, others), replace=False)
        places += places >= self.place[row]  # steps over the row itself
        found: list[int] = self.order[places].tolist()
        return found


def find_siblings(source: Source, rows: NDArray[np.int64], relation: str) -> Siblings:
    """The siblings of each of the rows, among the rows.

    Args:
        source: of images.
        rows: to learn from; no other row is anyone's sibling.
        relation: `z:12mm`, `z:2`, `group` or `column:NAME`.

    Raises:
        ConfigError: no such relation, the data do not have it, or nobody has a sibling.
        DataError: there is no such column.
    """
    if source.volumetric:
        raise ConfigError(
            f"views.related = {relation!r} relates images, and the samples are volumes: learn from "
            "their slices by --set data.dimensions=2 and a backbone of images, or leave it out."
        )
    reach = 0.0
    if along := _ALONG.fullmatch(relation):
        told, unit, position, reach = _slices(source, rows, relation, along[1])
    elif relation == "group":
        if source.groups is None:
            raise ConfigError(
                "views.related = 'group': the data have no groups. Name them by "
                "--set data.groups=NAME, or a column by --set views.related=column:NAME."
            )
        told, unit, position = "of its group", source.groups[rows], np.zeros(len(rows))
    elif relation.startswith("column:"):
        told, unit = _column(source, rows, relation)
        position = np.zeros(len(rows))
    else:
        raise ConfigError(f"views.related = {relation!r} is no relation: {_FORMS}.")
    found = _ranges(len(source), rows, unit, position, reach, told)
    if not found.counts(rows).any():
        raise ConfigError(
            f"views.related = {relation!r}: none of the {len(rows):,} samples to learn from has "
            "another one that belongs to it. Choose another relation, or leave views.related out."
        )
    return found


def _slices(
    source: Source, rows: NDArray[np.int64], relation: str, reach: str
) -> tuple[str, NDArray[np.int64], NDArray[np.float64], float]:
    """What slices are related to one, the volume of each row, its place in it, how far they lie."""
    if source.stack is None:
        raise ConfigError(
            f"views.related = {relation!r} is for slices of volumes, and the samples are none. "
            "Relate them by --set views.related=group or column:NAME."
        )
    volume, number, along = source.stack[rows].T
    volume = volume.astype(np.int64)
    if not reach.endswith("mm"):
        slices = f"up to {reach} slice{'s' if reach != '1' else ''} away"
        return f"of its volume, {slices}", volume, number, float(reach)
    if np.isnan(along).any():
        raise ConfigError(
            f"views.related = {relation!r}: the data do not tell how many millimetres there are "
            "between slices. Say in slices how far: --set views.related=z:2."
        )
    distance = float(reach.removesuffix("mm"))
    return f"of its volume, up to {distance:g} mm away", volume, along, distance


def _column(
    source: Source, rows: NDArray[np.int64], relation: str
) -> tuple[str, NDArray[np.int64]]:
    """What is related, and a number for each value of the column; a blank is related to nobody."""
    name = relation.partition(":")[2]
    stored = source.column(name)
    values = as_values(stored, source.blank) if stored.size == len(source) else None
    if values is None:
        raise ConfigError(
            f"views.related = {relation!r}: {stored.dtype} of shape {stored.shape} does not say "
            f"what belongs together: name a column of texts or whole numbers, one for each of the "
            f"{len(source):,} samples."
        )
    unit = np.where(values.known, values.codes, len(values.distinct) + np.arange(len(source)))
    return f"with its value of {name!r}", unit[rows]


def _ranges(
    samples: int,
    rows: NDArray[np.int64],
    unit: NDArray[np.int64],
    position: NDArray[np.float64],
    reach: float,
    told: str,
) -> Siblings:
    """Rows of one unit whose positions differ by no more than the reach."""
    _, unit = np.unique(unit, return_inverse=True)
    position = position - position.min(initial=0.0)
    reach *= 1 + 1e-6  # 12 mm are 12 mm away, however it was rounded
    # Units laid out one behind the other, too far apart to reach from one to the next.
    line = unit * (2 * (position.max(initial=0.0) + reach) or 1.0) + position
    order = np.lexsort((rows, line))
    lying = line[order]
    first, stop, place = (np.zeros(samples, np.int64) for _ in range(3))
    first[rows] = np.searchsorted(lying, line - reach, "left")
    stop[rows] = np.searchsorted(lying, line + reach, "right")
    place[rows[order]] = np.arange(len(rows))
    return Siblings(told, rows[order], first, stop, place)


def read_related(
    source: Source,
    siblings: Siblings | None,
    seed: int,
    draws: Sequence[tuple[int, int]],
    most: int,
) -> list[list[Image]]:
    """For each draw (epoch, row) its image and those of at most so many siblings, by one request.

    What cannot be read has no siblings and is nobody's: others stand in for it.
    """
    wanted = [
        [row, *(siblings.drawn(seed, epoch, row, min(most, MOST)) if siblings else ())]
        for epoch, row in draws
    ]
    rows = sorted({row for one in wanted for row in one})
    images = dict(zip(rows, source.__getitems__(rows), strict=True))
    lost = set(source.unreadable(rows))
    return [
        [images[own], *(images[row] for row in others if not lost & {own, row})]
        for own, *others in wanted
    ]


def related_note(siblings: Siblings, rows: NDArray[np.int64], crops: str | None) -> str:
    """What the plan says of them."""
    counts = siblings.counts(rows)
    alone = np.mean(counts == 0)
    many = f"{np.median(counts):g} (median; {counts.min()} to {counts.max()})"
    none = f"; {100 * alone:.2g} % have none and see themselves" if alone else ""
    return (
        f"all views of a sample but the first are of others {siblings.told}: {many}{none}; at most "
        f"{MOST} of them in an epoch; crops {crops}"
    )


def related_warnings(
    siblings: Siblings, source: Source, rows: NDArray[np.int64], seed: int
) -> list[str]:
    """What is doubtful about a relation, before anything is learned from it."""
    found = []
    counts = siblings.counts(rows)
    if np.mean(counts == 0) > 0.5:
        found.append(
            f"views.related: {100 * np.mean(counts == 0):.0f} % of the samples have no sibling and "
            "are learned from as without it"
        )
    some = rows[counts > 0]
    some = some[:: -(-len(some) // 4096)].tolist()
    pairs = np.array([(row, siblings.drawn(seed, 0, row, 1)[0]) for row in some]).T
    if source.groups is not None:
        foreign = np.mean(source.groups[pairs[0]] != source.groups[pairs[1]])
        if foreign > FOREIGN:
            found.append(
                f"views.related: {100 * foreign:.0f} % of the siblings are of another group (a "
                "patient, an object): what has little in common teaches to keep little. Is it the "
                "relation that you mean?"
            )
    if source.labels is not None:
        units = np.searchsorted(np.unique(siblings.first[rows]), siblings.first[rows])
        known = source.labels[rows] >= 0
        both = len(np.unique(np.stack([units, source.labels[rows]])[:, known], axis=1).T)
        classes = len(np.unique(source.labels[rows][known]))
        if both == len(np.unique(units[known])) == classes > 1:
            found.append(
                "views.related: siblings are the samples of one class, so the encoder learns from "
                "the labels, and scores on rows that it saw come out too good"
            )
    return found


def nearer_than_strangers(
    first: NDArray[np.float64], second: NDArray[np.float64], strangers: NDArray[np.bool_]
) -> float:
    """How often the sibling of a sample is nearer to it than a stranger: 0.5 by chance.

    The area under the ROC curve of telling them apart by distance, the mean over samples.

    Args:
        first: (N, K) embeddings of samples.
        second: (N, K) of a sibling of each.
        strangers: (N, N), whether the second of a column is a stranger to the first of a row.
    """
    scale = np.maximum(np.concatenate([first, second]).std(axis=0), 1e-12)
    gaps = cdist(first / scale, second / scale, "sqeuclidean")
    own = np.diag(gaps)[:, None]
    farther = (gaps > own) + 0.5 * (gaps == own)
    some = strangers.any(axis=1)
    return float(np.mean((farther * strangers).sum(axis=1)[some] / strangers.sum(axis=1)[some]))
