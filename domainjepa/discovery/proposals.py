"""`domainjepa label`: what to label next, the probe of what is labelled, and labels in doubt."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from rich.table import Table
from sklearn.pipeline import Pipeline

from domainjepa.discovery import label_files
from domainjepa.discovery.embedded import Embedded
from domainjepa.discovery.labelling import (
    FOLDS,
    Known,
    Positions,
    cross_validated,
    fitted,
    suspects,
    typical,
    unsure,
)
from domainjepa.discovery.space import Space
from domainjepa.embed.blocks import Features
from domainjepa.errors import UserError
from domainjepa.inspection.drawing import displayed
from domainjepa.pictures import montage
from domainjepa.showing import shown

By = Literal["auto", "typicality", "margin"]
ACROSS = 10


@dataclass(frozen=True)
class Proposal:
    """Samples to look at.

    Attributes:
        title: what they are.
        order: positions, the most telling first.
        words: columns beside row and id: name -> one text each.
    """

    title: str
    order: Positions
    words: dict[str, list[str]]


@dataclass(frozen=True)
class Labelling:
    """An encoder's samples, and the labels that are known of them."""

    of: Embedded
    known: Known
    features: Features

    @classmethod
    def begin(cls, of: Embedded, files: list[Path]) -> Labelling:
        """With the labels of the data and of files that were filled in."""
        return cls(of, label_files.known_labels(of.samples, files), of.features.all())

    def told(self) -> str:
        """How many labels are known, and how far a probe gets with them."""
        known = self.known
        count, classes = len(known.positions), len(np.unique(known.labels[known.positions]))
        said = f"{count:,} of {len(self.of):,} samples have a label, of {classes} classes"
        if classes < 2:
            return said
        chance = cross_validated(self.features, known)
        if chance is None:
            return f"{said}; too few of a class to tell how good a probe is"
        right = chance.argmax(axis=1) == known.labels[known.positions]
        return (
            f"{said}; a linear probe of them is right for {100 * right.mean():.1f} % in "
            f"cross-validation of up to {FOLDS} folds"
        )

    def propose(self, count: int, by: By) -> Proposal:
        """What to label next.

        Raises:
            UserError: all have a label, or margins are asked for where no probe can be fitted.
        """
        known = self.known
        free = np.flatnonzero(known.labels < 0)
        if not len(free):
            raise UserError("every sample has a label; --suspects shows those that are in doubt.")
        if by == "auto":
            by = "typicality" if known.few else "margin"
        if by == "typicality":
            order = typical(Space()(self.features), known.positions, min(count, len(free)))
            return Proposal("to label next, typical of their clusters", order, {})
        probe = fitted(self.features, known)
        order = unsure(probe, self.features, free, count)
        names, chances = self._answers(probe, order)
        words = {"proposed": names, "chance": [f"{one:.3f}" for one in chances.tolist()]}
        return Proposal("to label next, between two classes", order, words)

    def in_doubt(self, count: int) -> tuple[Proposal, int]:
        """The labels most in doubt, and how many of all are suspected.

        Raises:
            UserError: too few labels to tell.
        """
        known = self.known
        at = known.positions
        if not len(at) or (chance := cross_validated(self.features, known)) is None:
            raise UserError(
                "to doubt labels takes two classes of two labels each, in two groups where there "
                "are groups."
            )
        found = suspects(chance, known.labels[at])
        count = min(max(count, 1), len(at))
        first = found.order[:count]
        names = np.array(known.classes, object)
        words = {
            "given": names[known.labels[at[first]]].tolist(),
            "likelier": names[found.other[:count]].tolist(),
            "doubt": [f"{one:.3f}" for one in found.doubt[:count].tolist()],
        }
        return Proposal("labels in doubt", at[first], words), found.suspected

    def write_answers(self, path: Path) -> None:
        """What the probe says of every sample, as CSV."""
        probe = fitted(self.features, self.known)
        names, chances = self._answers(probe, np.arange(len(self.of)))
        label_files.write_answers(path, self.of.samples, self.known, names, chances)

    def _answers(self, probe: Pipeline, order: Positions) -> tuple[list[str], NDArray[np.float64]]:
        chance = probe.predict_proba(self.features[order])
        likeliest = probe.classes_[chance.argmax(axis=1)]
        return [self.known.classes[one] for one in likeliest.tolist()], chance.max(axis=1)


def table_of(found: Proposal, of: Embedded) -> Table:
    """The samples, for a terminal."""
    table = Table(title=found.title, title_justify="left", box=None)
    table.add_column("row", justify="right")
    for name in ("id", *found.words):
        if name != "id" or of.samples.ids is not None:
            table.add_column(name)
    for number, position in enumerate(found.order.tolist()):
        line = [str(of.rows[position])]
        if of.samples.ids is not None:
            line.append(of.samples.called(position))
        table.add_row(*map(shown, [*line, *(words[number] for words in found.words.values())]))
    return table


def draw(found: Proposal, of: Embedded, path: Path) -> None:
    """A montage, line by line; below each what the probe says, or what it is called."""
    show = displayed(of.source)
    said = ["given", "likelier"] if "given" in found.words else ["proposed"]
    below = [
        " / ".join(found.words[name][at] for name in said if name in found.words)
        or of.samples.called(position)
        for at, position in enumerate(found.order.tolist())
    ]
    parts = range(0, len(found.order), ACROSS)
    montage(
        [[show(int(of.rows[at])) for at in found.order[one : one + ACROSS].tolist()]
         for one in parts],
        path,
        captions=[[shown(one) for one in below[part : part + ACROSS]] for part in parts],
        title=f"{found.title}: {of.source.public_name}",
    )  # fmt: skip
