"""A source looked at: what is in it, and what would spoil an experiment on it."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from rich.console import Console

from domainjepa.data.checks.census import Band, some_rows, take_census
from domainjepa.data.checks.findings import band_names, class_counts, findings
from domainjepa.data.parts.drawn import drawn_to_look_at, in_parts
from domainjepa.data.source import Source
from domainjepa.pretraining.plan import Plan
from domainjepa.registry import DOMAINS
from domainjepa.views.shortcuts import Nuisance, shortcuts, warnings_of
from domainjepa.waiting import bar

_LISTED = 100  # rows, at most, in each list of an inspection


@dataclass
class Inspection:
    """What is in a source. Lists of rows are cut at 100; the counts beside them are not.

    Attributes:
        name, loader, samples, shape, dtype, channels: of the source.
        looked_at: how many samples were read; blank, unreadable and repeated ones are among them.
        sizes: how many different sizes (H, W) or (D, H, W) the samples have.
        labels: class -> number of samples, or None without labels.
        groups: how many groups there are, or None without groups.
        splits: part -> number of samples, or None without a split.
        domain, domain_reason: the kind of image, and why.
        band_names: of the channels; their numbers where the data do not name them.
        bands: values of each channel; see `domainjepa.data.checks.census.Band`.
        value_samples: how many samples gave the means and percentiles of `bands`.
        blank, unreadable: their rows; `blank_count`, `unreadable_count` in all.
        duplicates: lists of rows with identical content; `duplicate_count` samples are in one.
        near_duplicates: pairs of rows that look alike; `near_duplicate_count` in all, None where
            they were not looked for.
        decisions: what the loader found and decided.
        warnings: what to see to before training, each with a remedy.
        shortcuts: how far simple nuisances identify samples across their views, None where they
            were not looked for.
    """

    name: str
    loader: str
    samples: int
    looked_at: int
    shape: tuple[int, ...]
    dtype: str
    channels: int
    sizes: int
    labels: dict[str, int] | None
    groups: int | None
    splits: dict[str, int] | None
    domain: str
    domain_reason: str
    band_names: list[str]
    bands: list[Band]
    value_samples: int
    blank: list[int]
    blank_count: int
    unreadable: list[int]
    unreadable_count: int
    duplicates: list[list[int]]
    duplicate_count: int
    near_duplicates: list[tuple[int, int]]
    near_duplicate_count: int | None
    decisions: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    shortcuts: list[Nuisance] | None = None

    def to_json(self) -> str:
        """All attributes as one JSON object; null where a number is infinite, as JSON has none."""
        return json.dumps(_finite(dataclasses.asdict(self)), indent=2, allow_nan=False)


def _finite(told: Any) -> Any:
    if isinstance(told, dict):
        return {name: _finite(value) for name, value in told.items()}
    if isinstance(told, list | tuple):
        return [_finite(value) for value in told]
    return None if isinstance(told, float) and not math.isfinite(told) else told


def inspect_source(
    source: Source,
    domain: str | None = None,
    *,
    every: bool = False,
    console: Console | None = None,
) -> Inspection:
    """Reads all samples, or a keyed selection of a large source, and says what is there.

    Identical samples are found by a hash of their bytes, near duplicates by the correlation of
    their pixels (above 0.995, up to 30,000 samples; not if one is shifted, turned or mirrored).

    Args:
        source: opened.
        domain: the domain to use; proposed from the data by default.
        every: read all of a large source, too; see `domainjepa.data.checks.census.some_rows`.
        console: shows how far it is and how long it will take; nothing by default.

    Raises:
        UserError: no such domain.
    """
    if source.volumetric and in_parts(source):
        source = drawn_to_look_at(source)
        source.decisions.append(f"looked at: {len(source)} cubes of it, at places drawn by key")
    if domain is None:
        from domainjepa.domains.proposal import propose_domain

        domain, reason = propose_domain(source)
    else:
        DOMAINS.load(domain)
        reason = "as you said"
    rows = source.rows() if every else some_rows(source)
    with bar(console or Console(quiet=True), "reading samples", len(rows)) as show:
        census = take_census(source, show, rows)
    near_known = not census.near_skipped
    return Inspection(
        name=source.public_name,
        loader=source.loader,
        samples=len(source),
        looked_at=census.looked_at,
        shape=source.shape,
        dtype=str(source.dtype),
        channels=source.channels,
        sizes=census.sizes,
        labels=class_counts(source),
        groups=None if source.groups is None else len(np.unique(source.groups)),
        splits=_split_counts(source),
        domain=domain,
        domain_reason=reason,
        band_names=band_names(source, len(census.bands)),
        bands=census.bands,
        value_samples=census.value_samples,
        blank=census.blank[:_LISTED],
        blank_count=len(census.blank),
        unreadable=list(census.unreadable)[:_LISTED],
        unreadable_count=len(census.unreadable),
        duplicates=[rows[:_LISTED] for rows in census.duplicates[:_LISTED]],
        duplicate_count=sum(map(len, census.duplicates)),
        near_duplicates=census.near[:_LISTED],
        near_duplicate_count=len(census.near) if near_known else None,
        decisions=list(source.decisions),
        warnings=[*source.warnings, *findings(source, census)],
    )


def add_shortcuts(inspection: Inspection, plan: Plan) -> None:
    """Measures nuisances on the views of a plan; alarms join the warnings."""
    maker = plan.maker()
    inspection.shortcuts = shortcuts(maker, plan.source, plan.rows, plan.config.seed)
    inspection.warnings += warnings_of(inspection.shortcuts)


def _split_counts(source: Source) -> dict[str, int] | None:
    if source.split is None:
        return None
    counts = {part: int((source.split == part).sum()) for part in ("train", "val", "test")}
    return {part: count for part, count in counts.items() if count}
