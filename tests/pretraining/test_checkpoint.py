from __future__ import annotations

import json
import os
import pickle
import resource
import signal
import time
from pathlib import Path

import pytest
import torch

from domainjepa.errors import UserError
from domainjepa.pretraining.checkpoint import load_checkpoint, save_checkpoint
from tests import programs

SAVE_FOREVER = """
import sys, torch
from pathlib import Path
from domainjepa.pretraining.checkpoint import save_checkpoint
folder = Path(sys.argv[1])
step = 0
while True:
    step += 1
    save_checkpoint(folder, {"step": step, "weight": torch.full((500_000,), float(step))}, step, 2)
"""


def test_round_trip_and_keep(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        save_checkpoint(tmp_path, {"step": step, "weight": torch.ones(3) * step}, step, keep=2)
    state = load_checkpoint(tmp_path)
    assert state["step"] == 3
    assert torch.equal(state["weight"], torch.ones(3) * 3)
    assert len(list(tmp_path.glob("*.pt"))) == 2


def test_files_of_later_steps_go_first_and_never_the_new_one(tmp_path: Path) -> None:
    for step in (3, 5, 8, 9):
        (tmp_path / f"step-{step:08d}.pt").write_bytes(b"orphan")
    (tmp_path / "step-by-step.pt").write_bytes(b"a user's own")
    save_checkpoint(tmp_path, {"step": 6}, 6, keep=2)
    assert load_checkpoint(tmp_path)["step"] == 6
    names = {path.name for path in tmp_path.glob("*.pt")}
    assert names == {"step-00000005.pt", "step-00000006.pt", "step-by-step.pt"}


def test_killed_while_saving_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    for attempt in range(6):
        folder = tmp_path / str(attempt)
        process = programs.start("-c", SAVE_FOREVER, folder)
        while process.poll() is None and not (folder / "latest.json").exists():
            time.sleep(0.002)
        time.sleep(0.023 * attempt)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        state = load_checkpoint(folder)
        assert torch.all(state["weight"] == state["step"])


def test_a_flipped_bit_is_found(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, {"step": 1, "weight": torch.ones(100)}, 1, keep=2)
    path = tmp_path / "step-00000001.pt"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(UserError, match="damaged"):
        load_checkpoint(tmp_path)


class Canary:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("canary",)


def test_a_malicious_checkpoint_is_not_unpickled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import hashlib

    monkeypatch.chdir(tmp_path)
    empty = b"\x80\x04."  # a pickle that takes from an empty stack
    for data in (pickle.dumps(Canary()), _torch_saved(Canary()), empty, b""):
        (tmp_path / "step-00000001.pt").write_bytes(data)
        manifest = {
            "file": "step-00000001.pt",
            "step": 1,
            "sha256": hashlib.sha256(data).hexdigest(),
        }
        (tmp_path / "latest.json").write_text(json.dumps(manifest))
        with pytest.raises(UserError, match="not loaded"):
            load_checkpoint(tmp_path)
        assert not (tmp_path / "canary").exists()


def _torch_saved(thing: object) -> bytes:
    import io

    buffer = io.BytesIO()
    torch.save({"step": thing}, buffer)
    return buffer.getvalue()


def test_a_manifest_does_not_lead_out_of_the_folder(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    save_checkpoint(tmp_path, {"step": 1}, 1, keep=2)
    manifest = json.loads((tmp_path / "latest.json").read_text())
    manifest["file"] = "../" + manifest["file"]
    (run / "latest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match="cannot be used"):
        load_checkpoint(run)


def test_full_disk_keeps_the_old_checkpoint(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, {"step": 1, "weight": torch.ones(10)}, 1, keep=2)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(UserError, match="disk space"):
            save_checkpoint(tmp_path, {"step": 2, "weight": torch.ones(100_000)}, 2, keep=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert load_checkpoint(tmp_path)["step"] == 1
    assert not list(tmp_path.glob(".*.part"))


def test_nothing_to_resume(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Start without --resume"):
        load_checkpoint(tmp_path)
