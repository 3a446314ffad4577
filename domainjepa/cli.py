"""The commands: parse, resolve, call. Imports no torch, so that `--help` answers at once."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from domainjepa.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from domainjepa.config import PretrainConfig
    from domainjepa.data.source import Source

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Pretrain your own image encoder on your own unlabelled data with LeJEPA.",
    epilog="--debug anywhere shows the traceback of an error.",
)

Data = Annotated[
    str, typer.Option("--data", help="A file, a folder, or the name of a dataset card.")
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Any setting, such as objective.lam=0.1."),
]
Recipe = Annotated[
    str | None,
    typer.Option("--recipe", help="Name or .toml file of a recipe; a run's config.toml."),
]
DomainName = Annotated[
    str | None, typer.Option("--domain", help="What kind of images; proposed from the data.")
]
Loader = Annotated[
    str | None, typer.Option("--loader", help="A loader's name or module:attribute.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


@app.command()
def pretrain(
    data: Data = "",
    backbone: Annotated[str | None, typer.Option(help="Any timm model.")] = None,
    recipe: Recipe = None,
    domain: DomainName = None,
    out: Annotated[
        Path | None, typer.Option(help="The run folder; default runs/DATA-BACKBONE.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1)] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="In place of epochs.")] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=2, help="The GLOBAL batch, over all devices.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0)] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda.")] = None,
    devices: Annotated[int | None, typer.Option(min=1, help="Processes, one a device.")] = None,
    loader: Loader = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last checkpoint of --out.")
    ] = False,
    set_: Set = None,
) -> None:
    """Pretrain an encoder and write its run folder: settings, metrics, checkpoints, report."""
    from domainjepa import config as settings
    from domainjepa.catalog import find

    if epochs is not None and steps is not None:
        raise UserError("--epochs and --steps say the same thing twice: give one of them.")
    layer = settings.read_recipe(find("recipes", recipe)) if recipe else {}
    flags = {
        "data.path": data or None,
        "data.loader": loader,
        "backbone.name": backbone,
        "domain": domain,
        "epochs": epochs,
        "steps": steps,
        "batch_size": batch_size,
        "seed": seed,
        "device": device,
        "devices": devices,
    }
    config = settings.resolve(layer, set_ or (), flags)
    if not config.data.path:
        raise UserError(
            "no data: give --data PATH, or the name of a card (domainjepa list datasets)."
        )
    out = out or _run_folder(config)
    if resume and (out / "config.toml").is_file():
        # The run's own settings lie under those of the command, which may be the whole one again.
        layer = settings.overlay(settings.read_recipe(out / "config.toml"), layer)
        config = settings.resolve(layer, set_ or (), flags)
    if config.devices > 1 and "RANK" not in os.environ:
        from domainjepa.launch import launch

        raise typer.Exit(launch(sys.argv[1:], config.devices))
    from domainjepa.pretraining import pretrain as run
    from domainjepa.signals import Stopped

    try:
        run(config, out, resume=resume)
    except Stopped as stopped:
        typer.echo(str(stopped), err=True)
        raise typer.Exit(stopped.exit_status) from None
    if os.environ.get("RANK", "0") == "0":
        typer.echo(f"encoder: {out}/encoder.safetensors   report: {out}/report.html")
        typer.echo(f"next: domainjepa evaluate {out} --data {data or config.data.path}")


def _run_folder(config: PretrainConfig) -> Path:
    """The default folder is named by card or fingerprint: a file's name may name a patient."""
    from domainjepa.data.source import open_configured

    name = open_configured(config.data).public_name
    return Path("runs") / f"{name}-{config.backbone.name}".replace("/", "-")


def _open(data: str, loader: str | None, assignments: list[str] | None) -> Source:
    """The source of a command that takes `--set data.…` alone."""
    from domainjepa import config as settings
    from domainjepa.data.source import open_configured

    for text in assignments or ():
        if not text.startswith("data."):
            raise UserError(f"--set {text}: this command takes data.* settings alone.")
    flags = {"data.path": data, "data.loader": loader}
    return open_configured(settings.resolve(None, assignments or (), flags).data)


@app.command()
def evaluate(
    encoders: Annotated[
        list[str], typer.Argument(help="Run folders or encoder.safetensors files.")
    ],
    data: Data,
    protocol: Annotated[
        list[str] | None, typer.Option(help="Name or file of a protocol; default few-shot.")
    ] = None,
    baseline: Annotated[
        list[str] | None, typer.Option(help="untrained, pixels; default both.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the report.")] = Path("evaluation"),
    loader: Loader = None,
    set_: Set = None,
    json_: Json = False,
) -> None:
    """Compare encoders by few-shot probes; writes report.html, results.json, .csv, table.tex."""
    from rich.console import Console

    from domainjepa.encoder import FrozenEncoder
    from domainjepa.evaluation import report, suite
    from domainjepa.evaluation.baselines import baselines

    console = Console(stderr=json_)
    source = _open(data, loader, set_)
    trained = [FrozenEncoder(path) for path in encoders]
    names = ["untrained", "pixels"] if baseline is None else baseline
    results = suite.evaluate(
        [*trained, *baselines(names, trained)],
        source,
        protocol or ["few-shot"],
        out,
        console=console,
    )
    if json_:
        typer.echo((out / "results.json").read_text())
    else:
        report.show(results, console)
        typer.echo(f"report: {out}/report.html")


