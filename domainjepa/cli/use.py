"""Commands that use an encoder: evaluate, embed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from domainjepa.cli.app import app
from domainjepa.cli.options import Data, Json, Loader, Set, opened, target_settings
from domainjepa.errors import UserError


@app.command()
def evaluate(
    encoders: Annotated[
        list[str],
        typer.Argument(help="Run folders, encoder.safetensors files, or timm:NAME[=WEIGHTS]."),
    ],
    data: Data,
    protocol: Annotated[
        list[str] | None,
        typer.Option(
            help="few-shot (default), linear, knn, finetune, few-shot-finetune, or a file."
        ),
    ] = None,
    baseline: Annotated[
        list[str] | None,
        typer.Option(
            help="untrained and pixels (default both), dinov2-small, timm:NAME, …: "
            "`domainjepa list baselines`. NAME=WEIGHTS takes a file, NAME@224 another image size."
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            help="Column to tell instead of the labels: classes, numbers such as a redshift, or "
            "several columns of 1, 0 and blanks with commas between them."
        ),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            help="What to measure, the first one shown first: auroc, auprc, f1, kappa, rmse, "
            "sensitivity@0.9, …; by default what the kind of target usually asks for."
        ),
    ] = None,
    name: Annotated[
        list[str] | None,
        typer.Option(help="What to call the encoders in tables, once for each, in their order."),
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Folder for features; default OUT/features.")
    ] = None,
    maps: Annotated[
        str, typer.Option(help="Rows, such as 3,17,42, to draw features and attention of.")
    ] = "",
    out: Annotated[Path, typer.Option(help="Folder of the report.")] = Path("evaluation"),
    loader: Loader = None,
    set_: Set = None,
    json_: Json = False,
) -> None:
    """Compare encoders by probes or fine-tuning; writes report.html, results.json, .csv, .tex."""
    from rich.console import Console

    from domainjepa.evaluation import suite, terminal
    from domainjepa.evaluation.baselines import baselines, encoder
    from domainjepa.evaluation.protocol import measuring, read_protocol

    console = Console(stderr=json_)
    # What is misspelt is told before anything is opened.
    protocols = [measuring(read_protocol(one), metric) for one in protocol or ["few-shot"]]
    wanted, rest = target_settings(target, set_)
    if len(name or ()) not in (0, len(encoders)):
        raise UserError(f"--name: give one for each of the {len(encoders)} encoders, or none.")
    source = opened(data, loader, rest, encoders)
    called: list[str | None] = [*name] if name else [None] * len(encoders)
    trained = [encoder(text, own) for text, own in zip(encoders, called, strict=True)]
    names = ["untrained", "pixels"] if baseline is None else baseline
    results = suite.evaluate(
        trained,
        source,
        protocols,
        out,
        baselines=baselines(names, trained),
        target=wanted,
        cache=cache,
        maps=_rows(maps),
        console=console,
    )
    if json_:
        typer.echo((out / "results.json").read_text(encoding="utf-8"))
    else:
        terminal.show(results, console)
        typer.echo(f"report: {out}/report.html")


def _rows(text: str) -> list[int]:
    """Row numbers with commas between them."""
    try:
        return [int(word) for word in text.split(",") if word.strip()]
    except ValueError:
        raise UserError(f"--maps {text}: write row numbers with commas, such as 3,17,42.") from None


@app.command()
def embed(
    encoder: Annotated[
        str, typer.Argument(help="A run folder, encoder.safetensors, or timm:NAME[=WEIGHTS].")
    ],
    data: Data,
    out: Annotated[Path, typer.Option(help="FILE.npz, FILE.h5 or FILE.parquet")],
    loader: Loader = None,
    set_: Set = None,
) -> None:
    """Write the features of every sample, with labels, ids and split where the data has them."""
    from domainjepa.embed import embed as write

    shape = write(encoder, opened(data, loader, set_, [encoder]), out)
    typer.echo(f"{out}: features {shape[0]:,} x {shape[1]}")


@app.command()
def select(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, or files of their checkpoints.")],
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


@app.command()
def export(
    encoder: Annotated[str, typer.Argument(help="A run folder or encoder.safetensors.")],
    to: Annotated[str, typer.Option(help="sklearn, onnx or timm.")],
    out: Annotated[Path, typer.Option(help="FILE.skops, FILE.onnx, or a folder for timm.")],
    data: Annotated[
        str | None, typer.Option(help="Labelled data: the pipeline ends in a classifier.")
    ] = None,
    loader: Loader = None,
    set_: Set = None,
) -> None:
    """Write an encoder for scikit-learn, ONNX or timm."""
    from domainjepa.encoder.frozen import FrozenEncoder
    from domainjepa.export import export as write

    source = opened(data, loader, set_, [encoder]) if data else None
    usage = write(FrozenEncoder(encoder), to, out, source)
    typer.echo(f"{out}\n{usage}")
