"""Encoders, a source and protocols in; scores with intervals out.

Every encoder sees the same training labels in the same draws. No choice is made on the test set:
what fits a probe is handed training rows and training labels, and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.markup import escape

from domainjepa.backbones.weights import Unavailable
from domainjepa.config import TargetConfig
from domainjepa.data.sampling import key
from domainjepa.data.source import Source
from domainjepa.errors import UserError
from domainjepa.evaluation.cohorts.apart import Column, column_of, has_column
from domainjepa.evaluation.cohorts.cohort import Cohort, cohort_of
from domainjepa.evaluation.cohorts.elsewhere import cohort_elsewhere, shared_with_training
from domainjepa.evaluation.cohorts.units import Within
from domainjepa.evaluation.encoders.features import Encoder
from domainjepa.evaluation.encoders.scratch import trained_anew
from domainjepa.evaluation.guards.collapse import collapsed
from domainjepa.evaluation.guards.confounders import confounded, read_from_features, told_by_column
from domainjepa.evaluation.guards.leaks import leaks
from domainjepa.evaluation.probes.finetune import trainable
from domainjepa.evaluation.probes.pooling import pooled_features
from domainjepa.evaluation.protocol import Protocol, read_protocol
from domainjepa.evaluation.reporting.described import described
from domainjepa.evaluation.reporting.gallery import Seen
from domainjepa.evaluation.reporting.maps import look
from domainjepa.evaluation.reporting.report import write_report
from domainjepa.evaluation.results.results import Results
from domainjepa.evaluation.scoring import Site, scarce, score_everywhere
from domainjepa.evaluation.segmentation.suite import evaluate_masks

MAPPED = 6
"""Test samples whose maps a report shows, unless rows are named."""


def evaluate(
    encoders: Sequence[Encoder],
    source: Source,
    protocols: Sequence[Protocol | str],
    out: Path | None = None,
    *,
    baselines: Sequence[Encoder] = (),
    target: str | TargetConfig | None = None,
    per: str | None = None,
    within: Within = "same",
    test_source: Source | None = None,
    test_all: bool = False,
    match: Mapping[str, str] | None = None,
    by: str | None = None,
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
        target: the column to tell, or all of `target.*`; see `targets.target_of`. By default the
            source's labels.
        per: `groups` or a column: one answer for all samples that share its value.
        within: what becomes of the label of a unit whose samples have several.
        test_source: data from elsewhere, on which probes of `source` are scored as well.
        test_all: score all of them; else their test split, or a held out part, beside a probe that
            is fitted on the rest.
        match: what classes of the test data are called in `source`, where names differ.
        by: a column by whose values test units are scored apart.
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
    if any(protocol.of_masks for protocol in run):
        _refuse_others(run, target, test_source, by)
        results = evaluate_masks(
            encoders, source, run, baselines=baselines,
            settings=target if isinstance(target, TargetConfig) else None,
            per=per, cache=cache or (out / "features" if out else None), console=console,
        )  # fmt: skip
        if out is not None:
            write_report(results, source, out)
        return results
    home = cohort_of(source, run, target, per=per, within=within)
    cohorts = {source.public_name: home}
    if test_source is not None:
        there = cohort_elsewhere(
            home, test_source, run, target, per=per, within=within, names=match, whole=test_all
        )
        same = test_source.public_name == source.public_name
        cohorts[f"{test_source.public_name}{' (test data)' if same else ''}"] = there
    columns = _columns(cohorts, by)
    cache = cache or (out / "features" if out else None)
    results = _begun(cohorts, columns, run, cache)
    if console:
        _announce(cohorts, run[0], console)
    absent: list[str] = []
    ran: list[Encoder] = []
    for encoder in both:
        try:
            sites = _sites(encoder, cohorts, columns, run[0], cache, console)
        except Unavailable as error:
            absent.append(f"{encoder.name} is left out: {error}")
            results.warn(absent[-1])
            if not ran and len(absent) == len(encoders):
                raise UserError("no encoder could be evaluated. " + "; ".join(absent)) from error
            continue
        ran.append(encoder)
        results.order.append(encoder.name)
        if not trained_anew(encoder):
            _look(encoder.name, sites[0], columns[0], run[0], results)
        for protocol in run:
            if not score_everywhere(encoder, protocol, sites, results, console):
                results.warn(f"{protocol.name}: {encoder.name} has no network to fine-tune")
    for text in confounded(results.readable):
        results.warn(text)
    results.settings = described(ran, cohorts, run)
    if out is not None:
        write_report(results, source, out, _seen(ran, source, results, maps))
    return results


def _refuse_others(
    protocols: Sequence[Protocol],
    target: str | TargetConfig | None,
    test_source: Source | None,
    by: str | None,
) -> None:
    """Raises UserError for what has no meaning where masks are told."""
    if not all(protocol.of_masks for protocol in protocols):
        of_masks = [protocol.name for protocol in protocols if protocol.of_masks]
        raise UserError(f"{', '.join(of_masks)} tells masks, the other protocols labels: run two")
    column = target.column if isinstance(target, TargetConfig) else target
    for option, given in (("--target", column), ("--test-data", test_source), ("--by", by)):
        if given is not None:
            raise UserError(f"{option} cannot be used with protocols that tell masks")


def _announce(cohorts: Mapping[str, Cohort], protocol: Protocol, console: Console) -> None:
    """What trains, what tests, and loudly what takes no part, before the first long step."""
    for name, cohort in cohorts.items():
        split = cohort.splits[protocol.name]
        units = "" if cohort.units.single else f", {cohort.units.one} by {cohort.units.one}"
        for text in split.decisions:
            console.print(escape(f"{name}{units}: {text}"), highlight=False)
        for text in cohort.idle:
            console.print(f"[bold yellow]{escape(f'{name}: {text}')}[/]", highlight=False)


def _look(
    encoder: str, site: Site, column: Column | None, protocol: Protocol, results: Results
) -> None:
    """What the frozen features of an encoder show before a probe is fitted."""
    shown = site.bags(site.cohort.splits[protocol.name].test)
    results.features[encoder] = pooled_features(shown, "mean")
    if how := collapsed(results.features[encoder]):
        results.warn(f"{encoder} is collapsed: {how}")
    if column:
        results.readable += read_from_features(encoder, column, site)


def _columns(cohorts: Mapping[str, Cohort], by: str | None) -> list[Column | None]:
    """For each cohort the column by which it is scored apart; test data may be without it."""
    home, *others = cohorts.values()
    if by is None:
        return [None for _ in cohorts]
    found = [column_of(one, by) if has_column(one.source, by) else None for one in others]
    return [column_of(home, by), *found]


def _sites(
    encoder: Encoder,
    cohorts: Mapping[str, Cohort],
    columns: Sequence[Column | None],
    protocol: Protocol,
    cache: Path | None,
    console: Console | None,
) -> list[Site]:
    """Every cohort through one encoder; what an encoder takes from data it takes from home."""
    home = next(iter(cohorts.values()))
    if hasattr(encoder, "adapt"):
        train = home.splits[protocol.name].train
        encoder.adapt(home.source, home.units.rows_of(train)[0])
    sites = [
        Site(name, cohort, cohort.features(encoder, cache, console), column)
        for (name, cohort), column in zip(cohorts.items(), columns, strict=True)
    ]
    widths = [site.features.shape[1] for site in sites]
    if len(set(widths)) > 1:
        raise Unavailable(f"it gives {widths[1]} features of the test data and {widths[0]} at home")
    return sites


def _begun(
    cohorts: Mapping[str, Cohort],
    columns: Sequence[Column | None],
    protocols: Sequence[Protocol],
    cache: Path | None,
) -> Results:
    """Results without a score: what is told, and what to know before."""
    (name, home), *others = cohorts.items()
    first = home.splits[protocols[0].name]
    results = Results({}, name, home.target, tuple(protocols), home.units.shown(first.test))
    for protocol in protocols:
        split = home.splits[protocol.name]
        results.metrics(protocol)  # a protocol without one for this target is refused at once
        results.truth[protocol.name] = home.target.values[split.test]
        for text in scarce(protocol, home.target, home.target.values[split.train]):
            results.warn(text)
    for text in [*home.warnings, *leaks(home.source, home.row_splits(), cache)]:
        results.warn(text)
    for other, there in others:
        test = there.splits[protocols[0].name].test
        shared = shared_with_training(
            home.source, home.units.rows_of(first.train)[0],
            there.source, there.units.rows_of(test)[0],
        )  # fmt: skip
        for text in [*there.warnings, *shared]:
            results.warn(f"test data {other}: {text}")
    for (_, cohort), column in zip(cohorts.items(), columns, strict=True):
        if column:
            for text in column.said(cohort.splits[protocols[0].name].test):
                results.warn(text)
    if columns[0]:
        results.readable += told_by_column(columns[0], home)
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
        network = None if trained_anew(encoder) else trainable(encoder)
        found = look(*network, images) if network else None
        if found is not None:
            maps[encoder.name] = found
    return Seen(images, maps)


def _check_names(kind: str, names: Sequence[str]) -> None:
    if not names:
        raise UserError(f"nothing to evaluate: there are no {kind}")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(f"two {kind} are named {', '.join(twice)}: their rows would mix")
