"""A sample of `benchmarks/mutations.py`: what is changed is read or refused, and nothing else."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tests.mutations import KINDS, outcomes


def test_changed_files_of_ours_are_read_or_refused(run: Path, tmp_path: Path) -> None:
    seen: Counter[tuple[str, str]] = Counter()
    for kind, number, told in outcomes(run, tmp_path, range(40)):
        assert told in ("read", "refused"), (kind, number, told)
        seen[kind, told] += 1
    assert all(seen[kind, "refused"] for kind in KINDS), seen
