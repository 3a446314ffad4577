"""Encoders, a source and protocols in; scores with intervals out.

Every encoder sees the same training labels in the same draws. No choice is made on the test set:
what fits a probe is handed training features and training labels, and nothing else.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

from domainjepa.data.sampling import key
from domainjepa.data.source import Source
from domainjepa.errors import UserError
from domainjepa.evaluation.features import Encoder, Features, features_of
from domainjepa.evaluation.probes import PROBES
from domainjepa.evaluation.protocol import Protocol, read_protocol
from domainjepa.evaluation.report import write_report
from domainjepa.evaluation.results import Cell, Results
from domainjepa.evaluation.scores import METRICS, Array, confusion, resampled_confusions
from domainjepa.evaluation.splits import Rows, Shots, Split, draw_shots, train_test, tuning_folds

SMALL = 10_000_000
"""Numbers in a feature matrix below which BLAS threads wait for each other longer than they work:
on a machine with other work, ten times longer."""


def evaluate(
    encoders: Sequence[Encoder],
    source: Source,
    protocols: Sequence[Protocol | str],
    out: Path | None = None,
    *,
    cache: Path | None = None,
    console: Console | None = None,
) -> Results:
    """Run protocols over encoders.

    Args:
        encoders: with distinct names, the one of interest first.
        source: with labels.
        protocols: with distinct names; a text is the name or path of one.
        out: a folder for the report; None writes nothing.
        cache: a folder for features; `out`/features by default.
        console: where to show progress; None shows nothing.

    Raises:
        UserError: names that are not distinct.
        DataError: labels that nothing can be scored on, or features that are none.
    """
    run = [read_protocol(one) if isinstance(one, str) else one for one in protocols]
    _check_names("encoders", [encoder.name for encoder in encoders])
    _check_names("protocols", [protocol.name for protocol in run])
    splits = {protocol: train_test(source, protocol.seed) for protocol in run}
    labels = source.labels
    assert labels is not None  # train_test refuses a source without
    classes = source.classes or tuple(str(label) for label in range(int(labels.max()) + 1))
    settings = _settings(encoders, source, splits)
    results = Results(settings, source.public_name, tuple(run), classes, splits[run[0]].test)
    for protocol, split in splits.items():
        results.truth[protocol.name] = labels[split.test]
        for text in [*split.warnings, *_scarce(protocol, labels[split.train], classes)]:
            results.warn(text)
    rows = np.unique(np.concatenate([r for s in splits.values() for r in (s.train, s.test)]))
    for encoder in encoders:
        features = features_of(
            encoder,
            source,
            rows,
            cache=cache or (out / "features" if out else None),
            console=console,
        )
        results.features[encoder.name] = features[np.searchsorted(rows, results.rows)]
        for protocol, split in splits.items():
            train, test = (
                features[np.searchsorted(rows, part)] for part in (split.train, split.test)
            )
            with console.status(f"probes: {encoder.name}") if console else nullcontext():
                _probe(encoder.name, protocol, source, split, train, test, results)
    if out is not None:
        write_report(results, source, out)
    return results


def fit_probe(
    protocol: Protocol, features: Features, labels: Rows, groups: Rows | None = None
) -> tuple[Pipeline, bool]:
    """A probe fitted on training features alone, and whether its solver converged."""
    folds = tuning_folds(labels, seed=protocol.seed, groups=groups)
    threads = 1 if features.size < SMALL else None
    with warnings.catch_warnings(record=True) as caught, threadpool_limits(threads):
        warnings.simplefilter("always")
        probe = PROBES[protocol.probe](features, labels, folds)
    stopped = [one for one in caught if issubclass(one.category, ConvergenceWarning)]
    for one in caught:
        if one not in stopped:
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
    return probe, not stopped


def _probe(
    encoder: str,
    protocol: Protocol,
    source: Source,
    split: Split,
    train: Features,
    test: Features,
    results: Results,
) -> None:
    """Every probe of one encoder under one protocol, put into the results."""
    assert source.labels is not None
    labels, truth = source.labels[split.train], source.labels[split.test]
    groups = None if source.groups is None else source.groups[split.train]
    fits = unconverged = 0
    for shots in _worth_running(protocol, labels):
        predictions = []
        for draw in range(1 if shots == "all" else protocol.draws):
            chosen = draw_shots(labels, shots, seed=protocol.seed, draw=draw, groups=groups)
            of_chosen = None if groups is None else groups[chosen]
            probe, converged = fit_probe(protocol, train[chosen], labels[chosen], of_chosen)
            fits, unconverged = fits + 1, unconverged + (not converged)
            predictions.append(probe.predict(test))
        matrices = np.stack([confusion(truth, one, len(results.classes)) for one in predictions])
        resampled = None
        if shots == "all":
            matrices_of_resamples = resampled_confusions(
                truth,
                predictions[0],
                len(results.classes),
                seed=key(protocol.seed, "resample"),
                groups=None if source.groups is None else source.groups[split.test],
            )
            resampled = _scores(protocol, matrices_of_resamples)
        cell = Cell(_scores(protocol, matrices), resampled)
        results.cells[protocol.name, shots, encoder] = cell
        if shots == results.shots(protocol)[-1]:
            results.predictions[protocol.name, encoder] = predictions[0]
    if unconverged:
        results.warn(
            f"{protocol.name}, {encoder}: {unconverged} of {fits} probes stopped before their "
            "solver converged; their scores may be a little low"
        )


def _scores(protocol: Protocol, matrices: Array) -> dict[str, Array]:
    return {name: METRICS[name](matrices) for name in protocol.metrics}


def _worth_running(protocol: Protocol, labels: Rows) -> list[Shots]:
    """The shots that differ from all labels, where all labels are asked for too."""
    most = np.bincount(labels).max()
    if "all" not in protocol.shots:
        return list(protocol.shots)
    return [shots for shots in protocol.shots if shots == "all" or shots < most]


def _scarce(protocol: Protocol, labels: Rows, classes: Sequence[str]) -> list[str]:
    """What to know about shots that some classes do not have."""
    found, counts = np.unique(labels, return_counts=True)
    lines = []
    for shots in protocol.shots:
        if shots == "all" or shots <= counts.min():
            continue
        if shots not in _worth_running(protocol, labels):
            lines.append(f"{shots} labels a class: no class has more, so this is the same as all")
            continue
        few = [f"{classes[c]} ({n})" for c, n in zip(found, counts, strict=True) if n < shots]
        lines.append(f"{shots} labels a class: taken whole, with fewer: {', '.join(few)}")
    return lines


def _check_names(kind: str, names: Sequence[str]) -> None:
    if not names:
        raise UserError(f"nothing to evaluate: there are no {kind}")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(f"two {kind} are named {', '.join(twice)}: their rows would mix")


def _settings(
    encoders: Sequence[Encoder], source: Source, splits: dict[Protocol, Split]
) -> dict[str, Any]:
    packages = ("domainjepa", "scikit-learn", "numpy", "torch", "timm")
    return {
        "data": {
            "name": source.public_name,
            "samples": len(source),
            "fingerprint": source.fingerprint(),
            "grouped": source.groups is not None,
        },
        "encoders": [
            {"name": encoder.name, "sha256": getattr(encoder, "sha256", None)}
            for encoder in encoders
        ],
        "protocols": [
            protocol.model_dump(mode="json")
            | {"split": split.decisions, "train": len(split.train), "test": len(split.test)}
            for protocol, split in splits.items()
        ],
        "versions": {name: version(name) for name in packages},
    }
