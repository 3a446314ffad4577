"""Commands that find: similar, outliers, explore, label."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from domainjepa.cli.app import app
from domainjepa.cli.options import Data, Json, Loader, Set, opened
from domainjepa.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from domainjepa.data.source import Source
    from domainjepa.discovery import mapping, proposals
    from domainjepa.discovery.embedded import Embedded
    from domainjepa.discovery.outlyingness import Measure
    from domainjepa.discovery.space import Kind

Encoder = Annotated[
    str,
    typer.Argument(help="A run folder, RUN@STEP, encoder.safetensors, or timm:NAME[=WEIGHTS]."),
]
Kept = Annotated[
    Path | None,
    typer.Option(
        "--features", help="What `domainjepa embed` wrote of the same data: nothing is embedded."
    ),
]
SpaceName = Annotated[
    str, typer.Option("--space", help="plain or whitened: in which features are compared.")
]
Top = Annotated[int, typer.Option(min=1, help="How many.")]
Picture = Annotated[Path | None, typer.Option("--out", help="Draw a montage to this PNG.")]
Csv = Annotated[Path | None, typer.Option("--csv", help="Write a table to this CSV.")]


def one_of(option: str, value: str, choices: Sequence[str]) -> str:
    """The value of an option that takes one of some words.

    Raises:
        UserError: it is none of them.
    """
    if value not in choices:
        raise UserError(f"{option} {value!r} is not known.{did_you_mean(value, choices)}")
    return value


def space_kind(value: str) -> Kind:
    """What `--space` says."""
    return cast("Kind", one_of("--space", value, ("plain", "whitened")))


def table_file(path: Path | None) -> Path | None:
    """The path of a table to write, asked before the work that it holds.

    Raises:
        UserError: another suffix than .csv.
    """
    if path is not None and path.suffix.lower() != ".csv":
        raise UserError(f"tables are CSV: name the file {path.with_suffix('.csv').name!r}")
    return path


def picture_file(path: Path | None) -> Path | None:
    """The same of a picture.

    Raises:
        UserError: another suffix than .png.
    """
    from domainjepa.pictures import named_png

    return None if path is None else named_png(path)


def seen(
    encoder: str, data: str, loader: str | None, set_: Sequence[str] | None, kept: Path | None
) -> Embedded:
    """The samples of `--data` with their features."""
    return seen_of(encoder, opened(data, loader, set_, [encoder]), kept)


def seen_of(encoder: str, source: Source, kept: Path | None) -> Embedded:
    """The samples of a source with their features."""
    from rich.console import Console

    from domainjepa.discovery.embedded import embedded

    return embedded(encoder, source, kept, Console(stderr=True))


@app.command(
    examples=[
        "domainjepa similar runs/galaxies --data galaxy10.h5 --query 17,42 --out alike.png",
        "domainjepa similar runs/galaxies --data galaxy10.h5 --features f.h5 --query mine.png",
    ]
)
def similar(
    encoder: Encoder,
    data: Data,
    query: Annotated[
        str, typer.Option(help="Rows such as 17,42; ids; or a file with images of your own.")
    ],
    top: Top = 20,
    space: SpaceName = "plain",
    apart: Annotated[
        bool, typer.Option("--apart", help="Leave out samples of the query's own group.")
    ] = False,
    features: Kept = None,
    out: Picture = None,
    csv: Csv = None,
    loader: Loader = None,
    set_: Set = None,
    json_: Json = False,
) -> None:
    """Find the samples most like some of them, or like an image of your own."""
    kind, picture, table = space_kind(space), picture_file(out), table_file(csv)
    from rich.console import Console

    from domainjepa.discovery import similar as found
    from domainjepa.discovery.queries import queries_of

    of = seen(encoder, data, loader, set_, features)
    results = found.similar(of, queries_of(query, of), top, kind, apart)
    if json_:
        typer.echo(json.dumps(found.as_json(results, of), indent=1))
    else:
        for one in results:
            Console().print(found.table_of(one, of))
    if table:
        found.write_table(results, of, table)
        typer.echo(f"table: {table}", err=True)
    if picture:
        found.draw(results, of, picture)
        typer.echo(f"picture: {picture}", err=True)


@app.command(
    examples=[
        "domainjepa outliers runs/galaxies --data galaxy10.h5 --out odd.png --csv odd.csv",
        "domainjepa outliers runs/galaxies --data galaxy10.h5 --by density --neighbours 50",
    ]
)
def outliers(
    encoder: Encoder,
    data: Data,
    top: Top = 50,
    by: Annotated[
        str, typer.Option(help="knn (distance), density (local outlier factor), or forest.")
    ] = "knn",
    neighbours: Annotated[
        int, typer.Option(min=1, help="k: more than there may be of one odd kind.")
    ] = 50,
    space: Annotated[
        str | None,
        typer.Option(help="plain or whitened; by default whitened, and plain of the forest."),
    ] = None,
    features: Kept = None,
    out: Picture = None,
    csv: Csv = None,
    loader: Loader = None,
    set_: Set = None,
    json_: Json = False,
) -> None:
    """Find the oddest samples: rare kinds, artefacts, what went wrong."""
    picture, table = picture_file(out), table_file(csv)
    measure = cast("Measure", one_of("--by", by, ("knn", "density", "forest")))
    kind = space_kind(space or ("plain" if measure == "forest" else "whitened"))
    from rich.console import Console

    from domainjepa.discovery import odd
    from domainjepa.discovery.outlyingness import outlyingness
    from domainjepa.discovery.space import space_of

    of = seen(encoder, data, loader, set_, features)
    if len(of) < 3:
        raise UserError(f"{of.source.name} has {len(of)} samples: among so few none is odd.")
    console, where = Console(stderr=True), space_of(kind, of.features)
    scores = outlyingness(of.features, where, measure, neighbours, console=console)
    order = odd.oddest(scores, top)
    if json_:
        typer.echo(json.dumps(odd.as_json(order, scores, of), indent=1))
    else:
        Console().print(odd.table_of(order, scores, of, measure))
    if table:
        odd.write_table(scores, of, table)
        typer.echo(f"table of all {len(of):,}: {table}", err=True)
    if picture:
        odd.draw(order, scores, of, measure, picture)
        typer.echo(f"picture: {picture}", err=True)


@app.command(
    examples=[
        "domainjepa explore runs/galaxies --data galaxy10.h5 --out explore.html",
        "domainjepa explore runs/galaxies --data galaxy10.h5 --axes pca --out explorer/",
    ]
)
def explore(
    encoder: Encoder,
    data: Data,
    out: Annotated[
        Path, typer.Option(help="FILE.html, one page with all in it; or a folder, for more.")
    ],
    axes: Annotated[
        str, typer.Option(help="umap, tsne or pca; auto is umap where it is installed.")
    ] = "auto",
    space: SpaceName = "plain",
    neighbours: Annotated[
        int, typer.Option(min=1, help="k of the outlier score and the density.")
    ] = 50,
    title: Annotated[
        str | None, typer.Option(help="What to call the data; a card's name by default.")
    ] = None,
    features: Kept = None,
    loader: Loader = None,
    set_: Set = None,
) -> None:
    """Write a page to look at all samples with: a map, their pictures, what is alike."""
    from typing import get_args

    from rich.console import Console

    from domainjepa.discovery import explorer, mapping

    kind, wanted = space_kind(space), one_of("--axes", axes, get_args(mapping.Axes))
    if out.suffix and out.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"--out {out.name!r}: a page is FILE.html, and a folder has no ending.")
    source = opened(data, loader, set_, [encoder])
    explorer.refuse_number(len(source), source.name, bool(out.suffix))
    of = seen_of(encoder, source, features)
    made = explorer.explore(
        of,
        out,
        axes=cast("mapping.Axes", wanted),
        space=kind,
        neighbours=neighbours,
        title=title,
        console=Console(stderr=True),
    )
    typer.echo(
        f"{made.path}: {len(of):,} samples, {made.size / 1e6:.1f} MB, pictures of {made.side} px, "
        f"{made.axes}. Open it in a browser; it needs no network."
    )


@app.command(
    examples=[
        "domainjepa label runs/galaxies --data galaxy10.h5 --next 40 --csv todo.csv --out todo.png",
        "domainjepa label runs/galaxies --data galaxy10.h5 --labels todo.csv --csv next.csv",
        "domainjepa label runs/galaxies --data galaxy10.h5 --suspects --csv doubtful.csv",
    ]
)
def label(
    encoder: Encoder,
    data: Data,
    next_: Annotated[int, typer.Option("--next", min=1, help="How many samples to show.")] = 20,
    labels: Annotated[
        list[Path] | None,
        typer.Option(help="A CSV that was filled in; repeat it for several, the last one wins."),
    ] = None,
    by: Annotated[
        str, typer.Option(help="typicality or margin; auto is margin from 10 labels a class on.")
    ] = "auto",
    suspects: Annotated[
        bool, typer.Option("--suspects", help="Show labels in doubt, not samples without one.")
    ] = False,
    answers: Annotated[
        Path | None, typer.Option(help="Write what the probe says of every sample to this CSV.")
    ] = None,
    features: Kept = None,
    out: Picture = None,
    csv: Annotated[
        Path | None, typer.Option("--csv", help="Write a CSV with a column to fill in.")
    ] = None,
    loader: Loader = None,
    set_: Set = None,
) -> None:
    """Say which samples to label next, fit the probe again, find labels in doubt."""
    from typing import get_args

    picture, table, every = picture_file(out), table_file(csv), table_file(answers)
    from rich.console import Console

    from domainjepa.discovery import label_files, proposals

    how = cast("proposals.By", one_of("--by", by, get_args(proposals.By)))
    of = seen(encoder, data, loader, set_, features)
    work = proposals.Labelling.begin(of, labels or [])
    typer.echo(work.told())
    if every:
        work.write_answers(every)
        typer.echo(f"answers: {every}", err=True)
    if suspects:
        found, suspected = work.in_doubt(next_)
        typer.echo(f"{suspected:,} labels are suspected of being wrong; the most doubtful first")
    elif every and (work.known.labels >= 0).all():
        return
    else:
        found = work.propose(next_, how)
    Console().print(proposals.table_of(found, of))
    if table:
        label_files.write_template(table, of.samples, found.order, found.words)
        typer.echo(f"to fill in: {table}; then domainjepa label … --labels {table}", err=True)
    if picture:
        proposals.draw(found, of, picture)
        typer.echo(f"picture: {picture}", err=True)
