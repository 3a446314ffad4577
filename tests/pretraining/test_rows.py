"""Which rows a run learns from, and what is told of groups that a split parts."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from domainjepa.pretraining.plan import make_plan
from tests.conftest import tiny


@pytest.fixture
def patients(blobs: Path, tmp_path: Path) -> Path:
    """64 rows of 16 patients; the split is by four rows."""
    path = tmp_path / "patients.h5"
    path.write_bytes(blobs.read_bytes())
    with h5py.File(path, "a") as file:
        file["patient"] = np.arange(64) // 4
        file["split"][...] = np.repeat([b"train", b"train", b"val", b"test"] * 4, 4)
    return path


def told(path: Path, **changes: object) -> list[str]:
    return [text for text in make_plan(tiny(path, **changes)).warnings if "groups" in text]


def test_groups_in_several_parts_of_the_split_are_told(patients: Path) -> None:
    assert told(patients) == []
    with h5py.File(patients, "a") as file:
        split = file["split"][()]
        split[[0, 4, 5]] = b"test"  # of patients 0 and 1
        split[8] = b"train"  # of patient 2, whose other rows are val
        file["split"][...] = split
    (line,) = told(patients)
    assert "3 of 16 groups lie in several parts" in line
    assert "learns from 5 rows whose group is in the test split" in line


def test_val_and_train_are_both_learned_from(patients: Path) -> None:
    with h5py.File(patients, "a") as file:
        file["split"][8] = b"train"
    (line,) = told(patients)
    assert "1 of 16 groups" in line
    assert "learns from" not in line


def test_without_groups_or_a_split_there_is_nothing_to_tell(blobs: Path, patients: Path) -> None:
    assert told(blobs) == []
    with h5py.File(patients, "a") as file:
        del file["split"]
    assert told(patients) == []
