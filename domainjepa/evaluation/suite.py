"""Encoders, a source and protocols in; scores with intervals out.

Every encoder sees the same training labels in the same draws. No choice is made on the test set:
what fits a probe is handed training rows and training labels, and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from domainjepa.data.sampling import key
from domainjepa.data.source import Source
from domainjepa.errors import UserError
from domainjepa.evaluation.cohort import Cohort, cohort_of
from domainjepa.evaluation.features import Encoder
from domainjepa.evaluation.finetune import trainable
from domainjepa.evaluation.fitting import Fit, fitting
from domainjepa.evaluation.leaks import leaks
from domainjepa.evaluation.maps import look
from domainjepa.evaluation.pooling import Bags, pooled_features
from domainjepa.evaluation.protocol import Protocol, read_protocol
from domainjepa.evaluation.report import SIDE_BY_SIDE, Seen, write_report
from domainjepa.evaluation.results import Results
from domainjepa.evaluation.scoring import Asked, answered, cell_of, worth_running
from domainjepa.evaluation.targets import OF_EACH, Target
from domainjepa.evaluation.units import Within
from domainjepa.evaluation.weights import Unavailable

MAPPED = 6
"""Test samples whose maps a report shows, unless rows are named."""


def evaluate(
    encoders: Sequence[Encoder],
    source: Source,
    protocols: Sequence[Protocol | str],
    out: Path | None = None,
    *,
    baselines: Sequence[Encoder] = (),
    target: str | None = None,
    per: str | None = None,
    within: Within = "same",
    cache: Path | None = None,
    maps: Sequence[int] = (),
    console: Console | None = None,
) -> Results:
    """Run protocols over encoders.

    An encoder whose published weights cannot be had is left out with a warning, and so are samples
    that the source knows to be unreadable.

    Args:
        encoders: with distinct names, the one of interest first.
        source: with labels, or with the target's column.
        protocols: with distinct names; a text is the name or path of one.
        out: a folder for the report; None writes nothing.
        baselines: what to compare with; they alone are no evaluation.
        target: the column to tell; see `targets.target_of`. By default the source's labels.
        per: `groups` or a column: one answer for all samples that share its value.
        within: what becomes of the label of a unit whose samples have several.
        cache: a folder for features; `out`/features by default.
        maps: rows whose feature and attention maps the report shows; by default six test samples.
        console: where to show progress; None shows nothing.

    Raises:
        UserError: names that are not distinct, no metric for the target, or none of the encoders
            can be had.
        DataError: labels that nothing can be scored on, or features that are none.
    """
    run = [read_protocol(one) if isinstance(one, str) else one for one in protocols]
    both = (*encoders, *baselines) if encoders else ()
    _check_names("encoders", [encoder.name for encoder in both])
    _check_names("protocols", [protocol.name for protocol in run])
    cohort = cohort_of(source, run, target, per=per, within=within)
    cache = cache or (out / "features" if out else None)
    results = _begun(cohort, run, cache)
    ran: list[Encoder] = []
    absent: list[str] = []
    first = cohort.splits[run[0].name]
    for encoder in both:
        try:
            if hasattr(encoder, "adapt"):
                encoder.adapt(source, cohort.units.rows_of(first.train)[0])
            features = cohort.features(encoder, cache, console)
        except Unavailable as error:
            absent.append(f"{encoder.name} is left out: {error}")
            results.warn(absent[-1])
            if not ran and len(absent) == len(encoders):
                raise UserError("no encoder could be evaluated. " + "; ".join(absent)) from error
            continue
        ran.append(encoder)
        shown = cohort.bags(features, first.test)
        results.features[encoder.name] = pooled_features(shown, "mean")
        for protocol in run:
            split = cohort.splits[protocol.name]
            train, test = (cohort.bags(features, part) for part in (split.train, split.test))
            fit = fitting(encoder, protocol, cohort, train)
            if fit is None:
                results.warn(f"{protocol.name}: {encoder.name} has no network to fine-tune")
                continue
            with console.status(f"probes: {encoder.name}") if console else nullcontext():
                _score(encoder.name, protocol, cohort, fit, test, results)
    results.settings = _settings(ran, cohort, run)
    if out is not None:
        write_report(results, source, out, _seen(ran, source, results, maps))
    return results


def _begun(cohort: Cohort, protocols: Sequence[Protocol], cache: Path | None) -> Results:
    """Results without a score: what is told, and what to know before."""
    source, target = cohort.source, cohort.target
    first = cohort.splits[protocols[0].name]
    shown = cohort.units.shown(first.test)
    results = Results({}, source.public_name, target, tuple(protocols), shown)
    for protocol in protocols:
        split = cohort.splits[protocol.name]
        results.metrics(protocol)  # a protocol without one for this target is refused at once
        results.truth[protocol.name] = target.values[split.test]
        for text in _scarce(protocol, target, target.values[split.train]):
            results.warn(text)
    for text in cohort.warnings:
        results.warn(text)
    for text in leaks(source, cohort.row_splits(), cache):
        results.warn(text)
    return results


def _seen(
    encoders: Sequence[Encoder], source: Source, results: Results, rows: Sequence[int]
) -> Seen | None:
    """Maps of a few images by every encoder that has a network of images.

    Raises:
        UserError: a row that the source does not have.
    """
    if source.volumetric:
        return None
    outside = [row for row in rows if not 0 <= row < len(source)]
    if outside:
        raise UserError(f"no row {outside[0]} to draw maps of: rows are 0 to {len(source) - 1}.")
    draw = np.random.default_rng(key("maps", len(source)))
    chosen = list(rows) or np.sort(draw.permutation(results.rows)[:MAPPED]).tolist()
    images = source.__getitems__(chosen)
    maps = {}
    for encoder in encoders:
        network = trainable(encoder)
        found = look(*network, images) if network else None
        if found is not None:
            maps[encoder.name] = found
    return Seen(images, dict(list(maps.items())[:SIDE_BY_SIDE]))


def _score(
    encoder: str, protocol: Protocol, cohort: Cohort, fit: Fit, test: Bags, results: Results
) -> None:
    """Every fit of one encoder under one protocol, scored into the results."""
    target, split = cohort.target, cohort.splits[protocol.name]
    asked = Asked(test, target.values[split.test], cohort.groups(split.test))
    told = answered(fit, protocol, target, split.train, cohort.groups(split.train), [asked])
    metrics = results.metrics(protocol)
    for shots, answers in told.answers[0].items():
        cell = cell_of(target.kind, metrics, asked, answers, protocol.seed)
        results.cells[protocol.name, shots, encoder] = cell
        if shots == results.shots(protocol)[-1]:
            results.answers[protocol.name, encoder] = answers[0]
    if told.unconverged:
        results.warn(
            f"{protocol.name}, {encoder}: {told.unconverged} of {told.fits} probes stopped before "
            "their solver converged; their scores may be a little low"
        )


def _scarce(protocol: Protocol, target: Target, values: NDArray[Any]) -> list[str]:
    """What to know about shots that some classes do not have."""
    strata, names = target.strata(values), target.strata_names(values)
    found, counts = np.unique(strata, return_counts=True)
    one = OF_EACH[target.kind]
    lines = []
    for shots in protocol.shots:
        if shots == "all" or shots <= counts.min():
            continue
        if shots not in worth_running(protocol, strata):
            lines.append(f"{shots} labels a {one}: no {one} has more, so this is the same as all")
            continue
        few = [f"{names[c]} ({n})" for c, n in zip(found, counts, strict=True) if n < shots]
        lines.append(f"{shots} labels a {one}: taken whole, with fewer: {', '.join(few)}")
    return lines


def _check_names(kind: str, names: Sequence[str]) -> None:
    if not names:
        raise UserError(f"nothing to evaluate: there are no {kind}")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(f"two {kind} are named {', '.join(twice)}: their rows would mix")


def _settings(
    encoders: Sequence[Encoder], cohort: Cohort, protocols: Sequence[Protocol]
) -> dict[str, Any]:
    packages = ("domainjepa", "scikit-learn", "numpy", "torch", "timm")
    source, units, target = cohort.source, cohort.units, cohort.target
    described = [
        {
            "name": encoder.name,
            "sha256": getattr(encoder, "sha256", None),
            "weights": getattr(encoder, "origin", None),
            "input": getattr(encoder, "preprocessing", None),
        }
        for encoder in encoders
    ]
    told = []
    for protocol in protocols:
        split = cohort.splits[protocol.name]
        left_out = {"finetune"} - {protocol.probe} | ({"pool"} if units.single else set())
        told.append(
            protocol.model_dump(mode="json", exclude=left_out)
            | ({} if units.single else {"pool": protocol.pooling})
            | {"split": split.decisions, "train": len(split.train), "test": len(split.test)}
        )
    return {
        "data": {
            "name": source.public_name,
            "samples": len(source),
            "fingerprint": source.fingerprint(),
            "grouped": source.groups is not None,
        },
        "units": {"one": units.one, "number": len(units), "samples": len(units.rows)},
        "target": {"name": target.name, "kind": target.kind, "found": target.decision},
        "encoders": [{k: v for k, v in one.items() if v is not None} for one in described],
        "protocols": told,
        "versions": {name: version(name) for name in packages},
    }