@app.command()
def embed(
    encoder: Annotated[str, typer.Argument(help="A run folder or encoder.safetensors.")],
    data: Data,
    out: Annotated[Path, typer.Option(help="FILE.npz or FILE.h5")],
    loader: Loader = None,
    set_: Set = None,
) -> None:
    """Write the features of every sample, with labels, ids and split where the data has them."""
    from domainjepa.embed import embed as write

    shape = write(encoder, _open(data, loader, set_), out)
    typer.echo(f"{out}: features {shape[0]:,} x {shape[1]}")


@app.command()
def inspect(
    data: Data,
    out: Annotated[Path | None, typer.Option(help="Draw a montage to this PNG.")] = None,
    domain: DomainName = None,
    loader: Loader = None,
    set_: Set = None,
    json_: Json = False,
) -> None:
    """Show what the loader sees: shapes, values, labels, blanks, duplicates, advice."""
    from rich.console import Console

    from domainjepa import inspect as looking

    source = _open(data, loader, set_)
    found = looking.inspect_source(source, domain)
    if json_:
        typer.echo(found.to_json())
    else:
        Console().print(looking.render(found))
    if out:
        looking.draw(source, out, domain=domain)
        typer.echo(f"montage: {out}", err=json_)


@app.command()
def views(
    data: Data,
    out: Annotated[Path, typer.Option(help="The PNG to draw.")],
    backbone: Annotated[str | None, typer.Option(help="Any timm model; decides the sizes.")] = None,
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

    from domainjepa import config as settings
    from domainjepa.catalog import find
    from domainjepa.plan import make_plan
    from domainjepa.progress import show_plan
    from domainjepa.views import ViewMaker, draw_views

    layer = settings.read_recipe(find("recipes", recipe)) if recipe else {}
    flags = {
        "data.path": data,
        "data.loader": loader,
        "backbone.name": backbone,
        "domain": domain,
        "seed": seed,
    }
    plan = make_plan(settings.resolve(layer, set_ or (), flags), batches=False)
    shown = {"data", "domain", "views"}
    show_plan(Console(), "views", [n for n in plan.notes if n[0] in shown], plan.warnings)
    maker = ViewMaker(plan.domain, plan.intensity, plan.config.views, plan.config.seed)
    rows = plan.rows[np.linspace(0, len(plan.rows) - 1, min(samples, len(plan.rows))).astype(int)]
    draw_views(plan.source, rows.tolist(), maker, out)
    typer.echo(f"views: {out}")


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for data, run and report.")] = Path("demo"),
    steps: Annotated[int | None, typer.Option(min=1, help="Fewer steps, weaker encoder.")] = None,
) -> None:
    """The whole journey on a simulated survey: simulate, pretrain, compare, draw. No network."""
    from domainjepa.demo import run_demo
    from domainjepa.signals import Stopped

    try:
        run_demo(out, steps=steps)
    except Stopped as stopped:
        typer.echo(str(stopped), err=True)
        raise typer.Exit(stopped.exit_status) from None


LISTS = (
    "backbones",
    "datasets",
    "recipes",
    "domains",
    "protocols",
    "baselines",
    "loaders",
    "statistics",
)


@app.command(name="list")
def list_(
    what: Annotated[str, typer.Argument(help=", ".join(LISTS))],
    like: Annotated[str, typer.Option(help="Only names that contain this.")] = "",
    json_: Json = False,
) -> None:
    """List what can be named elsewhere."""
    names = [name for name in _names(what) if like in name]
    typer.echo(json.dumps(names) if json_ else "\n".join(names))


def _names(what: str) -> list[str]:
    from domainjepa import catalog, registry

    if what == "backbones":
        import timm

        return list(timm.list_models())
    if what == "statistics":
        from domainjepa.objective.sigreg import NAMES

        return list(NAMES)
    kinds: dict[str, Any] = {
        "datasets": lambda: catalog.names("datasets"),
        "recipes": lambda: catalog.names("recipes"),
        "protocols": lambda: catalog.names("eval"),
        "domains": registry.DOMAINS.names,
        "baselines": registry.BASELINES.names,
        "loaders": registry.LOADERS.names,
    }
    if what not in kinds:
        raise UserError(f"there is no list of {what!r}.{did_you_mean(what, LISTS)}")
    return list(kinds[what]())


def main() -> None:
    """Run the command line; a user's error is one message on stderr and exit status 2."""
    debug = "--debug" in sys.argv
    try:
        app(args=[word for word in sys.argv[1:] if word != "--debug"], prog_name="domainjepa")
    except UserError as error:
        if debug:
            raise
        typer.echo(f"error: {error}", err=True)
        sys.exit(2)
    except OSError as error:
        if debug:
            raise
        name = Path(str(error.filename)).name if error.filename else "a file"
        typer.echo(f"error: {name}: {error.strerror or error}", err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        if debug:
            raise
        typer.echo("stopped", err=True)
        sys.exit(130)


if __name__ == "__main__":
    main()
