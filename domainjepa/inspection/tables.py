"""An inspection as tables of a terminal."""

from __future__ import annotations

import re

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from domainjepa.inspection.inspection import Inspection
from domainjepa.showing import shown
from domainjepa.views.shortcuts import render as table_of


def render(inspection: Inspection) -> RenderableType:
    """The inspection for a terminal."""
    one = inspection
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="bold cyan", no_wrap=True)
    facts.add_column()

    def fact(name: str, text: str) -> None:
        facts.add_row(name, Text(shown(text)))

    shape = "x".join(map(str, one.shape))
    sizes = "" if one.sizes <= 1 else f", the first of {one.sizes:,} sizes"
    fact("data", f"{one.name}, read by {one.loader}")
    fact("samples", f"{one.samples:,} of {shape} {one.dtype}{sizes}")
    if one.looked_at < one.samples:
        some = f"{one.looked_at:,} samples, drawn by key; --all looks at every one"
        fact("looked at", some)
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
    parts += [Text.assemble(("warning ", "yellow"), shown(text)) for text in one.warnings]
    return Group(*parts)


def _bands_table(inspection: Inspection) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0))
    for head in ("band", "lowest", "1 %", "median", "99 %", "highest", "mean", "std", "missing"):
        table.add_column(head, justify="right", overflow="fold")
    for name, band in zip(inspection.band_names, inspection.bands, strict=True):
        first, median, last = band.percentiles or (None, None, None)
        numbers = (band.low, first, median, last, band.high, band.mean, band.std)
        told = ["–" if number is None else _short(number) for number in numbers]
        table.add_row(Text(shown(name)), *told, f"{100 * band.missing:.3g} %")
    return table


def _short(number: float) -> str:
    """Four digits in as few characters as there can be, so that a row fits 80 columns."""
    return re.sub(r"e([+-])0*", lambda sign: "e" + sign[1].strip("+"), f"{number:.4g}")
