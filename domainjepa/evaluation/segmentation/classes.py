"""What masks tell: their classes, which of them are scored, and how much there is of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from domainjepa.config import TargetConfig
from domainjepa.data.source import Source
from domainjepa.errors import DataError
from domainjepa.evaluation.reporting.progress import counting
from domainjepa.evaluation.splits import Rows

IGNORED_NAMES = ("ignore", "void", "unlabelled", "unlabeled")
BACKGROUND = ("background", "bg", "clear label", "other", "0")
"""What value 0 may be called where it is what lies between structures."""
VOID = 255
"""PASCAL VOC, Cityscapes and ADE20K mark so what nobody judged."""
MOST_CLASSES = 256
SHOWN = 10
"""Classes whose share is told."""

IGNORED = -1
Classes = NDArray[np.int16]
"""(H, W) or (D, H, W): places in `MaskClasses.names`, `IGNORED` where nothing is known."""


@dataclass(frozen=True)
class MaskClasses:
    """The classes of masks.

    Attributes:
        values: as the masks store them, ascending.
        names: of each.
        scored: places of those that metrics are of: all but the background.
        ignored: values that are no class.
        said: how this was found, a readable line.
    """

    values: tuple[int, ...]
    names: tuple[str, ...]
    scored: tuple[int, ...]
    ignored: tuple[int, ...]
    said: str

    def __len__(self) -> int:
        return len(self.values)

    @property
    def scored_names(self) -> tuple[str, ...]:
        return tuple(self.names[one] for one in self.scored)

    def of(self, mask: NDArray[np.integer]) -> Classes:
        """The classes of a mask's pixels; values that are in no mask known before are ignored."""
        values = np.asarray(self.values)
        place = np.minimum(np.searchsorted(values, mask), len(values) - 1)
        return np.where(values[place] == mask, place, IGNORED).astype(np.int16)


def classes_of(
    source: Source,
    rows: Rows,
    settings: TargetConfig | None = None,
    console: Console | None = None,
) -> tuple[MaskClasses, NDArray[np.int64]]:
    """The classes in the masks of some rows, each of which is read once.

    Args:
        rows: samples that have a mask.
        settings: `target.*`: `ignore` and `background` are asked for.
        console: where to show progress.

    Returns:
        The classes; (n, K) pixels of each of them in each row.

    Raises:
        DataError: a mask that cannot be read, one class alone, or more than `MOST_CLASSES`.
    """
    if source.masks is None:
        raise DataError(f"{source.name} has no masks")
    found: list[dict[int, int]] = []
    with counting(console, "reading masks", len(rows)) as counter:
        for row in rows.tolist():
            values, counts = np.unique_counts(source.masks[row])
            if len(values) > MOST_CLASSES:
                raise DataError(
                    f"the mask of sample {row} has {len(values):,} different values: numbers of "
                    "single objects, or a picture. Classes are wanted, a number for each."
                )
            found.append(dict(zip(values.tolist(), counts.tolist(), strict=True)))
            counter.advance()
    classes = named(sorted(set().union(*found)), source.masks.classes or {}, settings)
    if len(classes) < 2 or not classes.scored:
        raise DataError(
            f"the masks of {source.name} hold {', '.join(classes.names) or 'nothing'} alone: there "
            "is nothing to tell apart."
        )
    pixels = np.array([[one.get(value, 0) for value in classes.values] for one in found], np.int64)
    return replace(classes, said=f"{classes.said}{_shares(classes, pixels)}"), pixels


def _shares(classes: MaskClasses, pixels: NDArray[np.int64]) -> str:
    """How much of the images the structures are, and what to do where one is most of them."""
    share = pixels.sum(axis=0) / max(pixels.sum(), 1)
    told = ", ".join(f"{100 * share[one]:.3g} %" for one in classes.scored[:SHOWN])
    if len(classes) != 2 or len(classes.scored) != 1 or share[classes.scored[0]] < 0.5:
        return f"; {told} of the pixels"
    structure = classes.values[classes.scored[0]]
    return f"; {told} of the pixels; to score the rest of them: --set target.background={structure}"


def named(
    values: Sequence[int], names: Mapping[int, str], settings: TargetConfig | None = None
) -> MaskClasses:
    """Classes out of the values that masks hold and the names that the data give them."""
    ignored = None if settings is None else settings.ignore
    if ignored is None:
        told = [value for value, name in names.items() if name.lower() in IGNORED_NAMES]
        others = set(values) - {0, VOID}
        void = VOID in values and VOID not in names and bool(others)
        ignored = (*told, *((VOID,) if void else ()))
    kept = tuple(value for value in values if value not in ignored)
    background = None if settings is None else settings.background
    if background is None and names.get(0, BACKGROUND[0]).lower() in BACKGROUND:
        background = 0
    called = {} if background not in kept else {background: BACKGROUND[0]}
    if called and len(kept) == 2:
        called |= {value: "foreground" for value in kept if value != background}
    shown = tuple(names.get(value) or called.get(value, str(value)) for value in kept)
    scored = tuple(place for place, value in enumerate(kept) if value != background)
    said = f"masks of {len(scored)} structures: {', '.join(shown[one] for one in scored)}"
    if len(scored) == 1:
        said = f"masks of one structure: {shown[scored[0]]} (value {kept[scored[0]]})"
    if there := [value for value in values if value in ignored]:
        said += f"; not judged, and ignored: value {', '.join(map(str, there))}"
    return MaskClasses(kept, shown, scored, tuple(ignored), said)
