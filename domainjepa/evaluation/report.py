"""The report of an evaluation: its pictures, and one HTML file with all of it.

The HTML file holds its pictures, asks nothing of the network, and reads on a phone, light or dark.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import jinja2
import PIL.Image

from domainjepa.data.source import Image, Source
from domainjepa.evaluation import figures, montages
from domainjepa.evaluation.maps import Maps
from domainjepa.evaluation.protocol import Protocol
from domainjepa.evaluation.results import Results
from domainjepa.evaluation.splits import Rows
from domainjepa.evaluation.tables import (
    as_json,
    difference_rows,
    heading,
    legend,
    table_rows,
    unit,
    words,
    write_csv,
    write_latex,
)

PUBLISHED = {
    "dinov2": "DINOv2: Oquab et al. 2023, arXiv:2304.07193.",
    "dinov3": "DINOv3: Simeoni et al. 2025, arXiv:2508.10104.",
    "ijepa": "I-JEPA: Assran et al. 2023, arXiv:2301.08243.",
    "resnet50-imagenet": "ResNet: He et al. 2016, CVPR; weights: Wightman et al. 2021, "
    "arXiv:2110.00476.",
}
"""A part of a baseline's name -> what to cite."""
SIDE_BY_SIDE = 3
"""Encoders in an embedding map and with a montage: those given first."""


class Picture(TypedDict):
    """A picture of the HTML report."""

    title: str
    text: str
    webp: str


@dataclass(frozen=True)
class Seen:
    """Images that are looked at closely, and what encoders see in them.

    Attributes:
        images: (H, W, C) each.
        maps: encoder -> maps of these images; those whose networks show none are left out.
    """

    images: Sequence[Image]
    maps: Mapping[str, Maps]


def draw(results: Results, source: Source, folder: Path, seen: Seen | None = None) -> list[Picture]:
    """Every picture of a report, as PNG files in a folder and ready for HTML."""
    folder.mkdir(parents=True, exist_ok=True)
    pictures: list[Picture] = []

    def add(path: Path, title: str, text: str) -> None:
        # A montage of galaxies is a tenth of its size as WebP.
        buffer = io.BytesIO()
        PIL.Image.open(path).convert("RGB").save(buffer, "WEBP", quality=88)
        webp = base64.b64encode(buffer.getvalue()).decode()
        pictures.append({"title": title, "text": text, "webp": webp})

    def images(positions: Rows) -> Sequence[Image]:
        return source.__getitems__(results.rows[positions].tolist())

    for protocol in results.used:
        if len(results.shots(protocol)) > 1:
            path = folder / f"{protocol.name}-shots.png"
            figures.accuracy_against_shots(results, protocol, path)
            add(
                path,
                f"{protocol.name}: {words(results.metrics(protocol)[0])} against labels",
                "Bars are 95 % intervals: over draws of the labels and over test samples; for all "
                "labels over test samples alone.",
            )
    shown = dict(list(results.features.items())[:SIDE_BY_SIDE])
    path = folder / "map.png"
    figures.embedding_map(shown, results.labels, results.classes, path)
    add(
        path,
        "Embedding map",
        "t-SNE of frozen features of test samples. The labels only colour "
        "the points; distances between groups mean little.",
    )
    for number, (encoder, features) in enumerate(shown.items()):
        path = folder / f"neighbours-{number}.png"
        purity = montages.neighbour_purity(features, results.labels)
        montages.neighbour_montage(features, results.labels, results.classes, images, path)
        add(
            path,
            f"Nearest neighbours: {encoder}",
            f"By cosine among the test samples; a frame marks another class. Over all of them, "
            f"{100 * purity:.1f} % of the 7 nearest are of the same class.",
        )
    for protocol in results.used if results.target.kind == "classes" else []:
        path = folder / f"{protocol.name}-confusion.png"
        first = results.encoders_of(protocol)[0]
        figures.confusion_matrix(
            results.truth[protocol.name],
            results.answers[protocol.name, first].guess,
            results.classes,
            path,
        )
        add(
            path,
            f"{protocol.name}: confusion of {first}",
            f"Percent of each true class, probe with {heading(results.shots(protocol)[-1])}.",
        )
    for protocol in results.used:
        _draw_answers(results, protocol, source, folder, add)
    if seen is not None and seen.maps:
        path = folder / "maps.png"
        montages.encoder_maps(seen.images, seen.maps, path)
        add(
            path,
            "What the encoders see",
            "Features: the first three principal components of dense features over these images, "
            "as red, green and blue; one colour is one thing to the encoder. Attention: of the "
            "class token to the patches in the last block; likeness: of each position to the "
            "pooled feature. Dark is little.",
        )
    return pictures


