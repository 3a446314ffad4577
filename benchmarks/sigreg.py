"""SIGReg, forward plus backward: time and peak memory against the textbook formula.

    python benchmarks/sigreg.py --device cpu --threads 2     # some minutes
    python benchmarks/sigreg.py --busy 1 --few               # one core taken by another process
    python benchmarks/sigreg.py --device cuda

Compared are the formula as the paper writes it, eager and compiled; lightly's SIGReg, where lightly
is installed (MIT; needed for this comparison only); and ours. All methods of a case run in turn,
round by round, and a ratio is the median over rounds of the ratio within a round, so that a busy
machine slows both sides. Before each timed step goes an untimed one of the same method: it finds
the caches and the heap as it leaves them itself, and does not hand back to the kernel, in its own
time, the pages that another method has freed (8 of 16 ms where that happened). Memory is what a
step adds at its peak to what was held before. Results go to benchmarks/results/, one file per
machine.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import math
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from domainjepa.objective import SIGReg

Shape = tuple[int, int, int, int]  # views, samples, embedding dimension, slices

TRAINING: list[Shape] = [(2, 128, 64, 1024), (10, 128, 64, 1024), (8, 512, 128, 1024)]
TRAINING += [(10, 2048, 128, 1024)]
TABLE_6: list[Shape] = [(1, n, 512, 512) for n in (512, 2048, 8192, 32768)]
TABLE_6 += [(1, 512, 512, 8192), (1, 8192, 512, 8192)]
# The authors' own timings on their GPU, milliseconds (LeJEPA, arXiv 2511.08544, table 6).
PAPER_MS = {
    (1, 512, 512, 512): 0.465,
    (1, 2048, 512, 512): 1.41,
    (1, 8192, 512, 512): 6.19,
    (1, 32768, 512, 512): 26.4,
    (1, 512, 512, 8192): 0.67,
    (1, 8192, 512, 8192): 8.69,
}
SCALING = {
    "N": [(2, n, 64, 1024) for n in (512, 1024, 2048, 4096)],
    "M": [(2, 1024, 64, m) for m in (512, 1024, 2048, 4096)],
    "V": [(v, 512, 64, 1024) for v in (2, 4, 8, 16)],
}
BYTES_PER_KNOT = 20  # of the textbook formula, for each view, sample, slice and knot: an estimate


def textbook(z: Tensor, directions: Tensor, knots: int = 17, t_max: float = 5.0) -> Tensor:
    """The formula as it is written: every cosine and sine of the outer product with the knots."""
    t = torch.linspace(0, t_max, knots, device=z.device)
    gauss = torch.exp(-t.square() / 2)
    weight = 2 * t_max / (knots - 1) * gauss
    weight[[0, -1]] /= 2
    outer = (z @ directions).unsqueeze(-1) * t  # (V, N, M, knots)
    error = (outer.cos().mean(-3) - gauss).square() + outer.sin().mean(-3).square()
    return z.shape[-2] * (error @ weight).mean()


def draw(z: Tensor, slices: int) -> Tensor:
    return normalize(torch.randn(z.shape[-1], slices, device=z.device), dim=0)


def methods(slices: int, device: str, compiled: bool) -> dict[str, Callable[[Tensor, int], Tensor]]:
    """name -> (z, step) -> loss, the drawing of directions included."""
    ours = SIGReg(slices)
    table: dict[str, Callable[[Tensor, int], Tensor]] = {
        "domainjepa": lambda z, step: ours(z, step=step),
        "textbook": lambda z, step: textbook(z, draw(z, slices)),
    }
    if compiled:
        torch._dynamo.reset()
        fused = torch.compile(textbook, dynamic=False)
        table["textbook compiled"] = lambda z, step: fused(z, draw(z, slices))
    try:
        from lightly.loss.lejepa_loss import SIGReg as LightlySIGReg
    except ImportError:
        return table
    lightly = LightlySIGReg(num_vectors=slices, t_max=5.0).to(device)
    return {**table, "lightly": lambda z, step: lightly(z)}


def step_time(function: Callable[[Tensor, int], Tensor], z: Tensor, step: int) -> float:
    """Seconds of one forward and backward."""
    z.grad = None
    _synchronise(z)
    start = time.perf_counter()
    function(z, step).backward()
    _synchronise(z)
    return time.perf_counter() - start


def _synchronise(z: Tensor) -> None:
    if z.is_cuda:
        torch.cuda.synchronize()


def extra_memory(function: Callable[[Tensor, int], Tensor], z: Tensor) -> int | None:
    """Bytes that a step adds at its peak; on a CPU from the kernel's high-water mark (Linux)."""
    z.grad = None
    if z.is_cuda:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        function(z, 0).backward()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    try:
        _return_freed_memory()
        Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM
        before = _status("VmRSS")
        function(z, 0).backward()
        return max(0, _status("VmHWM") - before)
    except OSError:
        return None


def _return_freed_memory() -> None:
    """Else a step that fits into what the allocator has kept would seem to add nothing."""
    with suppress(AttributeError, OSError):  # not glibc
        ctypes.CDLL(None).malloc_trim(0)


