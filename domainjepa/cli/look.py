"""Commands that look: inspect, views, prepare, watch, list."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from domainjepa.cli.app import app
from domainjepa.cli.options import Data, DomainName, Json, Loader, Recipe, Set, opened
from domainjepa.errors import UserError, did_you_mean


@app.command(
    examples=[
        "domainjepa inspect --data galaxy10.h5 --out look.png",
        "domainjepa inspect --data galaxy10.h5 --views",
    ]
)
def inspect(
    data: Data,
    out: Annotated[Path | None, typer.Option(help="Draw a montage to this PNG.")] = None,
    domain: DomainName = None,
    views: Annotated[
        bool, typer.Option("--views", help="Look for shortcuts in the views of the domain, too.")
    ] = False,
    every: Annotated[
        bool, typer.Option("--all", help="Read every sample of a large set, not a selection.")
    ] = False,
    loader: Loader = None,
    set_: Set = None,
    json_: Json = False,
) -> None:
    """Show what the loader sees: shapes, values, labels, blanks, duplicates, advice."""
    from domainjepa.pictures import named_png

    out = named_png(out) if out else None
    import numpy as np
    from rich.console import Console

    from domainjepa.data.checks.quarantine import lenient, strict
    from domainjepa.inspection.drawing import draw
    from domainjepa.inspection.inspection import add_shortcuts, inspect_source
    from domainjepa.inspection.tables import render

    of_data = [text for text in set_ or () if text.startswith("data.") or not views]
    source = opened(data, loader, of_data)
    found = inspect_source(source, domain, every=every, console=Console(stderr=True))
    if views:
        from domainjepa import settings
        from domainjepa.pretraining.plan import make_plan

        flags = {"data.path": data, "data.loader": loader, "domain": domain}
        plan = make_plan(settings.resolve(None, set_ or (), flags), batches=False)
        add_shortcuts(found, plan)
    if json_:
        typer.echo(found.to_json())
    else:
        Console().print(render(found))
    if out:
        if 0 < found.unreadable_count < found.samples and not source.volumetric:
            readable = np.setdiff1d(source.rows(), found.unreadable)
            source = lenient(strict(source, found.unreadable), readable, seed=0)
        draw(source, out, domain=domain)
        typer.echo(f"montage: {out}", err=json_)


@app.command(
    examples=[
        "domainjepa views --data galaxy10.h5 --backbone resnet34 --out views.png",
    ]
)
def views(
    data: Data,
    out: Annotated[Path, typer.Option(help="The PNG to draw.")],
    backbone: Annotated[str | None, typer.Option(help="As of pretrain; decides the sizes.")] = None,
    recipe: Recipe = None,
    domain: DomainName = None,
    samples: Annotated[int, typer.Option(min=1, max=32)] = 6,
    seed: Annotated[int | None, typer.Option(min=0)] = None,
    loader: Loader = None,
    set_: Set = None,
) -> None:
    """Draw what the backbone will see: original, intensity, each transform alone, whole views."""
    import numpy as np
    from rich.console import Console

    from domainjepa import settings
    from domainjepa.catalog import find
    from domainjepa.pictures import named_png
    from domainjepa.pretraining.plan import make_plan
    from domainjepa.pretraining.progress import show_plan
    from domainjepa.views.drawing import draw_views
    from domainjepa.views.tones import tones_of

    out = named_png(out)
    layer = settings.read_recipe(find("recipes", recipe)) if recipe else {}
    flags = {
        "data.path": data,
        "data.loader": loader,
        "backbone.name": backbone,
        "domain": domain,
        "seed": seed,
    }
    plan = make_plan(settings.resolve(layer, set_ or (), flags), batches=False)
    shown = {"data", "domain", "views", "related"}
    show_plan(Console(), "views", [n for n in plan.notes if n[0] in shown], plan.warnings)
    maker = plan.maker()
    rows = plan.rows[np.linspace(0, len(plan.rows) - 1, min(samples, len(plan.rows))).astype(int)]
    draw_views(plan.source, rows.tolist(), maker, out)
    if not plan.source.volumetric:
        typer.echo(f"tones: {tones_of(maker, plan.source.__getitems__(rows.tolist()))}")
    typer.echo(f"views: {out}")


@app.command(
    examples=[
        "domainjepa prepare --data scans/ --out scans.h5",
    ]
)
def prepare(
    data: Data,
    out: Annotated[Path, typer.Option(help="FILE.h5 (fastest) or FILE.zarr (object stores).")],
    workers: Annotated[
        int | None, typer.Option(min=0, help="Processes that read; 0: this one alone.")
    ] = None,
    compression: Annotated[str, typer.Option(help="none, gzip, lz4 or zstd.")] = "none",
    size: Annotated[
        int | None, typer.Option(min=8, help="Centre square of every image at this many px a side.")
    ] = None,
    loader: Loader = None,
    set_: Set = None,
) -> None:
    """Repack any data into one fast, checksummed file; goes on where it was when it was stopped."""
    from functools import partial

    from domainjepa.data.packing.prepare import prepare as write
    from domainjepa.signals import Stopped

    source = opened(data, loader, set_)
    frame = None
    if size is not None:
        if source.volumetric:
            raise UserError("--size is for images; volumes are kept as they are.")
        from domainjepa.encoder.samples import framed

        frame = partial(framed, size=size)
    try:
        write(source, out, workers=workers, compression=compression, frame=frame)
    except Stopped as stopped:
        typer.echo(str(stopped), err=True)
        raise typer.Exit(stopped.exit_status) from None
    typer.echo(f"{out}: {len(source):,} samples; use it as --data {out}")


@app.command(
    examples=[
        "domainjepa watch runs/galaxies runs/scans",
    ]
)
def watch(
    runs: Annotated[list[Path], typer.Argument(help="Run folders.")],
    once: Annotated[bool, typer.Option("--once", help="Show what is there and return.")] = False,
) -> None:
    """Show the curves of runs as they go, from their folders alone; ends when all have ended."""
    from rich.console import Console

    from domainjepa.watch import watch as show

    show(runs, Console(), once=once)


LISTS = (
    "backbones",
    "datasets",
    "recipes",
    "domains",
    "protocols",
    "baselines",
    "loaders",
    "statistics",
    "trackers",
)


@app.command(
    name="list",
    examples=[
        "domainjepa list datasets",
        "domainjepa list backbones --like resnet",
    ],
)
def list_(
    what: Annotated[str, typer.Argument(help=", ".join(LISTS), autocompletion=lambda: list(LISTS))],
    like: Annotated[str, typer.Option(help="Only names that contain this.")] = "",
    json_: Json = False,
) -> None:
    """List what can be named elsewhere."""
    names = [name for name in _names(what) if like in name]
    if json_:
        typer.echo(json.dumps(names))
        return
    width = max(map(len, names), default=0)
    for name in names:
        typer.echo(f"{name:<{width}}  {_told(what, name)}".rstrip())


def _told(what: str, name: str) -> str:
    """What a domain or a data set is, in a line."""
    if what == "domains":
        from domainjepa.registry import DOMAINS

        return str(DOMAINS.load(name).summary)
    if what == "datasets":
        from domainjepa import catalog
        from domainjepa.data.metadata import cards

        return cards.load(catalog.find("datasets", name)).title
    return ""


def _names(what: str) -> list[str]:
    from domainjepa import catalog, registry

    if what == "backbones":
        from domainjepa.backbones import names

        return names()
    if what == "statistics":
        from domainjepa.objective.sigreg import NAMES

        return [*NAMES, *registry.STATISTICS.names()]
    kinds: dict[str, Any] = {
        "datasets": lambda: catalog.names("datasets"),
        "recipes": lambda: catalog.names("recipes"),
        "protocols": lambda: catalog.names("eval"),
        "domains": registry.DOMAINS.names,
        "baselines": registry.BASELINES.names,
        "loaders": registry.LOADERS.names,
        "trackers": registry.TRACKERS.names,
    }
    if what not in kinds:
        raise UserError(f"there is no list of {what!r}.{did_you_mean(what, LISTS)}")
    return list(kinds[what]())
