"""The report of an evaluation: its pictures, and one HTML file with all of it.

The HTML file holds its pictures, asks nothing of the network, and reads on a phone, light or dark.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jinja2

from domainjepa.data.metadata.beside import of_persons
from domainjepa.data.source import Source
from domainjepa.domains.domain import OF_PATIENTS
from domainjepa.domains.proposal import propose_domain
from domainjepa.evaluation.protocol import Protocol
from domainjepa.evaluation.reporting.gallery import Gallery, Seen
from domainjepa.evaluation.reporting.places import place_rows, places_told
from domainjepa.evaluation.reporting.tables import (
    as_json,
    difference_rows,
    heading,
    legend,
    part_heads,
    part_metrics,
    part_rows,
    side_by_side,
    table_rows,
    unit,
    write_csv,
    write_latex,
)
from domainjepa.evaluation.results.results import Results

PUBLISHED = {
    "dinov2": "DINOv2: Oquab et al. 2023, arXiv:2304.07193.",
    "dinov3": "DINOv3: Simeoni et al. 2025, arXiv:2508.10104.",
    "ijepa": "I-JEPA: Assran et al. 2023, arXiv:2301.08243.",
    "resnet50-imagenet": "ResNet: He et al. 2016, CVPR; weights: Wightman et al. 2021, "
    "arXiv:2110.00476.",
}
"""A part of a baseline's name -> what to cite."""


def may_show_patients(source: Source) -> bool:
    """Whether pictures of the samples may be of patients, by what the file or the images say."""
    return of_persons(source) or propose_domain(source)[0] in OF_PATIENTS


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
    pictures = Gallery(results, source, out / "pictures").draw(seen)
    loader = jinja2.PackageLoader("domainjepa.evaluation.reporting", ".")
    page = jinja2.Environment(loader=loader, autoescape=True).get_template("report.html")
    html = page.render(
        results=results,
        pictures=pictures,
        patients=bool(pictures) and may_show_patients(source),
        tables=[
            _table(results, protocol, metric)
            for protocol in results.used
            for metric in results.metrics(protocol)
        ],
        parts=[part for protocol in results.used for part in _parts(results, protocol)],
        part_heads=part_heads(results),
        one="label" if results.target.kind == "multi-label" else "class",
        places_told=places_told(results),
        citations=citations(results, source),
        settings=json.dumps(results.settings, indent=1),
    )
    (out / "report.html").write_text(html, encoding="utf-8")


def _table(results: Results, protocol: Protocol, metric: str) -> dict[str, Any]:
    """One metric of a protocol: encoders by shots, and their paired differences."""
    return {
        "protocol": protocol,
        "metric": unit(metric),
        "first": metric == results.metrics(protocol)[0],
        "shots": [heading(shots, results.target.kind) for shots in results.shots(protocol)],
        "rows": table_rows(results, protocol, metric),
        "differences": difference_rows(results, protocol, metric),
        "legend": legend(protocol),
        "places": place_rows(results, protocol, metric),
    }


def _parts(results: Results, protocol: Protocol) -> list[dict[str, Any]]:
    """Tables of classes or labels: all encoders by one metric, then each by all of them."""
    encoders = results.encoders_of(protocol)
    metrics = part_metrics(results, protocol, encoders[0])
    if not metrics:
        return []
    names = [results.names[encoder] for encoder in encoders]
    head = heading(results.shots(protocol)[-1], results.target.kind)
    found = []
    if len(encoders) > 1:
        found.append({
            "title": f"{protocol.name}, {head}: {unit(metrics[0])}",
            "open": True,
            "heads": names,
            "rows": side_by_side(results, protocol),
        })  # fmt: skip
    for encoder, name in zip(encoders, names, strict=True):
        found.append({
            "title": f"{protocol.name}, {head}: {name}",
            "open": len(encoders) == 1,
            "heads": [unit(metric) for metric in metrics],
            "rows": part_rows(results, protocol, encoder),
        })  # fmt: skip
    return found
