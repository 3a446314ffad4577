"""The command for a new machine: doctor."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from domainjepa.cli.app import app
from domainjepa.cli.options import Json, Set


@app.command(
    examples=[
        "domainjepa doctor",
        "domainjepa doctor --data galaxy10.h5",
    ]
)
def doctor(
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, mps or xpu.")] = None,
    data: Annotated[
        str | None, typer.Option("--data", help="Time your own data, not simulated galaxies.")
    ] = None,
    backbone: Annotated[str | None, typer.Option(help="To be timed; default resnet10t.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=2, help="To be timed.")] = None,
    set_: Set = None,
    json_: Json = False,
) -> None:
    """Look at this machine: versions, extras, does it compute right, what slows it down.

    The first thing to run on a new machine, and what a bug report holds: it names no path.
    """
    from rich.console import Console

    from domainjepa.waiting import stage

    progress = Console(stderr=True)
    stage(progress, "loading PyTorch")
    from domainjepa.doctor.doctor import examine, render

    flags = {"device": device, "backbone.name": backbone, "batch_size": batch_size}
    found = examine(progress, data=data, flags=flags, assignments=set_ or [])
    if json_:
        typer.echo(json.dumps(found.to_dict(), indent=2))
    else:
        Console().print(render(found))
    if not found.well:
        raise typer.Exit(1)
