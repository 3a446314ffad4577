"""Where the encoders of a run lie, and how each of them is called.

A run folder holds `encoder.safetensors`, the last; `initial.safetensors`, what the run began with
where that was given to it; and in `encoders/` those that were kept on the way, RUN@STEP.
"""

from __future__ import annotations

import re
from pathlib import Path

from domainjepa.encoder.hub import downloaded, on_hub
from domainjepa.errors import UserError

FILE_NAME = "encoder.safetensors"
INITIAL = "initial.safetensors"
ENCODERS = "encoders"
EVERY = "*"
"""RUN@* are all encoders that a run has kept."""


def kept_at(run: Path, step: int) -> Path:
    """The file of the encoder that a run keeps of a step."""
    return run / ENCODERS / f"step-{step:08d}.safetensors"


def steps_kept(run: Path) -> list[int]:
    """The steps whose encoders a run has kept, ascending."""
    found = (run / ENCODERS).glob(f"step-{'[0-9]' * 8}.safetensors")
    return sorted(int(path.stem.removeprefix("step-")) for path in found)


def at_step(path: Path) -> tuple[Path, str] | None:
    """Run folder and step (or `*`) of RUN@STEP; None where a path is something else."""
    run, _, step = path.name.rpartition("@")
    if not run or not (step == EVERY or step.isdecimal()) or path.exists():
        return None
    return path.with_name(run), step


def file_of(path: Path) -> Path:
    """The file of an encoder, from a run folder, RUN@STEP, hf://OWNER/NAME[@REVISION], or the file.

    Raises:
        UserError: the run has kept none of that step, or the hub has none.
    """
    if on_hub(path):
        return downloaded(path, FILE_NAME)
    if path.is_dir():
        return path / FILE_NAME
    found = at_step(path)
    if found is None:
        return path
    run, step = found
    kept = None if step == EVERY else kept_at(run, int(step))
    if kept is None or not kept.is_file():
        steps = steps_kept(run)
        there = f"of steps {', '.join(map(str, steps))}" if steps else "of none"
        raise UserError(
            f"{path.name}: the run keeps encoders {there} (checkpoint.encoders_every); its last is "
            f"{run.name}."
        )
    return kept


def every_kept(path: Path) -> list[Path]:
    """RUN@* as each RUN@STEP; any other path as it is.

    Raises:
        UserError: the run has kept none.
    """
    run, step = at_step(path) or (path, "")
    if step != EVERY:
        return [path]
    steps = steps_kept(run)
    if not steps:
        raise UserError(
            f"{run.name} has kept no encoders on its way: pretrain with --set "
            "checkpoint.encoders_every=N."
        )
    return [run.with_name(f"{run.name}@{one}") for one in steps]


def run_of(path: Path) -> Path:
    """The folder of the run that an encoder lies in."""
    file = file_of(path)
    return file.parent.parent if file.parent.name == ENCODERS else file.parent


def name_of(path: Path) -> str:
    """A short name for tables: that of the run, with the step of an encoder that was kept."""
    path = path.resolve()
    if path.parent.name == ENCODERS and (
        step := re.fullmatch(r"step-(\d{8})\.safetensors", path.name)
    ):
        return f"{path.parent.parent.name}@{int(step[1])}"
    if path.name == INITIAL:
        return f"{path.parent.name} initial"
    return (path.parent if path.name == FILE_NAME else path).name.removesuffix(".safetensors")
