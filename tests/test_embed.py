"""What lies beside the features: what a catalogue is joined by, and nothing of patients."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from domainjepa.data.metadata.pseudonym import pseudonym
from domainjepa.data.opening import open_source
from domainjepa.embed import embed
from domainjepa.errors import UserError

NAMES = [f"NGC {number}" for number in range(20)]


@pytest.fixture
def galaxies(tmp_path: Path) -> Path:
    with h5py.File(tmp_path / "galaxies.h5", "w") as file:
        file["images"] = np.random.default_rng(0).integers(0, 255, (20, 32, 32, 3), dtype=np.uint8)
        file["labels"] = np.arange(20) % 2
        file["labels"].attrs["class_names"] = ["disc", "round"]
        file["iauname"] = NAMES
        file["redshift"] = np.linspace(0, 1, 20)
        file["survey"] = ["SDSS", "DESI"] * 10
        file["moments"] = np.arange(40.0).reshape(20, 2)
    return tmp_path / "galaxies.h5"


@pytest.mark.parametrize("suffix", [".npz", ".h5", ".parquet"])
def test_a_catalogue_can_be_joined(run: Path, galaxies: Path, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"features{suffix}"
    shape = embed(run, open_source(galaxies), out)
    found = read(out)
    assert found["features"].shape == shape
    assert shape[0] == 20
    assert found["ids"].tolist() == NAMES
    assert found["labels"].tolist() == [0, 1] * 10
    assert found["class"].tolist() == ["disc", "round"] * 10
    assert found["survey"].tolist() == ["SDSS", "DESI"] * 10
    np.testing.assert_array_equal(found["redshift"], np.linspace(0, 1, 20))
    np.testing.assert_array_equal(found["moments"], np.arange(40.0).reshape(20, 2))


def test_of_patients_hashes_come_along(
    run: Path, galaxies: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source = open_source(galaxies)
    source.modality = "US"
    embed(run, source, tmp_path / "features.npz")
    found = read(tmp_path / "features.npz")
    assert set(found) == {"features", "labels", "class", "ids"}
    assert found["ids"].tolist() == [pseudonym("id", name) for name in NAMES]
    said = capfd.readouterr().err
    assert "left out: 3 columns (of medical data)" in said
    assert "redshift" not in said


def test_another_suffix_is_refused(run: Path, galaxies: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="features are written to"):
        embed(run, open_source(galaxies), tmp_path / "features.csv")


def read(path: Path) -> dict[str, np.ndarray]:
    if path.suffix == ".npz":
        with np.load(path) as packed:
            return dict(packed)
    if path.suffix == ".h5":
        with h5py.File(path) as file:
            columns = {name: file[name][()] for name in file}
        decoded = (np.char.decode(one, "utf-8") if one.dtype.kind == "S" else one
                   for one in columns.values())  # fmt: skip
        return dict(zip(columns, decoded, strict=True))
    from pyarrow import parquet

    table = parquet.read_table(path)
    return {name: np.array(table[name].to_pylist()) for name in table.column_names}
