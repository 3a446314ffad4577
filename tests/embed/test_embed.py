"""What lies beside the features: what a catalogue is joined by, and nothing of patients."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from astropy.io import fits

from domainjepa.data.metadata.pseudonym import pseudonym
from domainjepa.data.opening import open_source
from domainjepa.embed import beside_features, embed, parts, samples
from domainjepa.embed.appending import only_new, read_written
from domainjepa.encoder.frozen import FrozenEncoder
from domainjepa.errors import UserError
from tests import programs

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


@pytest.mark.parametrize("suffix", [".npz", ".h5", ".parquet", ".zarr", ".fits"])
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
    assert set(found) == {"features", "labels", "class", "ids", "domainjepa"}
    assert found["ids"].tolist() == [pseudonym("id", name) for name in NAMES]
    said = capfd.readouterr().err
    assert "left out: 3 columns (of medical data)" in said
    assert "redshift" not in said


def test_another_suffix_is_refused(run: Path, galaxies: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="features are written to"):
        embed(run, open_source(galaxies), tmp_path / "features.csv")


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "MOST", 3)
    monkeypatch.setattr(parts, "FEWEST", 1)


def test_a_stopped_process_goes_on_and_gives_the_same_bytes(
    run: Path,
    galaxies: Path,
    tmp_path: Path,
    small_blocks: None,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    source, out = open_source(galaxies), tmp_path / "f.npz"
    embed(run, source, tmp_path / "whole.npz")
    seen: list[int] = []
    put = parts.Parts.put

    def until_the_third(self: parts.Parts, block: int, features: np.ndarray) -> None:
        if len(seen) == 3:
            raise KeyboardInterrupt
        seen.append(block)
        put(self, block, features)

    monkeypatch.setattr(parts.Parts, "put", until_the_third)
    with pytest.raises(KeyboardInterrupt):
        embed(run, source, out)
    assert not out.exists()
    monkeypatch.setattr(parts.Parts, "put", lambda *given: (seen.append(given[1]), put(*given)))
    capfd.readouterr()
    assert embed(run, source, out) == (20, read(tmp_path / "whole.npz")["features"].shape[1])
    assert seen == [0, 1, 2, 3, 4, 5, 6]
    assert "3 of 7 blocks of features are there already" in capfd.readouterr().err
    assert out.read_bytes() == (tmp_path / "whole.npz").read_bytes()
    assert [path for path in tmp_path.iterdir() if path.name.endswith(".parts")] == []


def test_of_other_data_nothing_is_taken_over(
    run: Path, galaxies: Path, tmp_path: Path, small_blocks: None
) -> None:
    source = open_source(galaxies)
    rows = np.arange(20)
    begun = parts.Parts(tmp_path / "f.npz", "this encoder", source, rows)
    assert begun.begin() == 0
    begun.put(2, np.ones((3, 4), np.float32))
    with pytest.raises(UserError, match=r"is writing f\.npz"):
        parts.Parts(tmp_path / "f.npz", "this encoder", source, rows).begin()
    begun.release()
    for encoder, of, there in (("this encoder", rows, 1), ("another", rows, 0)):
        again = parts.Parts(tmp_path / "f.npz", encoder, source, of)
        assert again.begin() == there
        again.release()


@pytest.mark.parametrize("suffix", [".npz", ".h5", ".parquet", ".zarr", ".fits"])
def test_new_samples_alone_are_appended(
    run: Path,
    galaxies: Path,
    tmp_path: Path,
    suffix: str,
    small_blocks: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    later = tmp_path / "later"
    later.mkdir()
    with h5py.File(galaxies) as old, h5py.File(later / "galaxies.h5", "w") as new:
        for name in old:
            new[name] = old[name][12:]
        # The numbers of the classes are others in this file, and one is new.
        new["labels"].attrs["class_names"] = ["round", "ring"]
    with h5py.File(galaxies, "r+") as old:
        for name in list(old):
            values, names = old[name][:14], dict(old[name].attrs)
            del old[name]
            old[name] = values
            old[name].attrs.update(names)
    out = tmp_path / f"f{suffix}"
    assert embed(run, open_source(galaxies), out, append=True)[0] == 14
    first = read(out)
    rows: list[int] = []
    look = samples.batches_of_features
    monkeypatch.setattr(
        samples,
        "batches_of_features",
        lambda network, source, of: (rows.extend(np.concatenate(of)), look(network, source, of))[1],
    )
    assert embed(run, open_source(later / "galaxies.h5"), out, append=True)[0] == 20
    assert rows == [2, 3, 4, 5, 6, 7]  # 12 and 13 were there
    both = read(out)
    assert both["ids"].tolist() == NAMES
    assert both["class"].tolist() == ["disc", "round"] * 7 + ["round", "ring"] * 3
    assert both["labels"].tolist() == [0, 1] * 7 + [1, 2] * 3
    np.testing.assert_array_equal(both["features"][:14], first["features"])
    with h5py.File(later / "galaxies.h5") as new:
        expected = FrozenEncoder(run).transform(new["images"][2:])
    np.testing.assert_allclose(both["features"][14:], expected, atol=1e-5)
    assert embed(run, open_source(later / "galaxies.h5"), out, append=True)[0] == 20
    assert len(rows) == 6


def test_what_cannot_be_appended_is_told(run: Path, galaxies: Path, tmp_path: Path) -> None:
    source, out = open_source(galaxies), tmp_path / "f.npz"
    embed(run, source, out)
    columns = beside_features(source, np.arange(20))
    columns["more"] = np.arange(20)
    with pytest.raises(UserError, match="do not have the same columns"):
        only_new(read_written(out), columns, FrozenEncoder(run).sha256)
    with pytest.raises(UserError, match="features of another encoder"):
        only_new(read_written(out), {}, "another")
    source.ids = None
    with pytest.raises(UserError, match="--append tells new samples by their ids"):
        embed(run, source, out, append=True)
    (tmp_path / "x.npz").write_bytes(b"no archive")
    with pytest.raises(UserError, match=r"x\.npz holds no features"):
        embed(run, source, tmp_path / "x.npz", append=True)


def test_new_samples_without_labels_are_blank(run: Path, galaxies: Path, tmp_path: Path) -> None:
    embed(run, open_source(galaxies), tmp_path / "f.npz")
    with h5py.File(galaxies, "r+") as file:
        for name in ("labels", "survey", "redshift"):
            del file[name]
        file["iauname"][...] = [f"UGC {number}" for number in range(20)]
    assert embed(run, open_source(galaxies), tmp_path / "f.npz", append=True)[0] == 40
    found = read(tmp_path / "f.npz")
    assert found["labels"].tolist() == [0, 1] * 10 + [-1] * 20
    assert found["class"].tolist()[20:] == found["survey"].tolist()[20:] == [""] * 20
    assert np.isnan(found["redshift"][20:]).all()


def test_a_folder_of_something_else_is_not_taken_away(
    run: Path, galaxies: Path, tmp_path: Path
) -> None:
    zarr = pytest.importorskip("zarr")
    mine = tmp_path / "images.zarr"
    zarr.create_group(mine).create_array("images", shape=(2,), dtype="u1")[...] = 7
    (tmp_path / "plain.zarr").mkdir()
    for name in ("images.zarr", "plain.zarr"):
        with pytest.raises(UserError, match="holds no features of domainjepa embed"):
            embed(run, open_source(galaxies), tmp_path / name)
    assert zarr.open_group(mine, mode="r")["images"][:].tolist() == [7, 7]


def test_ranks_share_the_blocks(
    run: Path, galaxies: Path, tmp_path: Path, small_blocks: None
) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from domainjepa.embed import parts, embed\n"
        "from domainjepa.data.opening import open_source\n"
        "from domainjepa.distributed import rank, process_group\n"
        "parts.MOST, parts.FEWEST = 3, 1\n"
        "put = parts.Parts.put\n"
        "def told(self, block, features):\n"
        "    assert block % 2 == rank(), block\n"
        "    put(self, block, features)\n"
        "parts.Parts.put = told\n"
        "run, data, out = map(Path, sys.argv[1:])\n"
        "print(embed(run, open_source(data), out))\n"
    )
    embed(run, open_source(galaxies), tmp_path / "one.npz")
    programs.ranks(2, "-c", code, run, galaxies, tmp_path / "two.npz")
    assert (tmp_path / "two.npz").read_bytes() == (tmp_path / "one.npz").read_bytes()


def test_text_that_fits_has_no_letters_for_is_escaped(
    run: Path, galaxies: Path, tmp_path: Path
) -> None:
    with h5py.File(galaxies, "r+") as file:
        del file["survey"]
        file["survey"] = ["Škoda", "DESI"] * 10
        file["seen"] = np.arange(20) % 2 == 0
    embed(run, open_source(galaxies), tmp_path / "f.fits")
    found = read(tmp_path / "f.fits")
    assert found["survey"][:2].tolist() == ["\\u0160koda", "DESI"]
    assert found["seen"].tolist() == [1, 0] * 10


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
    if path.suffix == ".zarr":
        zarr = pytest.importorskip("zarr")
        group = zarr.open_group(path, mode="r")
        return {name: np.asarray(one[...].tolist()) for name, one in group.arrays()}
    if path.suffix == ".fits":
        with fits.open(path) as file:
            file.verify("exception")
            return {name: np.array(file[1].data[name].tolist()) for name in file[1].data.names}
    from pyarrow import parquet

    table = parquet.read_table(path)
    return {name: np.array(table[name].to_pylist()) for name in table.column_names}
