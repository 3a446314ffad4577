"""What is measured beside the loss, without moving the encoder: online probe, rank, rates."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from domainjepa.batches import Batch
from domainjepa.distributed import gather_over_ranks, sum_over_ranks
from domainjepa.network import Outputs
from domainjepa.objective.diagnostics import distance_from_gaussian, effective_rank
from domainjepa.plan import Plan
from domainjepa.progress import Clock
from domainjepa.state import RunState

PROBE_HOLDOUT = 10
"""Every tenth row never trains the online probe: its accuracy is measured on those."""


def probe_loss(logits: Tensor | None, batch: Batch, state: RunState) -> Tensor | float:
    """Cross-entropy of the online probe; its hits on held-out rows are added to the meter."""
    if logits is None:
        return 0.0
    labels = batch["labels"].to(logits.device)
    held_out = (batch["rows"] % PROBE_HOLDOUT == 0).to(logits.device)
    views = len(logits)
    targets = torch.where(held_out, -100, labels).repeat(views)
    flat = logits.flatten(0, 1).float()
    loss = functional.cross_entropy(flat, targets, ignore_index=-100, reduction="sum")
    hits = (logits.argmax(-1) == labels)[:, held_out].sum()
    state.meter.add(correct=hits.item(), counted=views * held_out.sum().item())
    return loss / (~held_out).sum().clamp(min=1) / views


@torch.no_grad()
def measure(plan: Plan, state: RunState, outputs: Outputs, clock: Clock) -> dict[str, Any]:
    """One line of `metrics.jsonl`; every rank takes part in its reductions."""
    sums = state.meter.take()
    steps = sums.pop("steps")
    hits = [sums.pop("correct", 0.0), sums.pop("counted", 0.0)]
    correct, counted = sum_over_ranks(torch.tensor(hits, device=plan.device)).tolist()
    views = plan.config.views.num_global
    features = gather_over_ranks(outputs.features[:views].float().flatten(0, 1))
    finite = bool(torch.isfinite(features).all())
    embeddings = outputs.embeddings[:views].float()
    seconds, shares = clock.take()
    return {
        "step": state.step,
        "epoch": state.step / plan.steps_an_epoch,
        **{name: value / steps for name, value in sums.items()},
        "gaussian_distance": float(distance_from_gaussian(embeddings, state.step)),
        "effective_rank": float(effective_rank(features)) if finite else math.nan,
        "probe_accuracy": correct / counted if counted else None,
        "lr": state.optimizer.param_groups[0]["lr"],
        "samples_per_s": steps * plan.config.batch_size / seconds,
        "wait": shares.get("wait", 0.0) / seconds,
    }
