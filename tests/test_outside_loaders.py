"""A loader of another package, found through its entry point or named, by the command line."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests import programs

PAGE = (Path(__file__).parent.parent / "docs" / "loaders.md").read_text()
FILM = np.random.default_rng(0).integers(0, 4096, (24, 40, 48), dtype=np.uint16)


def block(language: str, containing: str) -> str:
    """The one block of code of the page that contains this."""
    blocks = re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.S)
    (found,) = [text for text in blocks if containing in text]
    return str(found)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A folder on the path with an installed distribution of two loaders, one of them broken."""
    site = tmp_path / "site"
    about = site / "lab_loaders-1.0.dist-info"
    about.mkdir(parents=True)
    (site / "lab_film.py").write_text(block("python", "class FilmLoader"))
    (site / "lab_frames.py").write_text(block("python", "def open_frames"))
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: lab-loaders\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        "[domainjepa.loaders]\n"
        + block("toml", "entry-points").splitlines()[1].replace('"', "")
        + "\nbroken = lab_missing:Loader\n"
    )
    return site


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A file of the format that the page reads: a header of three numbers, then the pixels."""
    path = tmp_path / "night.film"
    header = np.array([len(FILM), *FILM.shape[1:]], dtype="<u4")
    path.write_bytes(b"FILM01" + header.tobytes() + FILM.astype("<u2").tobytes())
    return path


def run(
    site: Path, *arguments: str, folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join(filter(None, (str(site), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": paths}
    return programs.run("-m", "domainjepa", *arguments, env=environment, cwd=folder)


def test_inspect_finds_it_and_tells_of_a_broken_one(package: Path, data: Path) -> None:
    done = run(package, "inspect", "--data", str(data), "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["samples"], found["shape"], found["dtype"]) == (24, [40, 48, 1], "uint16")
    assert found["loader"] == "film"
    assert "'broken' cannot be loaded: No module named 'lab_missing'" in done.stderr


def test_it_is_listed(package: Path) -> None:
    listed = json.loads(run(package, "list", "loaders", "--json").stdout)
    assert {"hdf5", "film"} <= set(listed)


def test_pretraining_reads_it(package: Path, data: Path, tmp_path: Path) -> None:
    done = run(
        package, "pretrain", "--data", str(data), "--out", str(tmp_path / "run"), "--steps", "2",
        "--backbone", "test_resnet", "--batch-size", "8",
        "--set", "projector.hidden=32", "--set", "projector.out=8",
        "--set", "objective.num_slices=16", "--set", "views.num_local=1",
        "--set", "data.workers=1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "encoder.safetensors").is_file()


def test_damage_is_one_line(package: Path, data: Path) -> None:
    data.write_bytes(data.read_bytes()[:-5])
    done = run(package, "inspect", "--data", str(data), "--loader", "lab_film:FilmLoader")
    assert done.returncode == 2
    assert "night.film" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_function_is_a_loader_too(package: Path, tmp_path: Path) -> None:
    night = tmp_path / "night"
    for number, frame in enumerate(FILM):
        path = night / "ab"[number % 2] / f"{number:02}.raw"
        path.parent.mkdir(parents=True, exist_ok=True)
        frame.astype("<u2").tofile(path)
    done = run(
        package, "inspect", "--data", str(night), "--json", "--loader", "lab_frames:open_frames"
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["samples"], found["shape"], found["loader"]) == (24, [40, 48, 1], "frames")


def test_a_card_of_ones_own(package: Path, tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    np.savez(
        tmp_path / "night.npz",
        images=FILM,
        labels=np.arange(24) % 2,
        ra=np.repeat(draw.uniform(0, 10, 12), 2),
        dec=np.repeat(draw.uniform(0, 10, 12), 2),
    )
    (tmp_path / "night-survey.toml").write_text(block("toml", "night.npz"))
    done = run(package, "inspect", "--data", "night-survey.toml", "--json", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["name"], found["samples"]) == ("night-survey", 24)
    assert found["labels"] == {"star": 12, "galaxy": 12}
    assert (found["groups"], set(found["splits"])) == (12, {"train", "test"})
