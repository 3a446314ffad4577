"""Is anything lost, or left behind, when a run is killed, or when two of them meet?

Kills -9 real runs at random moments, in equal parts at start-up, in the first writes, in training
and in the last writes, with one process and with two gloo ranks, where it is the launcher or one of
the ranks that is killed. Each is gone on with, and must end in the same bytes as the run that was
never killed: encoder, metrics line for line (rates left out), nothing else in its folder. Ten
seconds after the kill no process of it may be alive. Then races: two starts, two resumes, and a
resume beside a living run. One writes; the other says so in one line, with status 2.

    python benchmarks/kills.py --kills 200 --races 50 --out benchmarks/results/kills.json

Every fifth of the runs killed at start-up starts Python; the others are forks of a process that has
everything imported (`forks.py`), as are those that go on. Every eighth has view workers.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shlex
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # a process that forks has one thread
sys.path.insert(0, str(Path(__file__).parent))

import h5py
import numpy as np
import torch
from forks import Command
from rich.console import Console

from domainjepa import settings
from domainjepa.encoder.artefact import FILE_NAME, load_encoder
from domainjepa.pretraining import report, run
from domainjepa.pretraining.progress import read_metrics

CONSOLE = Console(highlight=False, markup=False, soft_wrap=True)
PHASES = ("start-up", "first writes", "training", "last writes")
STEPS = 8
LIMIT = 10.0
"""Seconds until the last process must have ended."""


class Bench:
    """A data set, the runs that were never killed, and how long their phases take."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.draw = random.Random(seed)
        self.data = blobs(folder / "data.h5")
        plan = run.make_plan(settings.resolve(None, self._sets(), {"data.path": str(self.data)}))
        assert plan.steps == STEPS
        report.draw_curves([{"step": 1, "loss": 1.0}, {"step": 2, "loss": 0.5}])
        assert len(os.listdir("/proc/self/task")) == 1, "forks of a process with threads hang"  # noqa: PTH208
        self.whole: dict[tuple[int, int], Any] = {}
        self.seconds: dict[int, dict[str, float]] = {}
        for ranks, seed in ((1, 0), (1, 1), (2, 0)):
            out = folder / f"whole-{ranks}-{seed}"
            self._timed(ranks, seed, out)
            self.whole[ranks, seed] = state(out)

    @cached_property
    def seconds_of_a_real_start(self) -> float:
        """What Python itself takes to the first writes, where runs are no forks."""
        begun, out = time.monotonic(), self.folder / "started"
        command = self.start(out, real=True)
        command.wait(self.reached(out)[0])
        took = time.monotonic() - begun
        command.kill(command.pid)
        command.seconds_until_all_ended(LIMIT)
        return took

    def _sets(self) -> list[str]:
        return [
            *("backbone.name=test_resnet", "backbone.stem_reduction=1", f"steps={STEPS}"),
            *("batch_size=16", "projector.hidden=32", "projector.out=8", "objective.num_slices=16"),
            *("views.num_local=1", "checkpoint.every_steps=2", "log.every_steps=1"),
            *("log.shortcuts=false", "device=cpu", "threads=1"),
        ]

    def start(
        self, out: Path, ranks: int = 1, *, seed: int = 0, workers: int = 0, real: bool = False
    ) -> Command:
        """`domainjepa pretrain`, with `--resume` where something was begun."""
        words = ["pretrain", "--data", str(self.data), "--out", str(out), "--seed", str(seed)]
        words += [f"--set={one}" for one in (*self._sets(), f"data.workers={workers}")]
        words += ["--devices", str(ranks)] if ranks > 1 else []
        words += ["--resume"] if (out / "config.toml").exists() else []
        return Command(words, out.with_name(f"{out.name}-{time.monotonic_ns()}.txt"), real=real)

    def _timed(self, ranks: int, seed: int, out: Path) -> None:
        begun = time.monotonic()
        command = self.start(out, ranks, seed=seed)
        at = {}
        for phase, reached in zip(PHASES[1:], self.reached(out), strict=True):
            command.wait(reached)
            at[phase] = time.monotonic()
        assert command.wait() == 0, command.said.read_text()
        ends = [*at.values(), time.monotonic()]
        starts = [begun, *at.values()]
        self.seconds[ranks] = {
            phase: end - start for phase, start, end in zip(PHASES, starts, ends, strict=True)
        }

    @staticmethod
    def reached(out: Path) -> list[Callable[[], bool]]:
        """What tells that the second, third and fourth phase have begun."""
        return [
            lambda: any(out.glob("*config.toml*")),  # or the beginnings of it
            (out / "checkpoints" / "latest.json").exists,
            lambda: len(read_metrics(out / "metrics.jsonl")) == STEPS,
        ]


