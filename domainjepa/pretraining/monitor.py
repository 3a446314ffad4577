"""What is measured beside the loss, without moving the encoder: online probe, rank, rates."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from domainjepa.distributed import gather_over_ranks
from domainjepa.encoder.standardise import Standardise
from domainjepa.objective.diagnostics import distance_from_gaussian, effective_rank
from domainjepa.pretraining.batches import Batch
from domainjepa.pretraining.network import Network, Outputs
from domainjepa.pretraining.notes import affordable_samples
from domainjepa.pretraining.plan import Plan
from domainjepa.pretraining.probe import probe_scores
from domainjepa.pretraining.progress import Clock, Display
from domainjepa.pretraining.same_data import GONE, gone
from domainjepa.pretraining.state import RunState
from domainjepa.views.shortcuts import Nuisance, shortcuts
from domainjepa.views.views import ViewMaker

TERMS = ("loss", "prediction", "sigreg", "gradient_norm")


def nuisances(plan: Plan, network: Network | None = None) -> list[Nuisance]:
    """How far simple nuisances identify the samples of a run across their views.

    Args:
        plan: of the run.
        network: whose features are asked what they know of each nuisance; None asks none.
    """
    maker = ViewMaker(plan.domain, plan.intensity, plan.config.views, plan.config.seed)
    standardise = Standardise(plan.mean, plan.std).to(plan.device)

    @torch.no_grad()
    def embed(views: list[NDArray[Any]]) -> NDArray[Any]:
        assert network is not None
        network.eval()
        parts = []
        for first in range(0, len(views), plan.config.batch_size):
            stacked = torch.from_numpy(np.stack(views[first : first + plan.config.batch_size]))
            images = standardise(stacked.to(plan.device).permute(0, 3, 1, 2))
            parts.append(network.backbone(images).float().cpu().numpy())
        network.train()
        return np.concatenate(parts)

    seed = plan.config.seed
    return shortcuts(
        maker,
        plan.source,
        plan.rows,
        seed,
        embed=embed if network else None,
        samples=affordable_samples(plan.config),
    )


@torch.no_grad()
def metrics_line(plan: Plan, state: RunState, outputs: Outputs, clock: Clock) -> dict[str, Any]:
    """One line of `metrics.jsonl`; every rank takes part in its reductions."""
    sums = state.meter.take()
    steps = sums.pop("steps", 0.0)  # those that were taken: a batch that was no number adds nothing
    probe = probe_scores(plan.target, state.probed.sums)
    views = plan.config.views.num_global
    features = gather_over_ranks(outputs.features[:views].float().flatten(0, 1))
    finite = bool(torch.isfinite(features).all())
    embeddings = outputs.embeddings[:views].float()
    timed_steps, seconds, shares = clock.take()
    return {
        "step": state.step,
        "epoch": state.step / plan.steps_an_epoch,
        **{name: sums[name] / steps if steps else math.nan for name in TERMS},
        "gaussian_distance": float(distance_from_gaussian(embeddings, state.step)),
        "effective_rank": float(effective_rank(features)) if finite else math.nan,
        **probe,
        "lr": state.optimizer.param_groups[0]["lr"],
        "samples_per_s": timed_steps * plan.config.batch_size / seconds,
        "wait": shares.get("wait", 0.0) / seconds,
    }


def note_unreadable(plan: Plan, state: RunState, batch: Batch, display: Display) -> None:
    """Counts the samples that others stood in for, on all ranks.

    Raises:
        DataError: more than `data.skip_unreadable` allows.
    """
    if not plan.config.data.skip_unreadable:
        return
    lost = batch.get("unreadable", torch.zeros(0, dtype=torch.int64)).to(plan.device)
    new = state.unreadable.add(gather_over_ranks(lost).tolist())
    if new:
        rows = ", ".join(map(str, new))
        display.say(f"cannot be read, another sample stands in: row {rows}")


def afterthoughts(plan: Plan, state: RunState) -> list[tuple[str, str]]:
    """What only the trained encoder and the whole run can tell, for terminal and report."""
    notes = []
    if state.unreadable.rows:
        told = f"{len(state.unreadable.rows):,} samples, others stood in for them"
        notes.append(("unreadable", f"{told}: {state.unreadable.told()}"))
    if gone(plan):
        notes.append(("data", GONE))
    elif plan.config.log.shortcuts:
        found = nuisances(plan, state.network)
        learned = ", ".join(f"{one.name} {one.predicted:.2f}" for one in found)
        if learned:
            notes.append(("shortcuts", f"R2 of nuisances from the features: {learned}"))
    return notes
