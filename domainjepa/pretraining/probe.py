"""The online probe: what it tells, how it learns, how well it does. It never moves the encoder."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from domainjepa.data.metadata.targets import Target
from domainjepa.distributed import sum_over_ranks, world_size
from domainjepa.pretraining.batches import Batch
from domainjepa.pretraining.plan import Plan
from domainjepa.pretraining.state import RunState

UNLABELLED = -100
"""The class that cross-entropy leaves out."""
COUNTS = ("yes found", "yes", "no found", "no")
"""Sums of a label over held-out rows."""


def probe_loss(logits: Tensor | None, batch: Batch, plan: Plan, state: RunState) -> Tensor | float:
    """The loss of the online probe; its hits on held-out rows are noted in `state.probed`, those of
    all ranks: a checkpoint holds one.

    Cross-entropy of classes, of several labels the binary one where a label is known. The mean is
    over what is known of the global batch and not held out.

    Args:
        logits: (V, N, classes or labels), or None without a probe.
    """
    if logits is None or plan.target is None:
        return 0.0
    if plan.siblings is not None:
        logits = logits[:1]  # the other views are of siblings, whose labels may be others
    values = batch["labels"].to(logits.device)
    held_out = torch.from_numpy(plan.held_out[batch["rows"].numpy()]).to(logits.device)
    if plan.target.kind == "multi-label":
        return _loss_of_labels(logits, values, held_out, state)
    return _loss_of_classes(logits, values, held_out, state)


def _loss_of_classes(logits: Tensor, labels: Tensor, held_out: Tensor, state: RunState) -> Tensor:
    known, views = labels >= 0, len(logits)
    targets = torch.where(known & ~held_out, labels, UNLABELLED).repeat(views)
    flat = logits.flatten(0, 1).float()
    loss = functional.cross_entropy(flat, targets, ignore_index=UNLABELLED, reduction="sum")
    measured = known & held_out
    hits = (logits.argmax(-1) == labels)[:, measured].sum()
    counts = torch.stack([(targets != UNLABELLED).sum(), hits, measured.sum()])
    count, correct, rows = sum_over_ranks(counts)
    state.probed.see(rows.item(), correct=correct.item(), counted=views * rows.item())
    return _mean(loss, count)


def _loss_of_labels(logits: Tensor, marks: Tensor, held_out: Tensor, state: RunState) -> Tensor:
    known, views = marks >= 0, len(logits)
    learned = known & ~held_out[:, None]
    wanted = marks.clamp(min=0).float().expand(views, -1, -1)
    each = functional.binary_cross_entropy_with_logits(logits.float(), wanted, reduction="none")
    loss = (each * learned).sum()
    guess, measured = logits > 0, known & held_out[:, None]
    sides = [(side, measured & (marks == value)) for value, side in ((1, guess), (0, ~guess))]
    rows = [part for side, there in sides for part in (side & there, there.expand(views, -1, -1))]
    counts = torch.stack([part.sum(dim=(0, 1)) for part in rows])
    beside = torch.stack([measured.any(dim=1).sum(), views * learned.sum()])
    *sums, seen, count = sum_over_ranks(torch.cat([counts.flatten(), beside])).tolist()
    labels = marks.shape[1]
    names = [f"{what} {label}" for what in COUNTS for label in range(labels)]
    state.probed.see(seen, **dict(zip(names, sums, strict=True)))
    return _mean(loss, torch.tensor(count, device=loss.device))


def _mean(loss: Tensor, count: Tensor) -> Tensor:
    # DDP takes the mean over ranks of what each rank divides by the mean count of a rank.
    mean: Tensor = loss / (count / world_size()).clamp(min=1)
    return mean


def probe_scores(target: Target | None, sums: dict[str, float]) -> dict[str, float | None]:
    """What a line of `metrics.jsonl` says of the probe.

    `probe_accuracy` on held-out rows, or None, and of how many in `probe_rows`; of several labels
    the mean of their balanced accuracies, each of which is `probe/LABEL`: half of the yes found and
    half of the no found.
    """
    seen: dict[str, float | None] = {"probe_rows": sums["rows"]} if sums.get("rows") else {}
    if target is None or target.kind != "multi-label":
        correct, counted = sums.get("correct", 0.0), sums.get("counted", 0.0)
        return {"probe_accuracy": correct / counted if counted else None, **seen}
    each: dict[str, float | None] = {}
    for place, label in enumerate(target.classes):
        yes_found, yes, no_found, no = (sums.get(f"{what} {place}", 0.0) for what in COUNTS)
        each[f"probe/{label}"] = (yes_found / yes + no_found / no) / 2 if yes and no else None
    known = [value for value in each.values() if value is not None]
    return {"probe_accuracy": float(np.mean(known)) if known else None, **each, **seen}
