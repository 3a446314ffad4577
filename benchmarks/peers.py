"""LeJEPA by this project and by its peers, side by side: speed, memory, and what is learned.

Galaxy Zoo 1 (`benchmarks/evidence.py` says what it is), pretrained for the same time by
domainjepa, by lightly and by stable-pretraining, each with the same network and first weights,
image size, number of views, batch, learning rate and its schedule, lambda, slices, precision, and
one thread; of the peers once with the views that they document and once with ours. Then one
evaluation of all encoders, on the same labels in the same draws. Beside it the objective alone.

Each peer runs in an environment of its own, with this project in it:

    python -m venv lightly && lightly/bin/pip install . lightly==1.6.0
    python -m venv stable && stable/bin/pip install . stable-pretraining==0.1.8
    taskset -c 0 python benchmarks/peers.py --data galaxyzoo1.h5 \\
        --python lightly=lightly/bin/python --python stable-pretraining=stable/bin/python

writes `results/peers-galaxyzoo1.json`, and everything else into `runs/peers`. What is there already
is not made again. `--minutes` is of each run, from the start of its process to its end, on the
processor: on a core of its own that is the time of the clock. How many steps fit is measured by a
run of a few, `--trial`; `--minutes 0` ends after those, and tells speed and memory alone. `--set`
changes a setting of all runs. What the programs in `in_peers/` do is what a user of each would
write.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import resource
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
sys.path.insert(0, str(Path(__file__).parent / "in_peers"))

import PIL.Image
import safetensors.torch
from evidence import cpu_name
from objectives import PEERS
from rich.console import Console
from shared import SETTINGS, run_config

from domainjepa.data.opening import open_configured
from domainjepa.encoder.artefact import save_state
from domainjepa.encoder.frozen import FrozenEncoder
from domainjepa.evaluation.encoders.baselines import baselines
from domainjepa.evaluation.protocol import read_protocol
from domainjepa.evaluation.reporting import terminal
from domainjepa.evaluation.suite import evaluate
from domainjepa.pretraining.plan import make_plan

HERE = Path(__file__).parent
OURS = "domainjepa"
SHOTS = (1, 5, 10, 100, "all")
CONSOLE = Console()


class Run(NamedTuple):
    """A run of the table.

    Attributes:
        name: in the table.
        peer: whose environment it runs in; `OURS` is the one of this process.
        program: in `in_peers/`.
        views: `its` own, or `ours`.
    """

    name: str
    peer: str
    program: str
    views: str

    @property
    def folder(self) -> str:
        return self.name.replace(", ", "-").replace(" ", "-")


RUNS = (
    Run(OURS, OURS, "ours.py", "ours"),
    *(
        Run(f"{peer}, {said} views", peer, f"with_{peer.replace('-', '_')}.py", views)
        for peer in PEERS
        for views, said in (("its", "its"), ("ours", "our"))
    ),
)


class Bench:
    """Where things are, and how long a run may take.

    Args:
        asked: the arguments of the command.
        pythons: peer -> the Python of its environment.
    """

    def __init__(self, asked: argparse.Namespace, pythons: dict[str, str]) -> None:
        self.data, self.folder = asked.data.resolve(), asked.folder.resolve()
        self.changes, self.seconds, self.trial = asked.set, 60 * asked.minutes, asked.trial
        self.pythons = {OURS: sys.executable, **pythons}
        self.pictures = self.folder / "pictures"

    def export(self) -> None:
        """The rows that pretraining may see, as PNG files in one folder."""
        if self.pictures.exists():
            return
        plan = make_plan(run_config(self.data, 1, self.changes))
        begun = self.folder / "pictures.part"
        inside = begun / "all"
        inside.mkdir(parents=True, exist_ok=True)
        for row in plan.rows.tolist():
            PIL.Image.fromarray(plan.source[row]).save(inside / f"{row:06}.png")
        begun.rename(self.pictures)

    def run(self, one: Run, steps: int, out: Path) -> dict[str, Any]:
        """What a run measured of itself, and its wall time; made where it is not there."""
        done = out / "done.json"
        if not done.exists():
            shutil.rmtree(out, ignore_errors=True)
            out.mkdir(parents=True)
            words = [self.pythons[one.peer], str(HERE / "in_peers" / one.program)]
            words += ["--data", str(self.data), "--pictures", str(self.pictures)]
            words += ["--views", one.views, "--steps", str(steps), "--out", str(out)]
            words += [f"--set={change}" for change in self.changes]
            CONSOLE.print(f"{one.name}: {steps} steps", highlight=False)
            spent = self._spent(words, out.with_suffix(".log"))
            found = {"steps": steps, **spent, **json.loads((out / "measured.json").read_text())}
            done.write_text(json.dumps(found, indent=1) + "\n")
        found = json.loads(done.read_text())
        assert isinstance(found, dict)
        return found

    def _spent(self, words: Sequence[str], log: Path) -> dict[str, float]:
        """Seconds that a command takes; status 1 with the end of what it said where it fails."""
        start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        with log.open("w") as said:
            status = subprocess.run(words, stdout=said, stderr=subprocess.STDOUT).returncode
        if status:
            CONSOLE.print(log.read_text()[-3000:], highlight=False, markup=False)
            sys.exit(f"{shlex.join(words[:2])} ended with status {status}")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        took = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        clock = time.perf_counter() - start
        return {"processor_seconds": round(took, 1), "wall_seconds": round(clock, 1)}

    def measured(self, one: Run) -> dict[str, Any]:
        """A trial, then the run of as many steps as fill the time, unless that is none."""
        trial = self.run(one, self.trial, self.folder / f"{one.folder}-trial")
        pace = trial["seconds_a_step"]
        batch = run_config(self.data, 1, self.changes).batch_size
        if not self.seconds:
            return {"samples_per_s": round(batch / pace, 1), **trial}
        beside = trial["processor_seconds"] - self.trial * pace
        steps = max(int((self.seconds - beside) / pace), self.trial)
        found = self.run(one, steps, self.folder / one.folder)
        return {"samples_per_s": round(batch / found["seconds_a_step"], 1), **found}

    def objectives(self, peer: str) -> dict[str, Any]:
        """The objective of a peer beside ours, in its environment."""
        out = self.folder / f"objective-{peer}.json"
        if not out.exists():
            program = str(HERE / "in_peers" / "objectives.py")
            self._spent([self.pythons[peer], program, peer, str(out)], out.with_suffix(".log"))
        found = json.loads(out.read_text())
        assert isinstance(found, dict)
        return found

    def encoder(self, one: Run) -> FrozenEncoder:
        """The encoder of a run, read out as ours is.

        The weights of a peer go into a file of this project, with what its images were
        standardised by, so that nothing else differs.
        """
        ours = FrozenEncoder(self.folder / OURS / "run")
        if one.peer == OURS:
            return ours.called(OURS)
        place = self.folder / one.folder
        weights = safetensors.torch.load_file(place / "backbone.safetensors")
        numbers = json.loads((place / "standardised.json").read_text())
        card = ours.card.model_copy(update={name: tuple(of) for name, of in numbers.items()})
        path = place / "encoder.safetensors"
        save_state(path, {f"net.{name}": value for name, value in weights.items()}, card)
        return FrozenEncoder(path).called(one.name)

    def scores(self, runs: Sequence[Run]) -> dict[str, Any]:
        """One evaluation of all of them, the untrained network and raw pixels."""
        out = self.folder / "evaluation"
        if not (out / "results.json").exists():
            encoders = [self.encoder(one) for one in runs]
            results = evaluate(
                encoders,
                open_configured(run_config(self.data, 1, self.changes).opening()),
                [read_protocol("few-shot").model_copy(update={"shots": SHOTS})],
                out,
                baselines=baselines(["untrained", "pixels"], encoders[:1]),
                cache=self.folder / "features",
                console=CONSOLE,
            )
            terminal.show(results, CONSOLE)
        found = json.loads((out / "results.json").read_text())
        return {"summary": found["summary"], "differences": found["differences"]}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--python", action="append", default=[], metavar="PEER=PATH")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--trial", type=int, default=20, help="steps that the pace is taken from")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--folder", type=Path, default=Path("runs/peers"))
    parser.add_argument("--out", type=Path, default=HERE / "results/peers-galaxyzoo1.json")
    asked = parser.parse_args()
    pythons = dict(words.split("=", 1) for words in asked.python)
    if not pythons.keys() <= PEERS.keys():
        parser.error(f"--python PEER=PATH: a peer is one of {', '.join(PEERS)}")
    bench = Bench(asked, pythons)
    bench.folder.mkdir(parents=True, exist_ok=True)
    bench.export()
    runs = [one for one in RUNS if one.peer in bench.pythons]
    found = {
        "command": f"taskset -c 0 python benchmarks/peers.py --data galaxyzoo1.h5 "
        f"--minutes {asked.minutes:g} --trial {asked.trial} --python PEER=PATH …",
        "date": datetime.date.today().isoformat(),
        "machine": f"{cpu_name()}, one thread on one core; seconds are of the processor",
        "settings": [*SETTINGS, *asked.set],
        "objective": {peer: bench.objectives(peer) for peer in pythons},
        "runs": {one.name: bench.measured(one) for one in runs},
        **(bench.scores(runs) if asked.minutes else {}),
    }
    asked.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