def _status(field: str) -> int:
    match = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(match[1]) * 1024 if match else 0


def compare(shape: Shape, device: str, rounds: int, compiled: bool, limit: float) -> dict[str, Any]:
    """One row: for each method the median time, the ratio to ours, the peak of extra memory."""
    views, samples, dimension, slices = shape
    z = torch.randn(views, samples, dimension, device=device, requires_grad=True)
    table = methods(slices, device, compiled)
    need = views * samples * slices * 17 * BYTES_PER_KNOT
    row: dict[str, Any] = {"V": views, "N": samples, "K": dimension, "M": slices}
    if shape in PAPER_MS:
        row["paper_ms"] = PAPER_MS[shape]
    if need > limit:
        table = {"domainjepa": table["domainjepa"]}
        row["note"] = f"the textbook formula was left out: it wants about {need / 2**30:.0f} GiB"
    times: dict[str, list[float]] = {name: [] for name in table}
    memory: dict[str, int | None] = {}
    for name, function in table.items():
        step_time(function, z, 0)  # compiles, fills caches
        memory[name] = extra_memory(function, z)
    for step in range(rounds):
        for name, function in table.items():
            step_time(function, z, step)
            times[name].append(step_time(function, z, step))
    for name in table:
        ratios = [a / b for a, b in zip(times[name], times["domainjepa"], strict=True)]
        row[name] = {
            "median_ms": round(1e3 * statistics.median(times[name]), 3),
            "best_ms": round(1e3 * min(times[name]), 3),
            "times_ours": round(statistics.median(ratios), 2),
            "extra_MiB": None if memory[name] is None else round(memory[name] / 2**20, 1),
        }
    if device == "cuda":
        # s is written and read by the projection and both kernels; the least is two passes.
        floor = 2 * 4 * views * samples * slices / 4.8e12
        row["of_bandwidth_floor_4.8TBps"] = round(floor / min(times["domainjepa"]), 3)
    return row


def exponent(shapes: list[Shape], device: str, rounds: int) -> float:
    """Slope of log time against log size: least squares over the best of rounds."""
    best = [math.inf] * len(shapes)
    inputs = [torch.randn(*shape[:3], device=device, requires_grad=True) for shape in shapes]
    losses = [SIGReg(shape[3]) for shape in shapes]
    for step in range(rounds + 1):
        for i, (z, loss) in enumerate(zip(inputs, losses, strict=True)):
            seconds = step_time(lambda z, step, loss=loss: loss(z, step=step), z, step)
            best[i] = min(best[i], seconds) if step else math.inf
    x = [math.log(math.prod(shape)) for shape in shapes]
    y = [math.log(seconds) for seconds in best]
    return statistics.linear_regression(x, y).slope


def machine(device: str) -> str:
    if device == "cuda":
        return torch.cuda.get_device_name()
    info = Path("/proc/cpuinfo")
    model = re.search(r"model name\s*:\s*(.+)", info.read_text()) if info.exists() else None
    name = model[1].strip() if model else platform.processor() or platform.machine()
    return f"{name}, {torch.get_num_threads()} threads"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--memory", type=float, default=8.0, help="GiB that the textbook may take")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--busy", type=int, default=0, help="other processes that take a core each")
    parser.add_argument("--few", action="store_true", help="only the three sizes of training")
    options = parser.parse_args()
    spin = [sys.executable, "-c", "while True: pass"]
    others = [subprocess.Popen(spin) for _ in range(options.busy)]
    try:
        measure(options)
    finally:
        for other in others:
            other.kill()


def measure(options: argparse.Namespace) -> None:
    """Every size, and the file."""
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)

    result: dict[str, Any] = {
        "command": f"python benchmarks/sigreg.py --device {options.device} --threads "
        f"{options.threads} --rounds {options.rounds}"
        f"{f' --busy {options.busy}' * bool(options.busy)}{' --few' * options.few}",
        "machine": machine(options.device),
        "torch": torch.__version__,
        "load": round(os.getloadavg()[0], 1),
        "rows": [],
    }
    limit = options.memory * 2**30
    for shape in [*TRAINING[1:3], TABLE_6[0]] if options.few else TRAINING + TABLE_6:
        row = compare(shape, options.device, options.rounds, options.compile, limit)
        result["rows"].append(row)
        sys.stdout.write(json.dumps(row) + "\n")
        sys.stdout.flush()
    if not options.few:
        result["scaling_exponents"] = {
            name: round(exponent(shapes, options.device, options.rounds), 3)
            for name, shapes in SCALING.items()
        }
        sys.stdout.write(json.dumps(result["scaling_exponents"]) + "\n")
    slug = re.sub(r"[^a-z0-9]+", "-", result["machine"].lower()).strip("-")
    options.out.mkdir(exist_ok=True)
    busy = f"-{options.busy}-busy" if options.busy else ""
    path = options.out / f"sigreg-{slug}{busy}.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    sys.stdout.write(f"{path.name}\n")


if __name__ == "__main__":
    main()
