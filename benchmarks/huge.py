"""What a volume of 4096x4096x4096 voxels takes to learn from: memory, and bytes read for each used.

A simulated OME-Zarr with a pyramid of six resolutions, 64 GiB of uint8 of which only balls of
tissue are written, each with a texture that is stretched along an axis of its own. Train and test
are boxes of it. It is written twice, in chunks that fit regions of 3-D and in chunks that fit
tiles. `domainjepa pretrain` runs for some steps on each; the memory is the proportional set size of
all of its processes, once in a fifth of a second, and the bytes are counted where the store gives
chunks, apart from the run.

    python benchmarks/huge.py --folder huge --out benchmarks/results/huge.json

A store that is there already is not written again; `--only tiles` leaves the figures of the other.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from itertools import product
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import zarr
from forks import Command
from kills import CONSOLE
from memory import mib
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from domainjepa import settings
from domainjepa.data.formats.zarr.source import ZarrSource
from domainjepa.data.formats.zarr.store import Folder
from domainjepa.pretraining.plan import make_plan
from domainjepa.pretraining.progress import read_metrics
from domainjepa.views.dataset import ViewDataset

SIDE, LEVELS, ISLAND = 4096, 6, 512
BOXES = ["train=:60%", "test=65%:"]
CHUNKS = {"volumes": (64, 64, 64), "tiles": (1, 256, 256)}
SETTINGS = {
    "volumes": ["backbone.name=monai:resnet18", "batch_size=4"],
    "tiles": ["backbone.name=resnet18", "batch_size=16", "views.global_size=128"],
}
BOTH = [
    *("domain=microscopy", "views.num_local=2", "data.workers=1", "log.every_steps=1"),
    *("log.shortcuts=false", "device=cpu", f"data.split_boxes={json.dumps(BOXES)}"),
]
MOST_MIB, MOST_COST = 3 * 1024, 2.0


def island(draw: np.random.Generator) -> NDArray[np.uint8]:
    """(512, 512, 512): a texture that is stretched along one axis, and zero outside of a ball."""
    widths = np.where(np.arange(3) == draw.integers(3), 8.0, 1.5)
    field = gaussian_filter(draw.standard_normal((128,) * 3, np.float32), widths)
    texture = np.clip(120 + 40 * field / field.std(), 20, 255).astype(np.uint8) & 0xF8
    away = np.linspace(-1, 1, 128, dtype=np.float32) ** 2
    outside = away[:, None, None] + away[:, None] + away > 0.9
    texture[outside] = 0
    for axis in range(3):
        texture = texture.repeat(ISLAND // 128, axis=axis)
    return texture


def write(path: Path, chunks: tuple[int, ...], islands: int) -> None:
    """The volume with its pyramid; chunks that hold nothing are not written."""
    part = path.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    group = zarr.create_group(part)
    levels = []
    for level in range(LEVELS):
        side = SIDE >> level
        own = tuple(min(chunk, side) for chunk in chunks)
        levels.append(
            group.create_array(
                str(level), shape=(side,) * 3, chunks=own, dtype="uint8", fill_value=0
            )
        )
    draw = np.random.default_rng(0)
    cells = [*product(range(SIDE // ISLAND), repeat=3)]
    for cell in draw.permutation(len(cells))[:islands].tolist():
        values = island(draw)
        for level, array in enumerate(levels):
            step = ISLAND >> level
            where = tuple(slice(one * step, (one + 1) * step) for one in cells[cell])
            array[where] = values
            half = values.shape[0] // 2
            values = values.reshape(half, 2, half, 2, half, 2).mean(axis=(1, 3, 5)).astype(np.uint8)
    group.attrs["ome"] = {
        "version": "0.5",
        "multiscales": [
            {
                "axes": [{"name": axis, "type": "space", "unit": "micrometer"} for axis in "zyx"],
                "datasets": [
                    {
                        "path": str(level),
                        "coordinateTransformations": [{"type": "scale", "scale": [2**level] * 3}],
                    }
                    for level in range(LEVELS)
                ],
            }
        ],
    }
    part.rename(path)


def on_disk(path: Path) -> int:
    """Bytes of all files."""
    return sum(one.stat().st_size for one in path.rglob("*") if one.is_file())


def counted(told: list[str], path: Path, batches: int) -> dict[str, Any]:
    """Bytes of chunks that the store is asked for, and of the parts that the source gives, over
    some batches of a run; and what the plan of the run said beforehand."""
    plan = make_plan(settings.resolve(None, told, {"data.path": str(path)}))
    read = used = 0
    levels = (str(level) for level in range(LEVELS))
    unpacked = {one: int(np.prod(zarr.open_array(path, path=one).chunks)) for one in levels}
    get, region = Folder.get, ZarrSource.region

    async def noting(self: Folder, key: str, *more: Any, **named: Any) -> Any:
        nonlocal read
        if "/c/" in key:
            read += unpacked[key.split("/")[0]]
        return await get(self, key, *more, **named)

    def asking(self: ZarrSource, index: int, start: Any, stop: Any) -> Any:
        nonlocal used
        part = region(self, index, start, stop)
        used += part.nbytes
        return part

    made, size = ViewDataset(plan.source, plan.maker()), plan.config.batch_size
    rows = np.random.default_rng(0).permutation(plan.rows)[: batches * size].tolist()
    made.__getitems__([(0, rows[0])])  # what is measured once
    Folder.get, ZarrSource.region = noting, asking  # type: ignore[method-assign]
    begun = time.monotonic()
    for first in range(0, len(rows), size):
        made.__getitems__([(0, row) for row in rows[first : first + size]])
    taken = time.monotonic() - begun
    Folder.get, ZarrSource.region = get, region  # type: ignore[method-assign]
    said = [line for _, line in plan.notes if "for each byte" in line]
    return {
        "bytes_read_for_each_used": round(read / used, 3),
        "said_by_the_plan": said,
        "used_mib_a_sample": round(used / 2**20 / len(rows), 3),
        "views_of_samples_a_second": round(len(rows) / taken, 2),
    }


def trained(told: list[str], path: Path, steps: int) -> dict[str, Any]:
    """A run of some steps by the command: the largest memory of all of its processes, and the loss.

    Raises:
        RuntimeError: it failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        words = ["pretrain", "--data", str(path), "--out", str(out), "--steps", str(steps)]
        begun = time.monotonic()
        words += [f"--set={one}" for one in told]
        command = Command(words, Path(folder) / "said.txt", real=True)
        most = 0.0
        try:
            while command.poll() is None:
                most = max(most, mib(command.processes()))
                time.sleep(0.2)
        finally:
            if command.poll() is None:
                command.kill(*command.processes())
        if command.status:
            raise RuntimeError(command.said.read_text())
        lines = read_metrics(out / "metrics.jsonl")
    return {
        "mib_at_most": round(most),
        "steps": lines[-1]["step"],
        "loss": [round(line["loss"], 4) for line in (lines[0], lines[-1])],
        "seconds": round(time.monotonic() - begun, 1),
    }