def _draw_answers(
    results: Results,
    protocol: Protocol,
    source: Source,
    folder: Path,
    add: Callable[[Path, str, str], None],
) -> None:
    """Where the probe of the first encoder is wrong, and how numbers are told."""
    first = results.encoders_of(protocol)[0]
    answer, truth = results.answers[protocol.name, first], results.truth[protocol.name]
    probe = f"Probe with {heading(results.shots(protocol)[-1], results.target.kind)}."
    if results.target.kind == "numbers":
        path = folder / f"{protocol.name}-numbers.png"
        figures.predicted_against_true(truth, answer.guess, path)
        add(path, f"{protocol.name}: told and true, {first}", probe)
    # Only the first protocol's test samples are known by their rows.
    if results.target.kind == "classes" and protocol is results.protocols[0]:
        path = folder / f"{protocol.name}-errors.png"

        def images(positions: Rows) -> Sequence[Image]:
            return source.__getitems__(results.rows[positions].tolist())

        count = montages.worst_errors(truth, answer.chance, results.classes, images, path)
        if count:
            add(
                path,
                f"{protocol.name}: errors of {first}",
                f"{count:,} of {len(truth):,} test samples; a row for each pair of classes, the "
                f"surest errors first. {probe}",
            )


def citations(results: Results, source: Source) -> list[str]:
    """What to cite: the method, the data set, the published encoders, the software."""
    told = [
        "LeJEPA: Balestriero and LeCun 2025, arXiv:2511.08544.",
        f"domainjepa {results.settings['versions']['domainjepa']}: see its CITATION.cff.",
    ]
    if source.card and source.card.get("citation"):
        told.append(f"{source.card['title']}: {source.card['citation']}")
    names = " ".join(results.encoders).lower()
    return told + [text for name, text in PUBLISHED.items() if name in names]


def write_report(results: Results, source: Source, out: Path, seen: Seen | None = None) -> None:
    """Write results.json, results.csv, table.tex, report.html and pictures/ into a folder."""
    out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(as_json(results), indent=1, allow_nan=False)
    (out / "results.json").write_text(text + "\n", encoding="utf-8")
    write_csv(results, out / "results.csv")
    write_latex(results, out / "table.tex")
    pictures = draw(results, source, out / "pictures", seen)
    loader = jinja2.PackageLoader("domainjepa.evaluation", ".")
    page = jinja2.Environment(loader=loader, autoescape=True).get_template("report.html")
    html = page.render(
        results=results,
        pictures=pictures,
        tables=[
            {
                "protocol": protocol,
                "metric": unit(metric),
                "first": metric == results.metrics(protocol)[0],
                "shots": [heading(shots, results.target.kind) for shots in results.shots(protocol)],
                "rows": table_rows(results, protocol, metric),
                "differences": difference_rows(results, protocol, metric),
                "legend": legend(protocol),
            }
            for protocol in results.used
            for metric in results.metrics(protocol)
        ],
        citations=citations(results, source),
        settings=json.dumps(results.settings, indent=1),
    )
    (out / "report.html").write_text(html, encoding="utf-8")
