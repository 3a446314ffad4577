"""The objective of a peer beside ours, in the peer's environment: time, memory, and what it says.

PEER/bin/python objectives.py PEER OUT.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from domainjepa import LeJEPALoss, SIGReg

LAMBDA, T_MAX = 0.05, 3.0
SHAPES = ((2, 128, 64, 256), (2, 128, 64, 1024), (10, 128, 64, 1024))
"""Views, samples, dimensions, slices."""
AGREEMENTS = (0.0, 0.5, 0.9)
REPEATS, CALLS = 25, 12

Loss = Callable[[Tensor], Tensor]


def of_lightly(slices: int) -> tuple[Loss, Loss]:
    """The loss and its SIGReg; t_max 3 is its default."""
    from lightly.loss.lejepa_loss import SIGReg as Regulariser
    from lightly.loss.lejepa_loss import lejepa_invariance_loss

    sigreg = Regulariser(num_vectors=slices)

    def loss(z: Tensor) -> Tensor:
        prediction: Tensor = lejepa_invariance_loss(all_proj=z, global_proj=z)
        return LAMBDA * sigreg(z) + (1 - LAMBDA) * prediction

    return loss, sigreg


def of_stable_pretraining(slices: int) -> tuple[Loss, Loss]:
    """The loss and its SIGReg, which takes all views as one sample; t_max 3 is its default."""
    from stable_pretraining.methods.lejepa import SlicedEppsPulley

    pooled = SlicedEppsPulley(num_slices=slices)

    def sigreg(z: Tensor) -> Tensor:
        return pooled(z.flatten(0, 1))  # type: ignore[no-any-return]

    def loss(z: Tensor) -> Tensor:
        return (z.mean(0) - z).square().mean() + LAMBDA * sigreg(z)

    return loss, sigreg


PEERS = {"lightly": of_lightly, "stable-pretraining": of_stable_pretraining}


def ours(slices: int) -> tuple[Loss, Loss]:
    """Ours with its defaults, its directions drawn anew at each call as those of the peers are."""
    steps = iter(range(10**9))
    sigreg = SIGReg(num_slices=slices)
    lejepa = LeJEPALoss(LAMBDA, sigreg)
    return (
        lambda z: lejepa(z, num_global=len(z), step=next(steps)).loss,
        lambda z: sigreg(z, step=next(steps)),
    )


def timed(peer: str, shape: tuple[int, ...]) -> dict[str, object]:
    """Medians of forward plus backward, seconds of the processor, one after the other in turn."""
    *size, slices = shape
    z = torch.randn(size, requires_grad=True)
    losses = {"domainjepa": ours(slices)[0], peer: PEERS[peer](slices)[0]}
    seconds: dict[str, list[float]] = {name: [] for name in losses}
    for repeat in range(REPEATS + 3):
        for name, loss in losses.items():
            z.grad = None
            start = time.process_time()
            loss(z).backward()
            if repeat >= 3:
                seconds[name].append(time.process_time() - start)
    times = {name: statistics.median(found) for name, found in seconds.items()}
    ratios = [a / b for a, b in zip(seconds[peer], seconds["domainjepa"], strict=True)]
    return {
        "views, samples, dimensions, slices": shape,
        "milliseconds": {name: round(1e3 * found, 2) for name, found in times.items()},
        "ratio": round(statistics.median(ratios), 2),
    }


def told(peer: str, agreement: float, spread: float) -> dict[str, float]:
    """What its SIGReg is and how steep, as a multiple of ours, with the slices of `CALLS` calls.

    Args:
        peer: of `PEERS`.
        agreement: the correlation of the two views of a sample.
        spread: the standard deviation of the embeddings; 1 is what SIGReg asks for.
    """
    draw = torch.Generator().manual_seed(0)
    shared, apart = torch.randn(1, 128, 64, generator=draw), torch.randn(2, 128, 64, generator=draw)
    z = spread * (agreement**0.5 * shared + (1 - agreement) ** 0.5 * apart)
    values, slopes = {}, {}
    for name, sigreg in (("ours", ours(1024)[1]), ("its", PEERS[peer](1024)[1])):
        leaf = z.clone().requires_grad_()
        value = sum((sigreg(leaf) for _ in range(CALLS)), torch.zeros(())) / CALLS
        value.backward()
        assert leaf.grad is not None
        values[name], slopes[name] = value.item(), leaf.grad.norm().item()
    return {
        "agreement": agreement,
        "spread": spread,
        "value": round(values["its"] / values["ours"], 3),
        "gradient": round(slopes["its"] / slopes["ours"], 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("out", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    found = {
        "forward plus backward": [timed(asked.peer, shape) for shape in SHAPES],
        "SIGReg as a multiple of ours": [
            told(asked.peer, agreement, spread) for spread in (1.0, 2.0) for agreement in AGREEMENTS
        ],
    }
    asked.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