def main() -> None:
    """Both stores, both runs; status 1 where memory or bytes are beyond what is promised."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--islands", type=int, default=6)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--only", choices=[*CHUNKS])
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {}
    if asked.only and asked.out and asked.out.exists():
        found = json.loads(asked.out.read_text())
    for name in [asked.only] if asked.only else [*CHUNKS]:
        chunks = CHUNKS[name]
        path = asked.folder / f"{name}.ome.zarr"
        if not path.exists():
            write(path, chunks, asked.islands)
        told = [*BOTH, *SETTINGS[name]]
        found[name] = {
            "voxels": [SIDE] * 3,
            "chunks": list(chunks),
            "mib_on_disk": round(on_disk(path) / 2**20),
            **counted(told, path, batches=8),
            **trained(told, path, asked.steps),
        }
        CONSOLE.print(name, found[name])
    only = f" --only {asked.only}" if asked.only else ""
    found["command"] = (
        f"python benchmarks/huge.py --folder huge{only} --islands {asked.islands} "
        f"--steps {asked.steps} --out benchmarks/results/huge.json"
    )
    found["machine"] = f"{platform.machine()}, {os.cpu_count()} cores"
    if asked.out:
        asked.out.write_text(json.dumps(found, indent=2) + "\n")
    runs = [found[name] for name in CHUNKS if name in found]
    kept = all(
        run["mib_at_most"] < MOST_MIB and run["bytes_read_for_each_used"] < MOST_COST
        for run in runs
    )
    sys.exit(not kept)


if __name__ == "__main__":
    main()
