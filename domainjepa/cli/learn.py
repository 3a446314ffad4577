"""Commands that learn: pretrain, demo."""

from __future__ import annotations

import os
import re
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from domainjepa.cli.app import app
from domainjepa.cli.options import Data, DomainName, Loader, Recipe, Set, repeated
from domainjepa.errors import UserError

if TYPE_CHECKING:
    from domainjepa.config import PretrainConfig


@app.command(
    examples=[
        "domainjepa pretrain --data galaxy10.h5 --backbone resnet34 --epochs 400",
        "domainjepa pretrain --data scans/ --budget 45m --out runs/scans",
    ]
)
def pretrain(
    data: Data = "",
    backbone: Annotated[
        str | None, typer.Option(help="Any timm model; for volumes monai:NAME or vit3d_….")
    ] = None,
    recipe: Recipe = None,
    domain: DomainName = None,
    out: Annotated[
        Path | None, typer.Option(help="The run folder; default runs/DATA-BACKBONE[-seedN].")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1)] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="In place of epochs.")] = None,
    budget: Annotated[
        str | None,
        typer.Option(help="How long this may take, such as 45m; settles what is left unset."),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=2, help="The GLOBAL batch, over all devices.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0)] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, mps or xpu.")] = None,
    devices: Annotated[int | None, typer.Option(min=1, help="Processes, one a device.")] = None,
    max_hours: Annotated[
        float | None,
        typer.Option(min=0, help="Save and end with status 75 after this time; --resume goes on."),
    ] = None,
    loader: Loader = None,
    init: Annotated[
        str | None,
        typer.Option(help="Begin with weights: RUN, encoder.safetensors, or timm:NAME[=FILE]."),
    ] = None,
    extend: Annotated[
        Path | None,
        typer.Option(help="Go on from the last checkpoint of this run, in a new one."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last checkpoint of --out.")
    ] = False,
    track: Annotated[
        list[str] | None,
        typer.Option(help="tensorboard, wandb, mlflow, trackio or module:function; repeatable."),
    ] = None,
    set_: Set = None,
) -> None:
    """Pretrain an encoder and write its run folder: settings, metrics, checkpoints, report."""
    from domainjepa import settings

    began = time.monotonic()
    if sum(length is not None for length in (epochs, steps, budget)) > 1:
        raise UserError("--epochs, --steps and --budget each say how long: give one of them.")
    # The folder of a run that was begun holds all that it began with, and its own settings, which
    # lie under those of the command: it may be the whole one again.
    begun = resume and out is not None and (out / "config.toml").is_file()
    layer = _recipe(recipe, None if begun else extend, epochs or steps or budget)
    if begun and out is not None:
        layer = _over_those_of_the_run(out, layer)
    flags = {
        "data.path": data or None,
        "data.loader": loader,
        "backbone.name": backbone,
        "domain": domain,
        "init.weights": init,
        "init.extend": str(extend) if extend else None,
        "epochs": epochs,
        "steps": steps,
        "budget": budget,
        "batch_size": batch_size,
        "seed": seed,
        "device": device,
        "devices": devices,
        "max_hours": max_hours,
        "log.track": track or None,
    }
    if init and backbone is None and not begun:
        flags["backbone.name"] = _backbone(init, layer, set_ or (), resume)
    config = settings.resolve(layer, set_ or (), flags)
    if not config.data.path:
        why = "the folder of a run names no path of its data" if begun else "no data"
        raise UserError(
            f"{why}: give --data PATH, or the name of a card (domainjepa list datasets)."
        )
    out = out or _run_folder(config)
    if resume and not begun and (out / "config.toml").is_file():
        layer = _over_those_of_the_run(out, layer)
        config = settings.resolve(layer, set_ or (), flags)
    if config.devices > 1 and "RANK" not in os.environ:
        from domainjepa.pretraining.launch import launch

        raise typer.Exit(launch(sys.argv[1:], config.devices))
    _train(config, out, resume, began)


def _train(config: PretrainConfig, out: Path, resume: bool, began: float) -> None:
    """The run, and what to do next with its encoder."""
    main = os.environ.get("RANK", "0") == "0"
    if main:
        from rich.console import Console

        from domainjepa.waiting import stage

        stage(Console(), "loading PyTorch")
    from domainjepa.pretraining.run import pretrain as run
    from domainjepa.signals import Stopped

    try:
        run(config, out, resume=resume, begun=began)
    except Stopped as stopped:
        typer.echo(str(stopped), err=True)
        raise typer.Exit(stopped.exit_status) from None
    if main:
        typer.echo(f"encoder: {out}/encoder.safetensors   report: {out}/report.html")
        typer.echo(f"next: {_next(config, out)}")


def _over_those_of_the_run(out: Path, layer: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe's settings over those of a run; the steps that fill a budget are the run's own."""
    from domainjepa import settings

    own = settings.read_recipe(out / "config.toml")
    layer = settings.overlay(own, layer)
    return {**layer, "steps": own["steps"]} if "budget" in own and "steps" in own else layer


def _recipe(recipe: str | None, extend: Path | None, length: int | str | None) -> dict[str, Any]:
    """The settings under those of the command: of a recipe, over those of a run to extend."""
    from domainjepa import settings
    from domainjepa.catalog import find

    layer = settings.read_recipe(find("recipes", recipe)) if recipe else {}
    if extend is None:
        return layer
    from domainjepa.pretraining.beginning import parent_settings

    if not length:
        raise UserError("--extend: for how long? Give --epochs, --steps or --budget.")
    return settings.overlay(parent_settings(extend), layer)


def _backbone(
    init: str, layer: Mapping[str, Any], assignments: Sequence[str], resume: bool
) -> str | None:
    """The backbone that the weights are of, unless another is asked for, which will be refused."""
    from domainjepa.pretraining.beginning import backbone_of

    named = "name" in layer.get("backbone", {})
    if named or any(text.startswith("backbone.name") for text in assignments):
        return None
    try:
        return backbone_of(init)
    except UserError as error:
        hint = " Or say by --out which run to go on with: it needs them no more." if resume else ""
        raise UserError(f"{error}{hint}") from None


def _next(config: PretrainConfig, out: Path) -> str:
    """The command that uses the encoder: its evaluation where there are labels to score it on."""
    from domainjepa.data.opening import open_configured

    run, data = shlex.quote(str(out)), repeated(config.data)
    try:
        labels = open_configured(config.opening()).labels
    except Exception:  # the encoder is there; whatever became of the data, the run has ended well
        return f"domainjepa evaluate {run} {data}"
    if labels is not None and (labels >= 0).any():
        return f"domainjepa evaluate {run} {data}"
    return f"domainjepa embed {run} {data} --out {shlex.quote(str(out / 'features.npz'))}"


def _run_folder(config: PretrainConfig) -> Path:
    """The default folder is named by card or fingerprint: a file's name may name a patient."""
    from domainjepa.data.opening import open_configured

    unnamed = config.budget and "name" not in config.backbone.model_fields_set
    what = config.budget if unnamed else config.backbone.name
    name = f"{open_configured(config.opening()).public_name}-{what}"
    if config.seed:
        name += f"-seed{config.seed}"
    return Path("runs") / re.sub("[/:]", "-", name)


@app.command(
    examples=[
        "domainjepa demo",
        "domainjepa demo --out demo --steps 200",
    ]
)
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
