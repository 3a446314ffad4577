"""The command that compares encoders: evaluate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from domainjepa.cli.app import app
from domainjepa.cli.options import Data, Json, Loader, Set, opened, target_settings
from domainjepa.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from domainjepa.data.source import Source


@app.command(
    examples=[
        "domainjepa evaluate runs/galaxies --data galaxy10.h5",
        'domainjepa evaluate runs/chest --data chest.csv --target "Edema,Effusion" --per patient',
    ]
)
def evaluate(
    encoders: Annotated[
        list[str],
        typer.Argument(
            help="Run folders, RUN@STEP, encoder.safetensors files, or timm:NAME[=WEIGHTS]."
        ),
    ],
    data: Data,
    protocol: Annotated[
        list[str] | None,
        typer.Option(
            help="few-shot (default), linear, knn, finetune, few-shot-finetune; of masks "
            "segmentation, segmentation-knn, segmentation-finetune; or a file."
        ),
    ] = None,
    baseline: Annotated[
        list[str] | None,
        typer.Option(
            help="untrained and pixels (default both; of masks untrained and intensity), "
            "dinov2-small, timm:NAME, …: `domainjepa list baselines`. NAME=WEIGHTS takes a file, "
            "NAME@224 another image size."
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
    per: Annotated[
        str | None,
        typer.Option(
            help="One answer for all samples of a patient, volume, slide or visit: groups, or the "
            "column that names it. Draws, splits and intervals are of these."
        ),
    ] = None,
    pool: Annotated[
        list[str] | None,
        typer.Option(
            help="How --per makes one answer of many samples: mean (default), max, mean+max of "
            "features; scores-mean, scores-max; attention. Several are compared."
        ),
    ] = None,
    within: Annotated[
        str,
        typer.Option(
            help="The label where samples of one --per differ: refused (same), or majority, max, "
            "mean (of numbers), leave-out."
        ),
    ] = "same",
    test_data: Annotated[
        str | None,
        typer.Option(
            help="Data from elsewhere: probes fitted on --data are scored on them, beside a probe "
            "fitted on them."
        ),
    ] = None,
    test_set: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE", help="data.* settings of --test-data, in the place of --set."
        ),
    ] = None,
    test_all: Annotated[
        bool,
        typer.Option("--test-all", help="Score all of --test-data; no probe is fitted on them."),
    ] = False,
    match: Annotated[
        str,
        typer.Option(help="Classes of --test-data by their names in --data: THERE=HERE,…"),
    ] = "",
    by: Annotated[
        str | None,
        typer.Option(
            help="Column, such as scanner or site: each value is scored apart, and whether it "
            "confounds the scores is told."
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the report.")] = Path("evaluation"),
    loader: Loader = None,
    set_: Set = None,
    json_: Json = False,
) -> None:
    """Compare encoders by probes or fine-tuning; writes report.html, results.json, .csv, .tex."""
    from rich.console import Console

    from domainjepa.evaluation import suite
    from domainjepa.evaluation.cohorts.units import Within
    from domainjepa.evaluation.encoders.baselines import baselines, encoder
    from domainjepa.evaluation.protocol import measuring, pooling, read_protocol
    from domainjepa.evaluation.reporting import places, terminal

    console = Console(stderr=json_)
    # What is misspelt is told before anything is opened.
    protocols = [measuring(read_protocol(one), metric) for one in protocol or ["few-shot"]]
    protocols = pooling(protocols, pool or ())
    for option, given, needed, there in (
        ("--pool", pool, "--per", per),
        ("--test-all", test_all, "--test-data", test_data),
        ("--match", match, "--test-data", test_data),
    ):
        if given and not there:
            raise UserError(f"{option} says how {needed} is taken, which is not given.")
    settled = _one_of("--within", within, get_args(Within))
    shown, matched = _rows(maps), _matches(match)
    wanted, rest = target_settings(target, set_)
    if len(name or ()) not in (0, len(encoders)):
        raise UserError(f"--name: give one for each of the {len(encoders)} encoders, or none.")
    source = opened(data, loader, rest, encoders)
    called: list[str | None] = [*name] if name else [None] * len(encoders)
    trained = [encoder(text, own) for text, own in zip(encoders, called, strict=True)]
    floor = "intensity" if any(one.of_masks for one in protocols) else "pixels"
    names = ["untrained", floor] if baseline is None else baseline
    results = suite.evaluate(
        trained,
        source,
        protocols,
        out,
        baselines=baselines(names, trained),
        target=wanted,
        cache=cache,
        maps=shown,
        per=per,
        within=settled,
        test_source=_elsewhere(test_data, loader, rest, test_set, encoders),
        test_all=test_all,
        match=matched,
        by=by,
        console=console,
    )
    if json_:
        typer.echo((out / "results.json").read_text(encoding="utf-8"))
    else:
        terminal.show(results, console)
        places.show_places(results, console)
        typer.echo(f"report: {out}/report.html")


def _elsewhere(
    data: str | None,
    loader: str | None,
    settings: list[str] | None,
    own: list[str] | None,
    encoders: list[str],
) -> Source | None:
    """The source behind --test-data; settings of its own take the place of those of --data."""
    if data is None:
        if own:
            raise UserError("--test-set says something of --test-data, and there are none.")
        return None
    try:
        return opened(data, None if own else loader, own or settings, encoders)
    except UserError as error:
        if own or not settings:
            raise
        raise UserError(
            f"--test-data: {error} It was opened with --set, as --data was; --test-set KEY=VALUE "
            "says something of it alone."
        ) from error


def _one_of(option: str, value: str, known: Sequence[str]) -> Any:
    if value not in known:
        raise UserError(f"{option} {value}.{did_you_mean(value, known)} Known: {', '.join(known)}")
    return value


def _matches(text: str) -> dict[str, str]:
    """THERE=HERE with commas between them."""
    pairs = [word.partition("=") for word in text.split(",") if word.strip()]
    if any(not mark or not here.strip() for _, mark, here in pairs):
        raise UserError(f"--match {text}: write THERE=HERE,… such as 0=FRI,1=FRII.")
    return {there.strip(): here.strip() for there, _, here in pairs}


def _rows(text: str) -> list[int]:
    """Row numbers with commas between them."""
    try:
        return [int(word) for word in text.split(",") if word.strip()]
    except ValueError:
        raise UserError(f"--maps {text}: write row numbers with commas, such as 3,17,42.") from None
