"""Commands that use an encoder: embed, select, export."""

from __future__ import annotations

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
        Path, typer.Option(help="FILE.npz, FILE.h5 or FILE.parquet; of patches FILE.h5 or .zarr")
    ],
    patches: Patches = False,
    layers: Layers = None,
    scale: Annotated[
        float | None, typer.Option(help="Of patches: images are resized by this first.")
    ] = None,
    loader: Loader = None,
    set_: Set = None,
) -> None:
    """Write the features of every sample, with labels, ids and split where the data has them."""
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

    shape = write(encoder, source, out)
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