def state(out: Path) -> tuple[list[str], bytes, list[dict[str, Any]]]:
    """Names of files, the encoder, the metrics without rates."""
    names = sorted(str(path.relative_to(out)) for path in out.rglob("*"))
    lines = [
        {name: value for name, value in line.items() if name not in ("samples_per_s", "wait")}
        for line in read_metrics(out / "metrics.jsonl")
    ]
    return names, (out / FILE_NAME).read_bytes(), lines


def another_end(out: Path, whole: tuple[list[str], bytes, list[dict[str, Any]]]) -> list[str]:
    """What a run left that differs from what the run that was let alone left; nothing if all is."""
    names, encoder, lines = state(out)
    faults = []
    if names != whole[0]:
        faults.append(f"another end: files {sorted(set(names) ^ set(whole[0]))}")
    if encoder != whole[1]:
        faults.append("another end: the encoder")
    differ = [(one, other) for one, other in zip(lines, whole[2], strict=False) if one != other]
    if differ or len(lines) != len(whole[2]):
        faults.append(f"another end: {len(lines)} of {len(whole[2])} lines, {differ[:1]}")
    return faults


def kill_once(
    bench: Bench, out: Path, phase: str, ranks: int, *, workers: int, real: bool
) -> dict[str, Any]:
    """Kill one run in a phase, go on with it, and tell what was found."""
    place = PHASES.index(phase)
    command = bench.start(out, ranks, workers=workers, real=real)
    if place:
        command.wait(bench.reached(out)[place - 1])
    seconds = bench.seconds_of_a_real_start if real else bench.seconds[ranks][phase]
    delay = time.monotonic() + bench.draw.uniform(0, seconds)
    stop = bench.reached(out)[place] if place < len(PHASES) - 1 else None
    command.wait(lambda: time.monotonic() > delay or (stop is not None and stop()))
    if command.poll() is not None:
        shutil.rmtree(out)
        return {"ended before": True}
    victims = [command.pid, *command.children()] if ranks > 1 else [command.pid]
    victim = bench.draw.choice(victims[: ranks + 1])
    command.kill(victim)
    alive = command.seconds_until_all_ended(LIMIT)
    found = {
        "killed": "run" if ranks == 1 else "launcher" if victim == command.pid else "rank",
        "begun": (out / "config.toml").exists(),
        "checkpoint": (out / "checkpoints" / "latest.json").exists(),
        "seconds": alive,
        "faults": [] if alive <= LIMIT else ["processes were left"],
    }
    said = [line for line in command.said.read_text().splitlines() if line]
    if found["killed"] == "rank" and not (len(said) == 1 and "--resume" in said[0]):
        found["faults"].append(f"said: {said}, status {command.status}")
    again = bench.start(out, ranks, workers=workers)
    if again.wait() != 0:
        found["faults"].append(f"not gone on with: {again.said.read_text()}")
    else:
        found["faults"] += another_end(out, bench.whole[ranks, 0])
    if not found["faults"]:
        shutil.rmtree(out)
    return found


