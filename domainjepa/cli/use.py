"""Commands that use an encoder: embed, select, export, share."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Annotated

import typer

from domainjepa.cli.app import app
from domainjepa.cli.options import Data, Json, Loader, Set, opened
from domainjepa.errors import UserError

Patches = Annotated[
    bool, typer.Option("--patches", help="A vector for each position, not one a sample.")
]
Layers = Annotated[
    str | None,
    typer.Option(help="Of patches: last, a stage or block such as -1, or several: -4,-3,-2,-1."),
]


@app.command(
    examples=[
        "domainjepa embed runs/galaxies --data galaxy10.h5 --out features.parquet",
        "domainjepa embed runs/galaxies --data new/ --out features.parquet --append",
        "domainjepa embed runs/galaxies --data galaxy10.h5 --patches --out patches.h5",
    ]
)
def embed(
    encoder: Annotated[
        str,
        typer.Argument(help="A run folder, RUN@STEP, encoder.safetensors, or timm:NAME[=WEIGHTS]."),
    ],
    data: Data,
    out: Annotated[
        Path,
        typer.Option(help="FILE.npz, .h5, .parquet, .zarr or .fits; of patches FILE.h5 or .zarr"),
    ],
    append: Annotated[
        bool,
        typer.Option("--append", help="Keep what --out holds; embed samples of new ids alone."),
    ] = False,
    devices: Annotated[int, typer.Option(min=1, help="Processes, one a device.")] = 1,
    patches: Patches = False,
    layers: Layers = None,
    scale: Annotated[
        float | None, typer.Option(help="Of patches: images are resized by this first.")
    ] = None,
    loader: Loader = None,
    set_: Set = None,
) -> None:
    """Write the features of every sample, with ids, labels and columns where the data has them.

    The same command goes on where a process was stopped.
    """
    if patches and (append or devices > 1):
        raise UserError("--append and --devices are of one vector a sample: leave out --patches.")
    if devices > 1 and "RANK" not in os.environ:
        from domainjepa.pretraining.launch import launch

        raise typer.Exit(launch(sys.argv[1:], devices))
    source = opened(data, loader, set_, [encoder])
    if patches:
        from domainjepa.embed_patches import embed_patches, parse_layers

        told = embed_patches(
            encoder, source, out, parse_layers(layers or "last"), 1.0 if scale is None else scale
        )
        typer.echo(f"{out}: {told}")
        return
    if layers is not None or scale is not None:
        raise UserError("--layers and --scale are of patch features: add --patches.")
    from domainjepa.embed import embed as write

    shape = write(encoder, source, out, append=append)
    if os.environ.get("RANK", "0") == "0":
        typer.echo(f"{out}: features {shape[0]:,} x {shape[1]}")


@app.command(
    examples=[
        "domainjepa select runs/lambda-0.02 runs/lambda-0.05",
        'domainjepa select "runs/galaxies@*" --data galaxy10.h5',
    ]
)
def select(
    runs: Annotated[
        list[Path], typer.Argument(help="Run folders, 'RUN@*', or files of checkpoints.")
    ],
    alpha: Annotated[
        float, typer.Option(min=0, help="Rank by loss / lambda^alpha; 0 is the plain loss.")
    ] = 0.4,
    data: Annotated[
        str | None, typer.Option(help="Labelled data: probe every run's encoder on it.")
    ] = None,
    loader: Loader = None,
    set_: Set = None,
    json_: Json = False,
) -> None:
    """Rank runs by their training loss alone, without a single label."""
    import json

    from rich.console import Console

    from domainjepa import selection
    from domainjepa.encoder.places import every_kept

    runs = [one for run in runs for one in every_kept(run)]
    finished = [str(run) for run in runs if run.suffix != ".pt"]
    probes = selection.probe(runs, opened(data, loader, set_, finished)) if data else None
    found = selection.select(runs, alpha=alpha, probes=probes)
    if json_:
        typer.echo(json.dumps(found.to_dict(), indent=2))
        return
    console = Console()
    console.print(selection.render(found))
    for warning in found.warnings:
        console.print(f"[yellow]warning[/yellow] {warning}", highlight=False)


@app.command(
    examples=[
        "domainjepa export runs/galaxies --to onnx --out encoder.onnx",
        "domainjepa export runs/galaxies --to sklearn --data galaxy10.h5 --out classifier.skops",
    ]
)
def export(
    encoder: Annotated[str, typer.Argument(help="A run folder, RUN@STEP or encoder.safetensors.")],
    to: Annotated[str, typer.Option(help="sklearn, onnx or timm.")],
    out: Annotated[Path, typer.Option(help="FILE.skops, FILE.onnx, or a folder for timm.")],
    data: Annotated[
        str | None, typer.Option(help="Labelled data: the pipeline ends in a classifier.")
    ] = None,
    patches: Patches = False,
    layers: Layers = None,
    loader: Loader = None,
    set_: Set = None,
) -> None:
    """Write an encoder for scikit-learn, ONNX or timm."""
    from domainjepa.encoder.frozen import FrozenEncoder
    from domainjepa.export import export as write

    if layers is not None and not patches:
        raise UserError("--layers is of patch features: add --patches.")
    source = opened(data, loader, set_, [encoder]) if data else None
    frozen = FrozenEncoder(encoder)
    if patches:
        from domainjepa.embed_patches import parse_layers

        frozen.set_params(output="patches", layers=parse_layers(layers or "last"))
    usage = write(frozen, to, out, source)
    typer.echo(f"{out}\n{usage}")


@app.command(
    examples=[
        "domainjepa share runs/galaxies --out galaxies-encoder --licence cc-by-4.0",
        "domainjepa share runs/galaxies --out shared --evaluation scores --push owner/galaxies",
    ]
)
def share(
    encoder: Annotated[str, typer.Argument(help="A run folder, RUN@STEP or encoder.safetensors.")],
    out: Annotated[Path, typer.Option(help="The folder to write.")],
    evaluation: Annotated[
        Path | None, typer.Option(help="What evaluate --out wrote: its tables go into the card.")
    ] = None,
    licence: Annotated[
        str | None, typer.Option("--licence", "--license", help="Of the weights: cc-by-4.0 …")
    ] = None,
    watts: Annotated[
        float | None, typer.Option(min=0, help="That one device draws; 300 is assumed.")
    ] = None,
    grams: Annotated[
        float | None, typer.Option(min=0, help="Of CO2 a kWh of yours emits; 473 is assumed.")
    ] = None,
    push: Annotated[
        str | None, typer.Option(metavar="OWNER/NAME", help="Put it on the Hugging Face hub.")
    ] = None,
    private: Annotated[
        bool, typer.Option("--private", help="With --push: seen by you alone.")
    ] = False,
) -> None:
    """Write a folder for others: encoder, model card, settings, ONNX, example, SHA-256 sums."""
    from domainjepa import sharing
    from domainjepa.sharing.cost import Power

    if private and push is None:
        raise UserError("--private is of --push OWNER/NAME: there is nothing to push.")
    if push is not None and not re.fullmatch(r"[\w.-]+/[\w.-]+", push):
        raise UserError(f"--push {push!r}: write OWNER/NAME")
    given = {"watts": watts, "grams": grams}
    named = {name: value for name, value in given.items() if value is not None}
    files = sharing.share(
        encoder,
        out,
        evaluation=evaluation,
        licence=licence,
        repository=push,
        power=Power(**named, assumed=len(named) < 2),
        tell=lambda line: typer.echo(line, err=True),
    )
    typer.echo(f"{out}: {', '.join(files)}")
    if push is not None:
        typer.echo(f"FrozenEncoder({sharing.push(out, push, private=private)!r})")
    else:
        typer.echo(f"use: FrozenEncoder({str(out)!r}).transform(images); read README.md first")
