from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from domainjepa import watch as module
from domainjepa.braille import plot
from domainjepa.errors import UserError
from domainjepa.locking import LockedFile, is_locked
from domainjepa.watch import Watched, picture, watch


def test_a_rising_line_is_a_diagonal_of_dots() -> None:
    text, low, high = plot([[(0, 0), (7, 7)]], ["red"], width=4, height=2)
    # Dots from bottom left to top right, of 8 x 8; two columns and four rows a character
    # (Unicode, U+2800: dots 1 2 3 7 left, 4 5 6 8 right).
    assert text.plain.splitlines() == ["  ⡠⠊", "⡠⠊  "]
    assert (low, high) == (0, 7)


def test_one_point_lies_in_the_middle_and_nothing_is_blank() -> None:
    text, low, high = plot([[(5, 3.0)], [(5, float("nan"))]], ["red", "blue"], width=3, height=1)
    assert text.plain == " ⠄ "
    assert (low, high) == (3, 3)
    assert plot([[]], ["red"], 2, 2)[0].plain == "  \n  "


def written(folder: Path, losses: list[float], steps: int) -> Path:
    folder.mkdir()
    (folder / "config.toml").write_text(f"steps = {steps}\nbatch_size = 10\n")
    lines = [
        {"step": 10 * n, "loss": loss, "effective_rank": 12.0, "samples_per_s": 20.0}
        for n, loss in enumerate(losses, 1)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def shown(*folders: Path) -> str:
    console = Console(file=io.StringIO(), width=100)
    watch(folders, console)
    return str(console.file.getvalue())  # type: ignore[attr-defined]


def test_figures_and_curves_of_several_runs(tmp_path: Path) -> None:
    done = written(tmp_path / "first", [3, 2, 1], 30)
    going = written(tmp_path / "second", [4, 3], 100)
    lock = LockedFile(going / ".lock")
    text = shown(done, going)
    one, two = (line.split() for line in text.splitlines()[1:3])
    assert one == ["first", "done", "30/30", "1.0000", "12", "–", "20"]
    # 80 steps of 10 samples at 20 a second.
    assert two == ["second", "running", "20/100", "3.0000", "12", "–", "20", "0:00:40"]
    assert "loss  1 to 4" in text
    assert "rank  12 to 12" in text
    assert " to " not in text.partition("rank  12 to 12")[2], "neither has one"
    assert max(map(len, text.splitlines())) <= 100
    lock.close()
    assert Watched.of(going).state() == "stopped"


def test_it_ends_when_all_runs_have_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    run = written(tmp_path / "run", [2.0], 20)
    lock = LockedFile(run / ".lock")
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            lock.remove()

    monkeypatch.setattr(module.time, "sleep", sleep)
    out = Terminal()
    watch([run], Console(file=out, width=90, force_terminal=True))
    assert len(slept) == 3
    assert "stopped" in out.getvalue()


def test_a_run_that_has_not_begun_and_what_is_none(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="'none' holds no run"):
        watch([tmp_path / "none"], Console(quiet=True))
    (tmp_path / "new").mkdir()
    lock = LockedFile(tmp_path / "new" / ".lock")
    assert is_locked(lock.path)
    assert Watched.of(tmp_path / "new").state() == "begins"
    picture([Watched.of(tmp_path / "new")], 80)
    lock.remove()
    assert not is_locked(lock.path)
