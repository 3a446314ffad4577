"""Series of DICOM as channels: `P1/T1/*` and `P1/FLAIR/*`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from domainjepa.data.opening import open_source
from domainjepa.errors import DataError
from tests.data.formats.dicom.dicom_files import save_series, volume


def study(folder: Path, patient: str, depth: int = 5, **of_flair: float) -> None:
    """T1 tells each voxel's own place, FLAIR that and 1000 more."""
    save_series(folder / "T1", volume(depth), PatientID=patient)
    save_series(folder / "FLAIR", volume(depth) + np.int16(1000), PatientID=patient, **of_flair)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_series_of_a_study_are_channels(tmp_path: Path, dimensions: int) -> None:
    for name in ("glioma/p1", "glioma/p2", "none/p3", "none/p4"):
        study(tmp_path / name, name[-2:])
    source = open_source(tmp_path, bands=("FLAIR", "T1"), dimensions=dimensions)
    assert source.bands == ("FLAIR", "T1")
    each = 1 if dimensions == 3 else 5
    assert len(source) == 4 * each
    assert source.groups.tolist() == np.repeat(range(4), each).tolist()
    assert source.labels.tolist() == np.repeat([0, 0, 1, 1], each).tolist()
    assert source.classes == ("glioma", "none")
    sample = source[each]  # of the second patient the first
    expected = volume() if dimensions == 3 else volume()[0]
    np.testing.assert_array_equal(sample[..., 1], expected)
    np.testing.assert_array_equal(sample[..., 0], expected + 1000)
    assert any("bands: FLAIR, T1, a series each" in line for line in source.decisions)
    assert not any("p1" in line for line in [*source.decisions, *source.warnings])


def test_series_that_lie_elsewhere_or_are_shorter_are_no_channels(tmp_path: Path) -> None:
    for number in range(3):
        study(tmp_path / f"p{number}", str(number))
    study(tmp_path / "p3", "3", first=(-10.0, 20.0, 31.0), step=2.5)
    with pytest.raises(DataError, match=r"1 of 4 studies the series do not fit: slices of T1 and"):
        open_source(tmp_path, bands=("T1", "FLAIR"))
    source = open_source(tmp_path, bands=("T1", "FLAIR"), skip_unreadable=0.3)
    assert len(source) == 15
    assert any("left out: 1 of 4 studies" in line for line in source.warnings)
    (next((tmp_path / "p1" / "T1").iterdir())).unlink()
    with pytest.raises(DataError, match="T1 has 4 slices and FLAIR 5"):
        open_source(tmp_path, bands=("T1", "FLAIR"))


def test_a_series_that_lacks_is_told(tmp_path: Path) -> None:
    for number in range(2):
        study(tmp_path / f"p{number}", str(number))
    with pytest.raises(DataError, match="no file name has the band 'T2'"):
        open_source(tmp_path, bands=("T1", "T2"))
