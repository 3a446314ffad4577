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

from domainjepa.data.quarantine import told
from domainjepa.data.sampling import key
from domainjepa.data.source import Source
from domainjepa.errors import UserError
from domainjepa.evaluation.features import Encoder, features_of
from domainjepa.evaluation.finetune import trainable
from domainjepa.evaluation.fitting import Fit, fitting, groups_of
from domainjepa.evaluation.intervals import RESAMPLES, RESAMPLES_OF_DRAWS
from domainjepa.evaluation.leaks import leaks
from domainjepa.evaluation.maps import look
from domainjepa.evaluation.protocol import Protocol, read_protocol
from domainjepa.evaluation.report import SIDE_BY_SIDE, Seen, write_report
from domainjepa.evaluation.results import Cell, Results
from domainjepa.evaluation.scores import resamples, score
from domainjepa.evaluation.splits import Rows, Shots, Split, draw_shots, train_test
from domainjepa.evaluation.targets import OF_EACH, Target, target_of
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
    wanted = target_of(source, target)
    lost = source.unreadable(range(len(source)))
    wanted.known[lost] = False
    splits = {protocol: train_test(source, wanted, protocol.seed) for protocol in run}
    cache = cache or (out / "features" if out else None)
    first = splits[run[0]]
    results = Results({}, source.public_name, wanted, tuple(run), first.test)
    for protocol, split in splits.items():
        results.metrics(protocol)  # a protocol without one for this target is refused at once
        results.truth[protocol.name] = wanted.values[split.test]
        for text in [*split.warnings, *_scarce(protocol, wanted, wanted.values[split.train])]:
            results.warn(text)
    if lost:
        results.warn(f"{len(lost)} of {len(source)} samples cannot be read: {told(lost)}")
    for text in leaks(source, list(splits.values()), cache):
        results.warn(text)
    rows = np.unique(np.concatenate([r for s in splits.values() for r in (s.train, s.test)]))
    ran: list[Encoder] = []
    absent: list[str] = []
    for encoder in both:
        try:
            if hasattr(encoder, "adapt"):
                encoder.adapt(source, first.train)
            features = features_of(encoder, source, rows, cache=cache, console=console)
        except Unavailable as error:
            absent.append(f"{encoder.name} is left out: {error}")
            results.warn(absent[-1])
            if not ran and len(absent) == len(encoders):
                raise UserError("no encoder could be evaluated. " + "; ".join(absent)) from error
            continue
        ran.append(encoder)
        results.features[encoder.name] = features[np.searchsorted(rows, results.rows)]
        for protocol, split in splits.items():
            train, test = (
                features[np.searchsorted(rows, part)] for part in (split.train, split.test)
            )
            fit = fitting(encoder, protocol, source, wanted, split, train, test)
            if fit is None:
                results.warn(f"{protocol.name}: {encoder.name} has no network to fine-tune")
                continue
            with console.status(f"probes: {encoder.name}") if console else nullcontext():
                _score(encoder.name, protocol, source, split, fit, results)
    results.settings = _settings(ran, source, wanted, splits)
    if out is not None:
        write_report(results, source, out, _seen(ran, source, results, maps))
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
    encoder: str, protocol: Protocol, source: Source, split: Split, fit: Fit, results: Results
) -> None:
    """Every fit of one encoder under one protocol, scored into the results."""
    target, truth = results.target, results.truth[protocol.name]
    strata = target.strata(target.values[split.train])
    groups, groups_of_test = groups_of(source, split.train), groups_of(source, split.test)
    metrics = results.metrics(protocol)
    fits = unconverged = 0
    for shots in _worth_running(protocol, strata):
        draws = protocol.draws_of(shots)
        found = []
        for draw in range(draws):
            chosen = draw_shots(strata, shots, seed=protocol.seed, draw=draw, groups=groups)
            answer, converged = fit(chosen)
            fits, unconverged = fits + 1, unconverged + (not converged)
            found.append(answer)
        values = [score(target.kind, metrics, truth, answer) for answer in found]
        resampled: list[list[dict[str, Any]]] = [[] for _ in found]
        number = RESAMPLES if draws == 1 else RESAMPLES_OF_DRAWS
        seed = key(protocol.seed, "resample")
        for weights in resamples(len(truth), number, seed=seed, groups=groups_of_test):
            for answer, parts in zip(found, resampled, strict=True):
                parts.append(score(target.kind, metrics, truth, answer, weights))
        results.cells[protocol.name, shots, encoder] = Cell(
            {name: np.concatenate([of[name] for of in values]) for name in metrics},
            {
                name: np.stack([np.concatenate([of[name] for of in parts]) for parts in resampled])
                for name in metrics
            },
        )
        if shots == results.shots(protocol)[-1]:
            results.answers[protocol.name, encoder] = found[0]
    if unconverged:
        results.warn(
            f"{protocol.name}, {encoder}: {unconverged} of {fits} probes stopped before their "
            "solver converged; their scores may be a little low"
        )


def _worth_running(protocol: Protocol, strata: Rows) -> list[Shots]:
    """The shots that differ from all labels, where all labels are asked for too."""
    most = np.bincount(strata).max()
    if "all" not in protocol.shots:
        return list(protocol.shots)
    return [shots for shots in protocol.shots if shots == "all" or shots < most]


def _scarce(protocol: Protocol, target: Target, values: NDArray[Any]) -> list[str]:
    """What to know about shots that some classes do not have."""
    strata, names = target.strata(values), target.strata_names(values)
    found, counts = np.unique(strata, return_counts=True)
    one = OF_EACH[target.kind]
    lines = []
    for shots in protocol.shots:
        if shots == "all" or shots <= counts.min():
            continue
        if shots not in _worth_running(protocol, strata):
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
    encoders: Sequence[Encoder], source: Source, target: Target, splits: dict[Protocol, Split]
) -> dict[str, Any]:
    packages = ("domainjepa", "scikit-learn", "numpy", "torch", "timm")
    described = [
        {
            "name": encoder.name,
            "sha256": getattr(encoder, "sha256", None),
            "weights": getattr(encoder, "origin", None),
            "input": getattr(encoder, "preprocessing", None),
        }
        for encoder in encoders
    ]
    return {
        "data": {
            "name": source.public_name,
            "samples": len(source),
            "fingerprint": source.fingerprint(),
            "grouped": source.groups is not None,
        },
        "target": {"name": target.name, "kind": target.kind, "found": target.decision},
        "encoders": [{k: v for k, v in one.items() if v is not None} for one in described],
        "protocols": [
            protocol.model_dump(
                mode="json", exclude=None if protocol.probe == "finetune" else {"finetune"}
            )
            | {"split": split.decisions, "train": len(split.train), "test": len(split.test)}
            for protocol, split in splits.items()
        ],
        "versions": {name: version(name) for name in packages},
    }
