from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from rich.console import Console

from domainjepa import settings
from domainjepa.encoder.artefact import load_encoder
from domainjepa.pretraining import machine
from domainjepa.pretraining.machine import Threads, busy_cores, cpu_threads, machine_note
from domainjepa.pretraining.run import pretrain
from domainjepa.signals import Stopped
from tests.conftest import tiny

CPU = torch.device("cpu")


@pytest.fixture
def busy(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Four cores of eight are this process's; six of the eight are busy."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(machine, "available_cores", lambda: 4)
    monkeypatch.setattr(machine, "busy_cores", lambda: 6)
    return monkeypatch


def test_threads_follow_the_cores_that_are_free(busy: pytest.MonkeyPatch, blobs: Path) -> None:
    assert cpu_threads(tiny(blobs), CPU) == Threads(2, 6)
    assert machine_note(CPU, "float32", 1, Threads(2, 6)) == (
        "CPU (2 threads, 6 of 8 cores are busy), float32, 1 worker"
    )
    assert cpu_threads(tiny(blobs, threads=3), CPU) == Threads(3)
    assert cpu_threads(tiny(blobs), torch.device("cuda")) == Threads(None)
    busy.setattr(machine, "busy_cores", lambda: 8)
    assert cpu_threads(tiny(blobs), CPU).number == 1
    busy.setattr(machine, "busy_cores", lambda: 0)
    assert cpu_threads(tiny(blobs), CPU).number == 4
    busy.setenv("OMP_NUM_THREADS", "7")
    assert cpu_threads(tiny(blobs), CPU) == Threads(torch.get_num_threads())


def test_busy_cores_are_those_that_were_not_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    # Of 800 ticks of eight cores 180 idle and 20 waiting for a disk: six cores worked.
    ticks = iter(["cpu  100 0 50 1000 10 0 0 0 0 0\ncpu0 1", "cpu  600 0 150 1180 30 0 0 0 0 0\n"])
    monkeypatch.setattr(machine.Path, "read_text", lambda self: next(ticks))
    assert busy_cores(0.0) == 6
    monkeypatch.setattr(machine.Path, "read_text", lambda self: "nothing of the kind")
    assert busy_cores(0.0) == 0


def test_a_run_keeps_its_threads(busy: pytest.MonkeyPatch, blobs: Path, tmp_path: Path) -> None:
    out, seen, before = tmp_path / "run", list[int](), torch.get_num_threads()
    busy.setattr(torch, "set_num_threads", seen.append)
    with pytest.raises(Stopped):
        pretrain(tiny(blobs, steps=2, max_hours=1e-9), out, console=Console(quiet=True))
    assert settings.read_recipe(out / "config.toml")["threads"] == 2
    busy.setattr(machine, "busy_cores", lambda: 0)
    pretrain(tiny(blobs, steps=2), out, resume=True, console=Console(quiet=True))
    assert seen == [2, before, 2, before]
    assert "threads" not in load_encoder(out)[0].config
