"""Test units scored apart by a column: each source, scanner or site by itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from domainjepa.data.metadata.targets import Target, target_of
from domainjepa.data.source import Source
from domainjepa.errors import DataError
from domainjepa.evaluation.cohorts.cohort import Cohort
from domainjepa.evaluation.cohorts.units import target_of_units
from domainjepa.evaluation.splits import Rows

MOST_PARTS = 20
"""Parts that are scored, those with the most test units."""
MOST_VALUES = 100
"""Different values from which on a column names single things, and not where they come from."""


@dataclass(frozen=True)
class Column:
    """A column of a cohort's units.

    Attributes:
        name: of the column.
        target: its values as a target of the units.
    """

    name: str
    target: Target

    def parts(self, test: Rows) -> dict[str, Rows]:
        """Name -> positions in `test` of the units with that value, or fifth of the values."""
        known = np.flatnonzero(self.target.known[test])
        values = self.target.values[test[known]]
        strata, names = self.target.strata(values), self.target.strata_names(values)
        found, counts = np.unique(strata, return_counts=True)
        most = np.sort(found[np.argsort(-counts, kind="stable")[:MOST_PARTS]])
        return {f"{self.name} = {names[one]}": known[strata == one] for one in most.tolist()}

    def said(self, test: Rows) -> list[str]:
        """What of the test units is not in `parts`."""
        lines = []
        without = int((~self.target.known[test]).sum())
        if without:
            lines.append(
                f"--by {self.name}: {without:,} of {len(test):,} test units have no value, or "
                "several"
            )
        values = self.target.values[test[self.target.known[test]]]
        number = len(np.unique(self.target.strata(values)))
        if number > MOST_PARTS:
            lines.append(f"--by {self.name}: of {number} values the {MOST_PARTS} largest are shown")
        return lines


def column_of(cohort: Cohort, name: str) -> Column:
    """A column by which units are scored apart; a unit whose samples differ has no value.

    Raises:
        DataError: no such column, several values a sample, or too many to be sources.
    """
    target = target_of(cohort.source, name)
    if target.kind == "multi-label":
        raise DataError(f"--by {name}: several values a sample; name one column")
    if target.kind == "classes" and len(target.classes) > MOST_VALUES:
        raise DataError(
            f"--by {name}: {len(target.classes):,} different values; a column of sources, scanners "
            f"or sites has at most {MOST_VALUES}"
        )
    return Column(name, target_of_units(target, cohort.units, "leave-out"))


def has_column(source: Source, name: str) -> bool:
    """Whether a source has a column."""
    try:
        source.column(name)
    except DataError:
        return False
    return True
