"""A source looked at: what is in it, and what would spoil an experiment on it."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console, Group, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from domainjepa.data.census import Band, Census, take_census
from domainjepa.data.findings import class_counts, findings
from domainjepa.data.sampling import key
from domainjepa.data.source import Image, Source
from domainjepa.domains.intensity import Intensity
from domainjepa.domains.measuring import measured_on
from domainjepa.pictures import MISSING, montage, planes, to_rgb
from domainjepa.plan import Plan
from domainjepa.registry import DOMAINS
from domainjepa.resampling import spacing_of
from domainjepa.shortcuts import Nuisance, shortcuts, warnings_of
from domainjepa.shortcuts import render as table_of
from domainjepa.views import ViewMaker

_LISTED = 100  # rows, at most, in each list of an inspection
_FITTED_ON = 256  # samples, at most, that the intensity of a picture is fitted on


@dataclass
class Inspection:
    """What is in a source. Lists of rows are cut at 100; the counts beside them are not.

    Attributes:
        name, loader, samples, shape, dtype, channels: of the source.
        sizes: how many different sizes (H, W) or (D, H, W) the samples have.
        labels: class -> number of samples, or None without labels.
        groups: how many groups there are, or None without groups.
        splits: part -> number of samples, or None without a split.
        domain, domain_reason: the kind of image, and why.
        bands: values of each channel; see `domainjepa.data.census.Band`.
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
    shape: tuple[int, ...]
    dtype: str
    channels: int
    sizes: int
    labels: dict[str, int] | None
    groups: int | None
    splits: dict[str, int] | None
    domain: str
    domain_reason: str
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
    source: Source, domain: str | None = None, *, console: Console | None = None
) -> Inspection:
    """Reads every sample once and says what is there.

    Identical samples are found by a hash of their bytes, near duplicates by the correlation of
    their pixels (above 0.995, up to 30,000 samples; not if one is shifted, turned or mirrored).

    Args:
        source: opened.
        domain: the domain to use; proposed from the data by default.
        console: shows a bar with the time that is left, if it is a terminal.

    Raises:
        UserError: no such domain.
    """
    if domain is None:
        from domainjepa.domains.proposal import propose_domain

        domain, reason = propose_domain(source)
    else:
        DOMAINS.load(domain)
        reason = "as you said"
    census = _with_bar(source, console)
    near_known = not census.near_skipped
    return Inspection(
        name=source.public_name,
        loader=source.loader,
        samples=len(source),
        shape=source.shape,
        dtype=str(source.dtype),
        channels=source.channels,
        sizes=census.sizes,
        labels=class_counts(source),
        groups=None if source.groups is None else len(np.unique(source.groups)),
        splits=_split_counts(source),
        domain=domain,
        domain_reason=reason,
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
    maker = ViewMaker(plan.domain, plan.intensity, plan.config.views, plan.config.seed)
    inspection.shortcuts = shortcuts(maker, plan.source, plan.rows, plan.config.seed)
    inspection.warnings += warnings_of(inspection.shortcuts)


def _with_bar(source: Source, console: Console | None) -> Census:
    if console is None or not console.is_terminal:
        return take_census(source)
    with Progress(
        TextColumn("reading every sample"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    ) as bar:
        task = bar.add_task("", total=len(source))
        return take_census(source, lambda done, total: bar.update(task, completed=done))


def _split_counts(source: Source) -> dict[str, int] | None:
    if source.split is None:
        return None
    counts = {part: int((source.split == part).sum()) for part in ("train", "val", "test")}
    return {part: count for part, count in counts.items() if count}


def render(inspection: Inspection) -> RenderableType:
    """The inspection for a terminal."""
    one = inspection
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="bold cyan", no_wrap=True)
    facts.add_column()

    def fact(name: str, text: str) -> None:
        facts.add_row(name, Text(text))

    shape = "x".join(map(str, one.shape))
    sizes = "" if one.sizes <= 1 else f", the first of {one.sizes:,} sizes"
    fact("data", f"{one.name}, read by {one.loader}")
    fact("samples", f"{one.samples:,} of {shape} {one.dtype}{sizes}")
    fact("domain", f"{one.domain}: {one.domain_reason}")
    if one.labels is None:
        fact("labels", "none; they are not needed for pretraining")
    else:
        fact("labels", ", ".join(f"{name} {count:,}" for name, count in one.labels.items()))
    fact("groups", "none" if one.groups is None else f"{one.groups:,}")
    if one.splits is not None:
        fact("split", ", ".join(f"{part} {count:,}" for part, count in one.splits.items()))
    near = one.near_duplicate_count
    fact("blank", f"{one.blank_count:,}")
    fact(
        "repeated",
        f"{one.duplicate_count:,} samples identical to another; "
        + ("near duplicates not looked for" if near is None else f"{near:,} pairs look alike"),
    )
    for decision in one.decisions:
        fact("found", decision)
    note = f"; 1 % to 99 %, mean and std are of {one.value_samples:,} samples drawn by key"
    values = Text.assemble(("values", "bold cyan"), note)
    parts: list[RenderableType] = [facts, values, _bands_table(one)]
    if one.shortcuts:
        parts += [Text("shortcuts", style="bold cyan"), *map(Text, table_of(one.shortcuts))]
    parts += [Text.assemble(("warning ", "yellow"), text) for text in one.warnings]
    return Group(*parts)


def _bands_table(inspection: Inspection) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0))
    for head in ("band", "lowest", "1 %", "median", "99 %", "highest", "mean", "std", "missing"):
        table.add_column(head, justify="right", overflow="fold")
    for index, band in enumerate(inspection.bands):
        first, median, last = band.percentiles or (None, None, None)
        numbers = (band.low, first, median, last, band.high, band.mean, band.std)
        shown = ["–" if number is None else _short(number) for number in numbers]
        table.add_row(str(index), *shown, f"{100 * band.missing:.3g} %")
    return table


