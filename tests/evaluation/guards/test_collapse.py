from __future__ import annotations

import json

import numpy as np
import pytest

from domainjepa.evaluation.guards.collapse import collapsed
from domainjepa.evaluation.protocol import Protocol
from domainjepa.evaluation.reporting.figures import embed_in_plane
from domainjepa.evaluation.suite import evaluate
from tests.evaluation.toys import Table, make_source


@pytest.mark.parametrize("width", [8, 3000])
def test_features_that_say_nothing_are_told(width, rng):
    noise = rng.normal(size=(50, width)).astype(np.float32)
    assert collapsed(noise) is None
    assert "same features" in collapsed(np.full((50, width), 7, np.float32))
    assert "same features" in collapsed(np.full((50, width), 7, np.float32) + 1e-6 * noise)
    line = np.outer(rng.normal(size=50), rng.normal(size=width)).astype(np.float32)
    assert "100.0 %" in collapsed(line + 1)
    share = 0.997  # of the variance along the line, as once was reported as success
    noisy = line * np.sqrt(share / line.var()) + noise * np.sqrt((1 - share) / noise.var())
    assert "one direction holds 99." in collapsed(noisy)


@pytest.mark.parametrize(
    "features", [np.full((40, 7), 7.0), np.outer(np.arange(1, 41), np.ones(7))]
)
def test_one_point_is_mapped_without_a_crash(features):
    assert np.array_equal(embed_in_plane(features, 0), np.zeros((40, 2)))


def test_a_report_of_collapsed_encoders_and_endless_names_comes_out_whole(tmp_path, rng):
    labels = rng.integers(0, 3, 90)
    classes = ("a" * 3000, "a" * 2999 + "$x_", "<b>&")
    flat, line = np.full((90, 7), 7.0), np.outer(rng.random(90) + 1, np.arange(7))
    tables = [Table("flat", flat), Table("line", line), Table("n" * 500, rng.normal(size=(90, 7)))]
    run = [Protocol(name=probe, probe=probe, shots=("all",)) for probe in ("linear", "knn")]
    results = evaluate(tables, make_source(labels, classes=classes), run, tmp_path)
    said = " ".join(results.warnings)
    assert "flat is collapsed: all images have the same features" in said
    assert "line is collapsed: one direction holds 100.0 %" in said
    found = json.loads((tmp_path / "results.json").read_text())
    assert {row["label"] for row in found["summary"] if "label" in row} == set(classes)
    page = (tmp_path / "report.html").read_text()
    assert "flat is collapsed" in page
    assert "a" * 100 not in page.partition("Settings and versions")[0]
