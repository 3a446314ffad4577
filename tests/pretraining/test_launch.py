from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from domainjepa.pretraining.launch import launch


@pytest.fixture(autouse=True)
def signals_as_before() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in signal.valid_signals()}
    yield
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
        signal.signal(number, before[number])


@pytest.mark.parametrize(
    ("ranks", "status", "shown"),
    [
        # A rank that knows why it ended speaks for all, whoever ends first.
        (["echo torn >&2; exit 1", "sleep 0.5; echo sample 17 >&2; exit 2"], 2, "sample 17"),
        (["echo sample 3 >&2; exit 2", "echo sample 3 again >&2; exit 2"], 2, "sample 3\n"),
        (["sleep 1; echo torn >&2; exit 1", "echo a bug >&2; exit 1", "exit 0"], 1, "a bug"),
        (["exit 0", "exit 0", "echo alone >&2; exit 2"], 2, "alone"),
        (["exit 143", "echo stopped >&2; exit 143"], 143, ""),
        (["kill -9 $$", "sleep 0.5; exit 1"], 137, "error: rank 0 was killed by signal 9"),
        (["echo lost >&2; exit 2", "kill -9 $$"], 2, "lost\n"),
        (["exec sleep 600", "kill -9 $$", "exec sleep 600"], 137, "go on with the same command"),
        # All follow a signal together; the one that writes may take its time.
        (["sleep 1; echo saved >&2; exit 143", "exit 143"], 143, "saved"),
        (["exit 0", "echo quiet >&2"], 0, ""),
    ],
)
def test_the_rank_that_knows_why_is_heard(
    ranks: list[str],
    status: int,
    shown: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    stub = tmp_path / "python"
    cases = "\n".join(f"{rank}) {act} ;;" for rank, act in enumerate(ranks))
    stub.write_text(f"#!/bin/sh\ncase $RANK in\n{cases}\nesac\n")
    stub.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(stub))
    monkeypatch.setattr("domainjepa.pretraining.launch.GRACE", 0.7)
    assert launch(["pretrain"], len(ranks)) == status
    errors = capfd.readouterr().err
    assert shown in errors
    assert "again" not in errors
    assert "quiet" not in errors
    assert errors.count("was killed by signal") == (status == 137)
