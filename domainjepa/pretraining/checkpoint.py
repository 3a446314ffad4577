"""Checkpoints that survive a power cut: written beside, flushed to disk, then renamed.

`checkpoints/step-00000500.pt` holds what `RunState.pack` of `state.py` gives after a step;
`checkpoints/latest.json` names the newest whole one with its SHA-256. Whatever moment a run dies,
the manifest names a file that is complete.
"""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import torch

from domainjepa.errors import UserError, brief
from domainjepa.reading import parse_json, read_file
from domainjepa.writing import write_atomically

MANIFEST = "latest.json"
MOST_UNTOLD = 2**36
"""Bytes of a checkpoint whose manifest, of version 0.1, does not tell its size."""


def save_checkpoint(folder: Path, state: dict[str, Any], step: int, keep: int) -> None:
    """Save the state of a run after `step` steps and drop all but the newest `keep` checkpoints.

    Raises:
        UserError: it could not be written; the checkpoint before is still the newest.
    """
    folder.mkdir(parents=True, exist_ok=True)
    packed = io.BytesIO()
    torch.save(state, packed)
    data = packed.getvalue()
    path = folder / f"step-{step:08d}.pt"
    write_atomically(path, lambda file: file.write(data))
    digest = hashlib.sha256(data).hexdigest()
    manifest = {"file": path.name, "step": step, "size": len(data), "sha256": digest}
    write_atomically(folder / MANIFEST, lambda file: file.write(json.dumps(manifest).encode()))
    drop_others(folder, step, keep)


def drop_others(folder: Path, step: int, keep: int) -> None:
    """Remove all but the newest `keep` checkpoints up to the one after `step` steps.

    Files of later steps were left by a run that went on from an earlier one: nothing names them.
    """
    saved = sorted(folder.glob(f"step-{'[0-9]' * 8}.pt"))
    newer = sum(path.name <= f"step-{step:08d}.pt" for path in saved)
    for old in [*saved[newer:], *saved[: max(newer - keep, 0)]]:
        old.unlink(missing_ok=True)


def load_checkpoint(folder: Path) -> dict[str, Any]:
    """The newest checkpoint of a run; tensors on the CPU. Nothing is ever unpickled.

    Raises:
        UserError: there is none, or its bytes are not those that were saved.
    """
    manifest_path = folder / MANIFEST
    if not manifest_path.is_file():
        raise UserError(
            f"no checkpoint in {folder.parent.name!r}: nothing to resume. Start without --resume."
        )
    try:
        manifest = parse_json(read_file(manifest_path))
        # The name is joined to the folder without its own folders: no way out of the run.
        path = folder / Path(manifest["file"]).name
        data = read_file(path, manifest.get("size", MOST_UNTOLD))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = error.strerror if isinstance(error, OSError) else repr(error)
        raise UserError(f"the manifest {MANIFEST} cannot be used: {brief(reason)}") from error
    if hashlib.sha256(data).hexdigest() != manifest.get("sha256"):
        raise UserError(
            f"{path.name} is damaged: its SHA-256 is not the one that was saved. Restore it from a "
            "backup, or remove the run folder and start again."
        )
    try:
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # bytes that are no pickle of torch's make its reader raise anything
        raise UserError(f"{path.name} is no checkpoint of domainjepa and is not loaded") from error
    if not isinstance(state, dict):
        raise UserError(f"{path.name} is no checkpoint of domainjepa and is not loaded")
    return state
