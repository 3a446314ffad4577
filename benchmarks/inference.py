"""Frozen encoders on a processor against the best bare loop of timm's network.

    python benchmarks/inference.py --weights tf_efficientnet_lite0.safetensors

Arrays in memory go through `FrozenEncoder.transform`, and where it says so `TimmEncoder.transform`,
at their defaults; and through loops that a user would write: standardise (or timm's own transform),
stack, call the network, for each batch size and layout of memory, tried once; the two fastest then
run in turn with ours, round by round, with the memory of a batch kept for all of them. `ratio` is
the median over rounds of ours to the better of the two within a round: of the images for each
second of the processor, and by the clock. `system` is the share of the processor's time that the
kernel took. `untouched` is the loop with the largest batch in a process of its own that leaves the
C library as it is. Other work on the machine slows what runs at that moment: see `load`.

`training` is the seconds of the processor that a step takes, and the kernel's share, in processes
of their own with the memory of a step handed back, as glibc does of itself, and kept.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import timm
import torch
from safetensors.torch import save_file
from timm.data.config import resolve_model_data_config
from timm.data.transforms_factory import create_transform

from domainjepa import devices
from domainjepa.backbones import Backbone
from domainjepa.config import BackboneConfig
from domainjepa.encoder import passes
from domainjepa.encoder.artefact import EncoderCard, save_encoder
from domainjepa.encoder.frozen import FrozenEncoder
from domainjepa.evaluation.encoders.published import TimmEncoder

CASES = {  # network, pixels, images, encoder
    "resnet10t": ("resnet10t", 64, 256, "FrozenEncoder"),
    "resnet34": ("resnet34", 224, 32, "FrozenEncoder"),
    "tf_efficientnet_lite0": ("tf_efficientnet_lite0", 224, 64, "FrozenEncoder"),
    "vit_tiny": ("vit_tiny_patch16_224", 224, 32, "FrozenEncoder"),
    "timm:tf_efficientnet_lite0": ("tf_efficientnet_lite0", 224, 64, "TimmEncoder"),
}
BATCHES = (4, 16, 32, 64, 128, 256)
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}

Loop = Callable[[], object]
Images = np.ndarray[Any, np.dtype[np.uint8]]


def frozen(network: str, size: int, folder: Path) -> FrozenEncoder:
    """An encoder of this network with random weights."""
    config = BackboneConfig(name=network, stem_reduction=1)
    card = EncoderCard(
        backbone=config, channels=3, size=size, dtype="uint8", domain="natural",
        intensity={"kind": "identity"}, mean=(0.5,) * 3, std=(0.25,) * 3, data={}, step=0,
        config={}, versions={},
    )  # fmt: skip
    path = folder / f"{network}.safetensors"
    save_encoder(path, Backbone(config, 3, size), card)
    return FrozenEncoder(path, device="cpu")


def bare(net: Any, read: Any, images: Images, batch: int, layout: str, whole: bool) -> Loop:
    """A loop without this project: timm's network in one layout, batch after batch."""
    net = net.to(memory_format=LAYOUTS[layout])
    config = resolve_model_data_config(net)
    steps = create_transform(**config, is_training=False)

    def prepare(some: Images) -> torch.Tensor:
        if whole:
            return torch.stack([steps(PIL.Image.fromarray(image)) for image in some])
        return (torch.from_numpy(some).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.25

    @torch.inference_mode()
    def loop() -> None:
        for first in range(0, len(images), batch):
            inputs = prepare(images[first : first + batch])
            read(inputs.contiguous(memory_format=LAYOUTS[layout]))

    return loop


def timed(loop: Loop, count: int) -> dict[str, float]:
    """Images a second of the processor and of the clock, and the kernel's share."""
    before, clock = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    loop()
    after, clock = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter() - clock
    user, system = after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime
    found = {"cpu": count / (user + system), "clock": count / clock}
    return {**found, "system": system / (user + system)}


def loops(network: str, size: int, images: Images, whole: bool) -> dict[str, Loop]:
    """The bare loops, by batch and layout; each layout has a network of its own."""
    made: dict[str, Loop] = {}
    for layout in LAYOUTS:
        net = timm.create_model(network, num_classes=0).eval()
        two = Backbone(BackboneConfig(name=network, stem_reduction=1), 3, size).eval()
        read = two.probe_features if two.reads_layers else net
        for batch in BATCHES:
            if batch <= len(images):
                chosen = two.net if two.reads_layers else net
                made[f"{layout} {batch}"] = bare(chosen, read, images, batch, layout, whole)
    return made


def compare(case: str, rounds: int, folder: Path, weights: Path | None) -> dict[str, Any]:
    """One network: ours beside the two fastest loops."""
    network, size, count, kind = CASES[case]
    images = np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    ours: Any = frozen(network, size, folder) if kind == "FrozenEncoder" else None
    if ours is None:
        if weights is None:
            weights = folder / "random.safetensors"
            save_file(timm.create_model(network).state_dict(), weights)
        ours = TimmEncoder(case, network, weights, device="cpu")
    devices.keep_memory()
    every = loops(network, size, images, kind == "TimmEncoder")
    tried = {}
    for name, loop in every.items():
        loop() if name.endswith(f" {BATCHES[0]}") else None  # a layout's first pass is no measure
        tried[name] = timed(loop, count)
    best = sorted(every, key=lambda name: -tried[name]["cpu"])[:2]
    ours.transform(images)
    every["ours"] = lambda: ours.transform(images)
    turns: dict[str, list[dict[str, float]]] = {name: [] for name in [*best, "ours"]}
    for turn in range(rounds):
        for name in turns if turn % 2 else reversed(turns):
            turns[name].append(timed(every[name], count))
    ratio = {
        unit: statistics.median(
            turns["ours"][turn][unit] / max(turns[name][turn][unit] for name in best)
            for turn in range(rounds)
        )
        for unit in ("cpu", "clock")
    }
    of_cpu = {
        name: {unit: statistics.median(one[unit] for one in found) for unit in found[0]}
        for name, found in turns.items()
    }
    ways = [way.sample for known in passes._found.values() for way in known.values()]
    return {"ratio": ratio, **of_cpu, "bytes_a_sample": ways[-1], "tried": tried}


def untouched(case: str) -> dict[str, float]:
    """The loop with the largest batch, nothing told to the C library."""
    network, size, count, kind = CASES[case]
    images = np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    loop = list(loops(network, size, images, kind == "TimmEncoder").values())[-1]
    loop()
    return timed(loop, count)


TRAINING = {"resnet10t": (48, 512), "tf_efficientnet_lite0": (128, 32)}
"""Pixels a side, and images a step."""


def training(steps: int = 3) -> dict[str, dict[str, float]]:
    """Forward, backward and optimiser, one thread."""
    found = {}
    for network, (size, count) in TRAINING.items():
        net = timm.create_model(network, num_classes=0).to(memory_format=torch.channels_last)
        optimizer = torch.optim.AdamW(net.parameters(), fused=True)
        images = torch.randn(count, 3, size, size).contiguous(memory_format=torch.channels_last)

        def loop(net: Any = net, optimizer: Any = optimizer, images: Any = images) -> None:
            for _ in range(steps):
                net(images).square().mean().backward()
                optimizer.step()
                optimizer.zero_grad()

        loop()
        of = timed(loop, steps)
        name = f"{network}, {count} images of {size} px"
        found[name] = {"seconds": 1 / of["cpu"], "system": of["system"]}
    return found


def rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: rounded(one) for name, one in value.items()}
    return float(f"{value:.3g}") if isinstance(value, float) else value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, help="of tf_efficientnet_lite0; else random ones")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--untouched", action="store_true", help="one loop alone, to stdout")
    parser.add_argument("--training", choices=["returned", "kept"], help="that alone, to stdout")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/inference-cpu.json"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads[0])
    if options.untouched:
        sys.stdout.write(json.dumps(untouched(options.cases[0])))
        return
    if options.training:
        if options.training == "kept":
            devices.keep_memory()
        sys.stdout.write(json.dumps(training()))
        return
    results = json.loads(options.out.read_text())["results"] if options.out.is_file() else {}
    results["training"] = rounded({how: alone("--training", how) for how in ("returned", "kept")})
    for threads in options.threads:
        torch.set_num_threads(threads)
        for case in options.cases:
            with tempfile.TemporaryDirectory() as folder:
                found = compare(case, options.rounds, Path(folder), options.weights)
            bare_one = alone("--untouched", "--threads", str(threads), "--cases", case)
            found |= {"untouched": bare_one, "load": os.getloadavg()[0]}
            results[f"{case}, {threads} threads"] = rounded(found)
            sys.stderr.write(f"{case}, {threads} threads: {found['ratio']}\n")
            options.out.write_text(json.dumps(described(results), indent=1) + "\n")


def alone(*words: str) -> Any:
    """A part of this script in a process of its own."""
    command = [sys.executable, __file__, *words]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def described(results: dict[str, Any]) -> dict[str, Any]:
    return {
        "command": "python benchmarks/inference.py --weights tf_efficientnet_lite0.safetensors",
        "machine": f"{os.cpu_count()} cores, {torch.backends.cpu.get_cpu_capability()}, torch "
        f"{torch.__version__}, timm {timm.__version__}",
        "units": "images a second: cpu = of the processor's time, clock = by the clock",
        "results": results,
    }


if __name__ == "__main__":
    main()
