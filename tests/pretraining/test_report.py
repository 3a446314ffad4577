from __future__ import annotations

import gc
import weakref
from html.parser import HTMLParser
from pathlib import Path

from domainjepa.pretraining.report import draw_curves, write_run_report


class Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in ("src", "href")]


def test_the_report_holds_its_pictures_and_escapes_what_it_shows(tmp_path: Path) -> None:
    metrics = [
        {"step": step, "loss": 1 / step, "prediction": 0.1, "sigreg": 2.0, "effective_rank": None}
        for step in (1, 2, 3)
    ]
    path = tmp_path / "report.html"
    write_run_report(path, "<b>run", 3, [("data", "<script>alert(1)</script>")], metrics)
    text = path.read_text()
    assert "<script>" not in text
    links = Links()
    links.feed(text)
    assert links.found
    assert all(link.startswith("data:image/png;base64,") for link in links.found)


def test_curves_of_one_point_and_of_negative_losses_are_drawn() -> None:
    assert draw_curves([{"step": 1, "loss": -0.1, "lr": 1e-3}]).startswith(b"\x89PNG")


class Weights:
    """Stands for what a run holds."""


def test_a_report_keeps_nothing_of_its_callers() -> None:
    # Not even until the garbage collector comes by, which a long run sees seldom.
    def run(first: float, last: float) -> weakref.ref[Weights]:
        weights = Weights()
        draw_curves([{"step": step, "loss": last + first / step} for step in range(1, 60)])
        return weakref.ref(weights)

    gc.collect()
    gc.disable()
    try:
        kept = [run(*loss)() for loss in ((7.58e-6, 0.84e-6), (1.03e4, 0.24e4), (3.0, 90.0))]
    finally:
        gc.enable()
    assert kept == [None] * 3


def test_a_run_without_metrics_has_a_report(tmp_path: Path) -> None:
    write_run_report(tmp_path / "report.html", "run", 9, [("data", "none")], [])
    assert "data:image" not in (tmp_path / "report.html").read_text()
