"""What is measured beside the loss, without moving the encoder: online probe, rank, rates."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from domainjepa.data.sampling import key
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
from domainjepa.views.related import nearer_than_strangers
from domainjepa.views.shortcuts import FEWEST, SAMPLES, Nuisance, shortcuts
from domainjepa.views.views import ViewMaker

TERMS = ("loss", "prediction", "sigreg", "gradient_norm")


def nuisances(plan: Plan, network: Network | None = None) -> list[Nuisance]:
    """How far simple nuisances identify the samples of a run across their views.

    Args:
        plan: of the run.
        network: whose features are asked what they know of each nuisance; None asks none.
    """
    seed = plan.config.seed
    return shortcuts(
        plan.maker(),
        plan.source,
        plan.rows,
        seed,
        embed=_embedder(plan, network) if network else None,
        samples=affordable_samples(plan.config),
    )


def _embedder(plan: Plan, network: Network) -> Callable[[list[NDArray[Any]]], NDArray[Any]]:
    """What gives (N, D) features of (S, S, C) views."""
    standardise = Standardise(plan.mean, plan.std).to(plan.device)

    @torch.no_grad()
    def embed(views: list[NDArray[Any]]) -> NDArray[Any]:
        network.eval()
        parts = []
        for first in range(0, len(views), plan.config.batch_size):
            stacked = torch.from_numpy(np.stack(views[first : first + plan.config.batch_size]))
            images = standardise(stacked.to(plan.device).permute(0, 3, 1, 2))
            parts.append(network.backbone(images).float().cpu().numpy())
        network.train()
        return np.concatenate(parts)

    return embed


def siblings_told(plan: Plan, network: Network) -> str:
    """Whether the features know siblings from strangers; nothing where views are of one sample, or
    too few samples have a sibling."""
    if plan.siblings is None:
        return ""
    known = plan.rows[plan.siblings.counts(plan.rows) > 0]
    if len(known) < FEWEST:
        return ""
    keyed = key(plan.config.seed, "related")
    chosen = np.sort(np.random.default_rng(keyed).permutation(known)[:SAMPLES])
    # Crops of their own: two views of one place may be alike for that alone.
    changed = {"num_global": 2, "num_local": 0, "related_crops": "free"}
    views = plan.config.views.model_copy(update=changed)
    maker = ViewMaker(plan.domain, plan.intensity, views, keyed, plan.siblings)
    pairs = [
        maker(seen[0], epoch=0, sample=row, siblings=seen[1:])
        for row in chosen.tolist()
        for seen in maker.read(plan.source, [(0, row)])
    ]
    drawn = [plan.siblings.drawn(keyed, 0, row, 1) for row in chosen.tolist()]
    place = plan.siblings.place[np.concatenate(drawn)]
    first, stop = plan.siblings.first[chosen, None], plan.siblings.stop[chosen, None]
    features = _embedder(plan, network)([view for pair in pairs for view in pair])
    both = np.asarray(features, np.float64).reshape(len(chosen), 2, -1)
    found = nearer_than_strangers(both[:, 0], both[:, 1], (place < first) | (place >= stop))
    told = f"a sibling is nearer than a stranger in {100 * found:.0f} % (by chance 50 %)"
    if found < 0.5 + 3 * np.sqrt(1 / 12 / len(chosen)):
        told += (
            ". WARNING: the features do not know siblings from strangers, so views.related relates "
            "what has nothing in common, or nothing was learned: compare a run without it"
        )
    return told


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
    if not gone(plan) and (told := siblings_told(plan, state.network)):
        notes.append(("related", told))
    return notes
