"""Data behind 20 ms of latency against the same on the local disk, and a server that dies.

A server of its own process on the loopback waits 20 ms before each answer. Reading: random order,
batches of 64 decoded by a thread ahead, as `embed`, `evaluate` and workers read them; near, far
with nothing kept (every epoch of a set larger than the cache), far one sample at a time, and far
once all is kept. Near and far take turns; ratios are medians over the turns. Training: the same
small run near, far, and far while the server is killed for 5 s, with a worker; the losses of all
steps must be the same numbers.

    python benchmarks/remote.py --out benchmarks/results/remote.json
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections import deque
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))

from domainjepa.data.opening import open_source
from domainjepa.data.source import Source
from domainjepa.encoder.passes import ahead
from tests.object_server import process

LATENCY, BATCH, OUTAGE = 0.02, 64, 5.0
TRAINING = (
    *("--backbone", "test_resnet", "--steps", "60", "--batch-size", "32", "--device", "cpu"),
    *("--set", "data.workers=1", "--set", "log.every_steps=1", "--set", "log.shortcuts=false"),
    *(
        "--set",
        "data.cache_bytes=0",
        "--set",
        "views.global_size=64",
        "--set",
        "views.local_size=32",
        "--set",
        "threads=1",
    ),
)


def written(folder: Path, samples: int) -> list[str]:
    """JPEG of 256x256 in a folder and in tars, and raw 64x64 in HDF5."""
    noise = np.random.default_rng(0)
    (folder / "folder").mkdir(parents=True)
    (folder / "tars").mkdir()
    for shard in range(4):
        with tarfile.open(folder / "tars" / f"{shard}.tar", "w") as archive:
            for row in range(shard, samples, 4):
                smooth = Image.fromarray(noise.integers(0, 256, (32, 32, 3), dtype=np.uint8))
                file = io.BytesIO()
                smooth.resize((256, 256), Image.Resampling.BICUBIC).save(file, "JPEG", quality=92)
                (folder / "folder" / f"{row:05}.jpg").write_bytes(file.getvalue())
                member = tarfile.TarInfo(f"{row:05}.jpg")
                member.size = len(file.getvalue())
                archive.addfile(member, io.BytesIO(file.getvalue()))
    raw = noise.integers(0, 256, (samples, 64, 64, 3), dtype=np.uint8)
    with h5py.File(folder / "raw.h5", "w") as made:
        made.create_dataset("images", data=raw, chunks=(1, 64, 64, 3))
    return ["folder/", "tars/", "raw.h5"]


def rate(source: Source, rows: list[int], batch: int = BATCH) -> float:
    """Samples a second, each batch read while the one before it is used."""
    batches = (rows[at : at + batch] for at in range(0, len(rows), batch))
    begun = time.perf_counter()
    deque(ahead(source.__getitems__(one) for one in batches), 0)
    return len(rows) / (time.perf_counter() - begun)


def one_by_one(source: Source, rows: list[int]) -> float:
    """Samples a second, each asked for when the one before it is there."""
    begun = time.perf_counter()
    for row in rows:
        source[row]
    return len(rows) / (time.perf_counter() - begun)


def reading(url: str, folder: Path, names: list[str], turns: int) -> list[dict[str, Any]]:
    """Every layout near and far."""
    found = []
    for name in names:
        near = open_source(folder / name)
        passing = open_source(f"{url}/{name}", cache_bytes=0)
        order = np.random.default_rng(1).permutation(len(near)).tolist()
        pairs = []
        for turn in range(turns):
            rows = order[turn * len(order) // turns : (turn + 1) * len(order) // turns]
            pairs.append((rate(near, rows), rate(passing, rows)))
        alone = one_by_one(passing, order[:BATCH])
        del passing
        kept = open_source(f"{url}/{name}")
        rate(kept, order)
        again = [(rate(near, order), rate(kept, order)) for _ in range(turns)]
        found.append(
            {
                "data": name,
                "near_samples_per_s": statistics.median(one for one, _ in pairs),
                "far_samples_per_s": statistics.median(one for _, one in pairs),
                "ratio": statistics.median(far / here for here, far in pairs),
                "far_one_by_one_samples_per_s": alone,
                "kept_ratio": statistics.median(far / here for here, far in again),
            }
        )
    return found


def trained(data: str, out: Path) -> tuple[list[dict[str, Any]], float]:
    """The metrics of a run, and its seconds."""
    command = [sys.executable, "-m", "domainjepa", "pretrain", "--data", data, "--out", str(out)]
    begun = time.monotonic()
    subprocess.run([*command, *TRAINING], check=True, stdout=subprocess.DEVNULL)
    lines = (out / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines], time.monotonic() - begun


def training(folder: Path, port: int, outage: Any) -> dict[str, Any]:
    """Near, far, and far while the server is killed for 5 s after some steps."""
    out, far = folder.parent / "runs", f"http://127.0.0.1:{port}/folder/"
    near, near_s = trained(str(folder / "folder"), out / "near")
    calm, far_s = trained(far, out / "far")
    killer = threading.Thread(target=outage, args=(out / "outage" / "metrics.jsonl",))
    killer.start()
    hit, hit_s = trained(far, out / "outage")
    killer.join()
    losses = [[line["loss"] for line in lines if "loss" in line] for lines in (near, calm, hit)]
    speeds = [
        statistics.median(line["samples_per_s"] for line in lines if "samples_per_s" in line)
        for lines in (near, calm)
    ]
    return {
        "steps": len(losses[0]),
        "same_losses": losses[0] == losses[1] == losses[2],
        "near_samples_per_s": speeds[0],
        "far_samples_per_s": speeds[1],
        "ratio": speeds[1] / speeds[0],
        "seconds": {"near": near_s, "far": far_s, "far_with_outage": hit_s},
        "outage_s": OUTAGE,
    }


def measured(samples: int, turns: int, only: str | None) -> dict[str, Any]:
    """Both parts, or one of them."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name) / "served"
        os.environ["DOMAINJEPA_CACHE"] = f"{name}/cache"
        names = written(folder, samples)
        port, running = stack.enter_context(process(folder, LATENCY))

        def outage(metrics: Path) -> None:
            while not (metrics.exists() and metrics.read_text().count("\n") > 5):
                time.sleep(0.05)
            running.kill()
            running.wait()
            time.sleep(OUTAGE)
            stack.enter_context(process(folder, LATENCY, port))

        if only != "training":
            found["reading"] = reading(f"http://127.0.0.1:{port}", folder, names, turns)
        if only != "reading":  # nothing is kept: every sample of every epoch is asked for
            os.environ["DOMAINJEPA_CACHE"] = f"{name}/other"
            found["training"] = training(folder, port, outage)
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--samples", type=int, default=1280)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--only", choices=("reading", "training"))
    parser.add_argument("--out", type=Path, help="what it holds of the other part stays")
    asked = parser.parse_args()
    found = measured(asked.samples, asked.turns, asked.only)
    table = Table("", "near", "far", "ratio", "far, one by one", "once kept")
    for row in found.get("reading", ()):
        rates = (row["near_samples_per_s"], row["far_samples_per_s"])
        table.add_row(
            *(row["data"], *(f"{one:,.0f}" for one in rates), f"{row['ratio']:.2f}"),
            *(f"{row['far_one_by_one_samples_per_s']:,.0f}", f"{row['kept_ratio']:.2f}"),
        )
    Console().print(table, found.get("training", ""))
    if asked.out:
        model = next(
            line.partition(": ")[2]
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        )
        document = json.loads(asked.out.read_text()) if asked.out.exists() else {}
        only = f" --only {asked.only}" if asked.only else ""
        how = {
            "command": f"python benchmarks/remote.py --samples {asked.samples} "
            f"--turns {asked.turns}{only}",
            "machine": f"{model}, {os.cpu_count()} cores, on which other work has a load of "
            f"{os.getloadavg()[0]:.0f}; server, client and decoder share them",
            "latency_ms": LATENCY * 1000,
        }
        for part, result in found.items():
            document[part] = {**how, "results": result}
        asked.out.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