def race(bench: Bench, out: Path, kind: str, begun: Path) -> list[str]:
    """Two runs into one folder; what was wrong."""
    seed = 0
    if kind == "two resumes":
        shutil.copytree(begun, out)
    first = bench.start(out)
    if kind == "a resume beside a living run":
        first.wait(bench.reached(out)[1])
    elif kind == "two starts":
        seed = 1
    pause = time.monotonic() + bench.draw.uniform(0, 0.05)
    first.wait(lambda: time.monotonic() > pause)
    second = bench.start(out, seed=seed)
    runs = {first: 0, second: seed}
    ends = sorted((command.wait() or 0, seed) for command, seed in runs.items())
    if [status for status, _ in ends] != [0, 2]:
        return [f"{kind}: statuses {ends}", first.said.read_text(), second.said.read_text()]
    faults = []
    loser = first if first.status else second
    said = loser.said.read_text().splitlines()
    if len(said) != 1 or not said[0].startswith("error: "):
        faults.append(f"{kind}: said {said}")
    faults += [f"{kind}: {one}" for one in another_end(out, bench.whole[1, ends[0][1]])]
    if load_encoder(out)[0].config["seed"] != settings.read_recipe(out / "config.toml")["seed"]:
        faults.append(f"{kind}: settings of one run, encoder of the other")
    if not faults:
        shutil.rmtree(out)
    return faults


def kills(bench: Bench, wanted: int) -> dict[str, Any]:
    """Kills in equal parts, in every phase and with either number of ranks."""
    counts: Counter[str] = Counter()
    faults: list[str] = []
    slowest, number, late = 0.0, 0, 0
    while number < wanted:
        ranks, phase = 1 + (number + number // 4) % 2, PHASES[number % 4]
        workers = int(number % 8 == number // 8 % 8)
        real = phase == PHASES[0] and number // 8 % 5 == 4
        out = bench.folder / f"kill-{number}-{late}"
        found = kill_once(bench, out, phase, ranks, workers=workers, real=real)
        if "ended before" in found:
            late += 1
            continue
        number += 1
        slowest = max(slowest, found["seconds"])
        counts[f"{ranks} x {phase}"] += 1
        counts[f"killed: {found['killed']}"] += 1
        counts["with view workers"] += workers
        counts["by a start of Python"] += real
        held = "checkpoint" if found["checkpoint"] else "settings" if found["begun"] else "nothing"
        counts[f"found: {held}"] += 1
        faults += [f"{number} {ranks} x {phase}: {fault}" for fault in found["faults"]]
        CONSOLE.print(f"{number} {ranks} x {phase}: {found}")
    return {
        "kills": number,
        "counts": dict(sorted(counts.items())),
        "slowest_end_of_the_last_process_s": round(slowest, 2),
        "faults": faults,
    }


def races(bench: Bench, wanted: int) -> dict[str, Any]:
    """Races of each kind in turn."""
    begun = bench.folder / "begun"
    command = bench.start(begun)
    command.wait(bench.reached(begun)[1])
    command.kill(command.pid)
    command.wait()
    kinds = ("two starts", "two resumes", "a resume beside a living run")
    counts: Counter[str] = Counter()
    faults: list[str] = []
    for number in range(wanted):
        kind = kinds[number % len(kinds)]
        faults += race(bench, bench.folder / f"race-{number}", kind, begun)
        counts[kind] += 1
        CONSOLE.print(f"{number + 1} {kind}: {faults or 'one writer'}")
    return {"races": wanted, "counts": dict(counts), "faults": faults}


def blobs(path: Path, samples: int = 48, size: int = 32) -> Path:
    """A file of noise in the layout that the loader knows."""
    draw = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        images = draw.integers(0, 255, (samples, size, size, 3), np.uint8)
        file.create_dataset("images", data=images, chunks=(1, size, size, 3))
    return path


def main() -> None:
    """Kills, then races; status 1 where anything was lost or left."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--races", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), asked.seed)
        found = {"killed": kills(bench, asked.kills), "raced": races(bench, asked.races)}
    found["command"] = shlex.join(["python", "benchmarks/kills.py", *sys.argv[1:]])
    found["machine"] = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"
    found["torch"] = torch.__version__
    CONSOLE.print_json(data=found)
    if asked.out:
        asked.out.write_text(json.dumps(found, indent=2) + "\n")
    sys.exit(bool(found["killed"]["faults"] or found["raced"]["faults"]))


if __name__ == "__main__":
    main()