def _short(number: float) -> str:
    """Four digits in as few characters as there can be, so that a row fits 80 columns."""
    return re.sub(r"e([+-])0*", lambda sign: "e" + sign[1].strip("+"), f"{number:.4g}")


def draw(
    source: Source,
    path: str | os.PathLike[str],
    *,
    domain: str | None = None,
    columns: int = 10,
    most_classes: int = 16,
) -> None:
    """Draws samples after the domain's intensity, a row for each class or rows of any.

    Which samples are drawn is keyed: the same source gives the same picture. Pixels that hold no
    number have the colour `domainjepa.pictures.MISSING`.

    Args:
        source: opened.
        path: the PNG to write.
        domain: whose intensity; proposed from the data by default.
        columns: samples in a row.
        most_classes: of more, the largest are drawn.

    Raises:
        UserError: no such domain, or the file cannot be written.
    """
    from domainjepa.domains.proposal import propose_domain

    random = np.random.default_rng(key("inspect", "draw", len(source)))
    training = source.rows("train", "val")
    training = training if len(training) else source.rows()
    kind = DOMAINS.load(domain or propose_domain(source)[0])()
    intensity = kind.fit_intensity(measured_on(source, training, random, _FITTED_ON))

    chosen: list[NDArray[np.int64]] = []
    titles: list[str] | None = None
    counts = class_counts(source)
    if source.labels is not None and counts:
        titles, names = [], list(counts)
        largest = sorted(range(len(names)), key=lambda label: -counts[names[label]])
        for label in sorted(largest[:most_classes]):
            rows = np.flatnonzero(source.labels == label)
            chosen.append(random.permutation(rows)[:columns])
            titles.append(f"{names[label]} ({len(rows):,})")
    else:
        rows = random.permutation(len(source))[: 6 * columns]
        chosen = [rows[start : start + columns] for start in range(0, len(rows), columns)]
    shape = "x".join(map(str, source.shape))
    montage(
        [[_drawn(source, row, intensity) for row in rows.tolist()] for rows in chosen],
        path,
        row_titles=titles,
        title=f"{source.public_name}: {len(source):,} samples, {shape} {source.dtype}",
    )


def _drawn(source: Source, row: int, intensity: Intensity) -> NDArray[np.uint8]:
    """A sample as it is drawn; of a volume the three planes through its middle."""
    stored = source[row]
    if not source.volumetric:
        return _shown(stored, intensity(stored))
    spacing = spacing_of(source, row).tolist()
    own = intensity.of(lambda: stored)
    return _shown(planes(stored, spacing), own(planes(stored, spacing)))


def _shown(stored: Image, image: Image) -> NDArray[np.uint8]:
    """What comes out of the intensity, on one scale for all samples; missing values painted."""
    if image.dtype != np.uint8:
        image = (np.clip((image + 0.1) / 1.1, 0, 1) * 255 + 0.5).astype(np.uint8)
    rgb = to_rgb(image)
    if stored.dtype.kind == "f":
        rgb[~np.isfinite(stored).all(axis=2)] = MISSING
    return rgb
