"""Encoders and a source with masks in; Dice, IoU and distances with intervals out.

Every encoder sees the same pixels of the same images in the same draws, and no choice is made on
test images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.markup import escape

from domainjepa.backbones.weights import Unavailable
from domainjepa.config import TargetConfig
from domainjepa.data.metadata.targets import Target
from domainjepa.data.source import Source
from domainjepa.errors import UserError
from domainjepa.evaluation.cohorts.cohort import Cohort
from domainjepa.evaluation.encoders.features import Encoder
from domainjepa.evaluation.guards.leaks import leaks
from domainjepa.evaluation.metrics import shown as shown_as
from domainjepa.evaluation.protocol import Protocol
from domainjepa.evaluation.reporting.described import described
from domainjepa.evaluation.results.results import Results
from domainjepa.evaluation.segmentation.cases import cases_of, held_out, units_with_masks
from domainjepa.evaluation.segmentation.cells import cell_of_masks
from domainjepa.evaluation.segmentation.classes import classes_of
from domainjepa.evaluation.segmentation.dense import dense
from domainjepa.evaluation.segmentation.examples import Chosen
from domainjepa.evaluation.segmentation.finetune import on_network
from domainjepa.evaluation.segmentation.fitting import on_patches
from domainjepa.evaluation.segmentation.grid_check import too_coarse
from domainjepa.evaluation.segmentation.maps import first_component, maps_of
from domainjepa.evaluation.segmentation.scoring import Fit, MaskCohort, score
from domainjepa.evaluation.segmentation.seen import seen_of

COLLAPSED = 0.9
"""Share of the first principal component of patch features from which on they say one thing."""
LOOKED_AT = 32
"""Training samples, at most, whose patch features are looked at as such."""


def evaluate_masks(
    encoders: Sequence[Encoder],
    source: Source,
    protocols: Sequence[Protocol],
    *,
    baselines: Sequence[Encoder] = (),
    settings: TargetConfig | None = None,
    per: str | None = None,
    cache: Path | None = None,
    console: Console | None = None,
) -> Results:
    """Run protocols of masks over encoders; see `suite.evaluate` for what is shared.

    Args:
        encoders: with distinct names, the one of interest first.
        source: with masks.
        protocols: with patch features.
        baselines: what to compare with.
        settings: `target.*`.
        per: a column, or `groups`: units are all images of a patient, in the place of images.
        cache: folder for patch features.
        console: where to show progress.

    Raises:
        DataError: no masks, nothing to tell in them, or too few to hold some out.
        UserError: no encoder could be evaluated.
    """
    units = units_with_masks(source, per)
    rows = np.sort(units.rows)
    classes, pixels = classes_of(source, rows, settings, console)
    seen, cases = seen_of(source, classes), cases_of(source)
    splits = {one.name: held_out(units, one.seed) for one in protocols}
    cohorts = {name: MaskCohort(seen, units, split, cases) for name, split in splits.items()}
    there = np.zeros((len(units), len(classes.scored)), np.int64)
    order = np.searchsorted(rows, units.rows)
    number = np.repeat(np.arange(len(units)), units.sizes)
    np.maximum.at(there, number, (pixels[order][:, list(classes.scored)] > 0).astype(np.int64))
    target = Target(
        "masks", "masks", there, np.ones(len(units), bool), classes.scored_names,
        f"{classes.said}; {units.one}s are scored, distances in {'mm' if seen.in_mm else 'pixels'}",
        far=f"hausdorff_95_{'mm' if seen.in_mm else 'px'}",
    )  # fmt: skip
    split = splits[protocols[0].name]
    results = Results({}, source.public_name, target, tuple(protocols), units.shown(split.test))
    home = Cohort(source, units, target, splits, tuple(split.warnings))
    _begin(results, home, cache, console)
    chosen: dict[str, Chosen] = {}
    ran = []
    for encoder in (*encoders, *baselines):
        try:
            _run(encoder, cohorts, results, chosen, cache, console)
            ran.append(encoder)
        except Unavailable as error:
            results.warn(f"{encoder.name} is left out: {error}")
    if not results.cells:
        raise UserError("no encoder could be evaluated. " + "; ".join(results.warnings))
    results.examples = {name: one.examples(cohorts[name]) for name, one in chosen.items()}
    results.settings = described(ran, {results.data: home}, protocols)
    results.settings["patches"] = results.patches
    return results


def _begin(results: Results, home: Cohort, cache: Path | None, console: Console | None) -> None:
    """What is told before the first long step."""
    for protocol in results.protocols:
        split = home.splits[protocol.name]
        results.metrics(protocol)  # a protocol without one of masks is refused at once
        results.truth[protocol.name] = home.target.values[split.test]
        number = len(split.train)
        for shots in protocol.shots:
            if shots != "all" and shots > number and not protocol.ladder:
                results.warn(f"{shots} {home.units.one}s: there are {number} to train on")
    split = home.splits[results.protocols[0].name]
    for text in [*home.warnings, *home.units.said, *leaks(home.source, home.row_splits(), cache)]:
        results.warn(text)
    without = int((~home.source.masks.known).sum()) if home.source.masks else 0
    if without:
        results.warn(f"{without:,} of {len(home.source):,} samples have no mask and take no part")
    if console:
        for text in (home.target.decision, *split.decisions):
            console.print(escape(f"{results.data}: {text}"), highlight=False)


def _run(
    encoder: Encoder,
    cohorts: Mapping[str, MaskCohort],
    results: Results,
    chosen: dict[str, Chosen],
    cache: Path | None,
    console: Console | None,
) -> None:
    """One encoder under every protocol."""
    some = next(iter(cohorts.values()))
    if hasattr(encoder, "adapt"):
        encoder.adapt(some.seen.source, some.numbering(some.split.train).rows)
    for protocol in results.protocols:
        cohort = cohorts[protocol.name]
        fit = _fit(encoder, cohort, protocol, results, cache, console)
        if fit is None:
            continue
        metrics = results.metrics(protocol)
        shown = (console, f"{protocol.name}: probes of {encoder.name}")
        told = score(fit, cohort, protocol, metrics, shown)
        if told.unconverged:
            results.warn(
                f"{protocol.name}, {encoder.name}: {told.unconverged} of {told.fits} probes stopped"
                " before their solver converged; their scores may be a little low"
            )
        names, groups = results.target.classes, cohort.groups(cohort.split.test)
        for shots, scores in told.scores.items():
            cell = cell_of_masks(scores, names, groups, protocol.seed)
            results.cells[protocol.name, shots, encoder.name] = cell
        if encoder.name not in results.order:
            results.order.append(encoder.name)
        most = told.scores[results.shots(protocol)[-1]]
        if protocol.name not in chosen:
            lower = shown_as(metrics[0]).lower
            chosen[protocol.name] = Chosen.by(most[metrics[0]], lower)
        chosen[protocol.name].answers[encoder.name] = told.last


def _fit(
    encoder: Encoder,
    cohort: MaskCohort,
    protocol: Protocol,
    results: Results,
    cache: Path | None,
    console: Console | None,
) -> Fit | None:
    """How a protocol fits an encoder; None where it cannot, which is told."""
    if protocol.probe == "finetune":
        return on_network(encoder, cohort, protocol)
    train = cohort.numbering(cohort.split.train).rows
    found = dense(encoder, protocol.patches, cohort.seen, train)
    if found is None:
        results.warn(f"{protocol.name}: {encoder.name} has no patch features")
        return None
    used = np.concatenate([cohort.split.train, cohort.split.test])
    rows = np.sort(cohort.numbering(used).rows)
    maps = maps_of(found, cohort.seen.source, rows, cache=cache, console=console)
    first, pitch = maps[int(train[0])]
    if text := too_coarse(encoder.name, pitch, cohort.seen, train):
        results.warn(text)
    some = train[np.unique(np.linspace(0, len(train) - 1, LOOKED_AT).astype(np.int64))]
    share = first_component(maps, some.tolist())
    results.patches[encoder.name] = {
        "layers": getattr(found, "layers", None),
        "features": first.shape[-1],
        "pixels_apart": pitch,
        "first_component": round(share, 4),
    }
    if share > COLLAPSED and hasattr(found, "layers"):  # an intensity is one thing by itself
        results.warn(
            f"{encoder.name} is collapsed: one direction holds {100 * share:.1f} % of the variance "
            "of its patch features"
        )
    return on_patches(maps, cohort, protocol)
