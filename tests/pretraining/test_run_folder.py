from __future__ import annotations

import errno
import fcntl
from pathlib import Path
from typing import Any

import pytest

from domainjepa.errors import UserError
from domainjepa.pretraining.run_folder import RunFolder
from tests.conftest import tiny


def enter(out: Path, *, resume: bool) -> None:
    with RunFolder(out).held(resume=resume):
        pass


def test_one_writer_and_whoever_is_refused_changes_nothing(tmp_path: Path) -> None:
    out = tmp_path / "run"
    config = tiny(tmp_path / "none.h5")
    folder = RunFolder(out)
    with folder.held(resume=False):
        folder.open(config)
        before = sorted(out.rglob("*"))
        for resume in (False, True):
            with pytest.raises(UserError, match="another process is writing into 'run'"):
                enter(out, resume=resume)
        assert sorted(out.rglob("*")) == before
    assert not (out / ".lock").exists()
    enter(out, resume=True)


def test_a_run_that_could_not_begin_leaves_no_folder(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    for out in (tmp_path / "a" / "b" / "run", tmp_path / "kept"):
        with pytest.raises(UserError, match="no data"), RunFolder(out).held(resume=False):
            raise UserError("no data")
        with pytest.raises(UserError, match="nothing to resume"):
            enter(out, resume=True)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert not list((tmp_path / "kept").iterdir())


@pytest.mark.parametrize("left", [[], ["checkpoints/"], [".lock", ".config.toml.part"]])
def test_a_folder_made_half_can_be_started(left: list[str], tmp_path: Path) -> None:
    out = tmp_path / "run"
    out.mkdir()
    for name in left:
        (out / name).mkdir() if name.endswith("/") else (out / name).write_bytes(b"torn")
    folder = RunFolder(out)
    with folder.held(resume=False):
        folder.open(tiny(tmp_path / "none.h5"))
    assert sorted(path.name for path in out.iterdir()) == ["checkpoints", "config.toml"]


@pytest.mark.parametrize("name", ["encoder.safetensors", "checkpoints/latest.json"])
@pytest.mark.parametrize("resume", [False, True])
def test_results_without_their_settings_are_never_written_over(
    name: str, resume: bool, tmp_path: Path
) -> None:
    kept = tmp_path / "run" / name
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"months of work")
    with pytest.raises(UserError, match=r"without its config\.toml"):
        enter(tmp_path / "run", resume=resume)
    assert kept.read_bytes() == b"months of work"


def test_going_on_removes_what_a_killed_run_left_half_done(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.checkpoints.mkdir(parents=True)
    for name in (".step-00000006.pt.part", *(f"step-0000000{step}.pt" for step in (2, 4, 5, 6))):
        (folder.checkpoints / name).touch()
    with folder.held(resume=False):
        folder.open(tiny(tmp_path / "none.h5", checkpoint__keep=2), step=5)
    left = sorted(path.name for path in folder.checkpoints.iterdir())
    assert left == ["step-00000004.pt", "step-00000005.pt"]


def test_a_place_without_locks_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "no locks here")

    monkeypatch.setattr(fcntl, "flock", refused)
    folder = RunFolder(tmp_path / "run")
    with folder.held(resume=False):
        assert "has no locks" in folder.warnings[0]


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="Choose another --out"):
        enter(tmp_path / "file" / "run", resume=False)
