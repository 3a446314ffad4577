from __future__ import annotations

import csv
import io
import json
import math
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import PIL.Image
import pytest
from rich.console import Console
from scipy.ndimage import label
from sklearn import metrics

from domainjepa.data.opening import open_source
from domainjepa.encoder.frozen import FrozenEncoder
from domainjepa.errors import UserError
from domainjepa.evaluation.protocol import Protocol
from domainjepa.evaluation.reporting import montages, tables, terminal
from domainjepa.evaluation.suite import evaluate
from tests.evaluation.toys import Table, make_source


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 200)
    hot = np.eye(8)[labels]
    good = Table("good_&<b>", hot + 0.4 * rng.normal(size=hot.shape))
    poor = Table("poor", hot + 3 * rng.normal(size=hot.shape))
    source = make_source(labels, classes=("spiral", "ring", "[odd]"))
    protocol = Protocol(name="few", probe="linear", shots=(1, 5, "all"), draws=3)
    out = tmp_path_factory.mktemp("report")
    return evaluate([good, poor], source, [protocol], out), out


def test_json_keeps_the_contract(made):
    _, out = made
    found = json.loads((out / "results.json").read_text())
    assert {"settings", "records", "summary"} <= set(found)
    record = found["records"][0]
    assert set(record) == {"encoder", "data", "protocol", "shots", "draw", "metric", "value"}
    assert {row["shots"] for row in found["records"]} == {1, 5, "all"}
    for row in found["summary"]:
        values = [
            one["value"]
            for one in found["records"]
            if all(one.get(n) == row.get(n) for n in ("encoder", "shots", "metric", "label"))
        ]
        assert len(values) == row["draws"]
        assert math.isclose(row["mean"], np.mean(values))
        assert row["low"] <= row["high"]
        assert ("draws" in row["interval"]) == (row["shots"] != "all")


def test_csv_says_what_json_says(made):
    results, out = made
    rows = list(csv.DictReader((out / "results.csv").open()))
    assert len(rows) == len(results.summary) == 2 * 3 * 5 + 2 * 3 * 3
    assert [row["label"] for row in rows] == [row.get("label", "") for row in results.summary]
    assert [float(row["mean"]) for row in rows] == [row["mean"] for row in results.summary]


def test_latex_is_escaped_and_whole(made):
    text = (made[1] / "table.tex").read_text()
    assert r"good\_\&<b>" in text
    assert text.count(r"\begin{tabular}{lrrr}") == text.count(r"\end{tabular}") == 5
    lines = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert {len(re.findall(r"(?<!\\)&", line)) for line in lines} == {3}


class Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.text = io.StringIO()

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "img", "link", "br"):
            self.open.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href", "srcset")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.write(data)


def test_html_is_self_contained_and_well_formed(made):
    html = (made[1] / "report.html").read_text()
    reader = Reader()
    reader.feed(html)
    assert reader.open == []
    assert reader.links
    assert all(link.startswith("data:image/webp;base64,") for link in reader.links)
    assert "good_&<b>" in reader.text.getvalue()  # as text: it was escaped
    assert "viewport" in html
    assert "<script" not in html


def test_the_terminal_shows_every_number(made):
    results, _ = made
    buffer = io.StringIO()
    terminal.show(results, Console(file=buffer, width=160))
    shown = buffer.getvalue()
    for row in tables.table_rows(results, results.protocols[0], "accuracy"):
        assert row["encoder"] in shown
        assert all(cell in shown for cell in row["cells"])


@pytest.mark.parametrize("width", [80, 60])
def test_narrow_terminals_show_whole_names_and_numbers(width, made):
    results, _ = made
    buffer = io.StringIO()
    terminal.show(results, Console(file=buffer, width=width))
    lines = buffer.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    protocol = results.protocols[0]
    for row in tables.table_rows(results, protocol, "accuracy"):
        assert all(any(cell in line for line in lines) for cell in row["cells"])
        assert any(line.startswith(f"  {row['encoder']}  ") for line in lines)
    for row in tables.difference_rows(results, protocol, "accuracy"):
        assert any(row["encoder"] in line and row["cells"][0] in line for line in lines)
        assert all(any(cell in line for line in lines) for cell in row["cells"])


def test_every_class_of_every_encoder_is_in_the_page_and_the_files(made):
    results, out = made
    reader = Reader()
    reader.feed((out / "report.html").read_text())
    text = reader.text.getvalue()
    found = json.loads((out / "results.json").read_text())["summary"]
    for encoder in results.encoders:
        rows = tables.part_rows(results, results.protocols[0], encoder)
        assert [row["label"] for row in rows] == list(results.target.classes)
        assert all(cell in text for row in rows for cell in row["cells"])
        of_classes = [r for r in found if r["encoder"] == encoder and "label" in r]
        assert len(of_classes) == 3 * 3
        truth, guess = results.truth["few"], results.answers["few", encoder].guess
        for row in of_classes:
            one = results.target.classes.index(row["label"])
            measure = getattr(metrics, f"{row['metric']}_score")
            assert row["mean"] == pytest.approx(measure(truth == one, guess == one))
        assert f"confusion of {encoder}" in text


def test_tables_mark_the_best(made):
    results, _ = made
    good, poor = tables.table_rows(results, results.protocols[0], "accuracy")
    assert (good["best"], poor["best"]) == ([True] * 3, [False] * 3)
    (gap,) = tables.difference_rows(results, results.protocols[0], "accuracy")
    assert gap["best"][-1]  # the interval at all labels leaves out zero
    assert gap["cells"][-1].startswith("+")


def test_every_picture_is_drawn(made):
    folder = made[1] / "pictures"
    names = {path.name for path in folder.iterdir()}
    assert names == {
        "few-shots.png", "few-curves.png", "few-roc-of-each.png", "few-reliability.png",
        "few-confusion-0.png", "few-confusion-1.png", "few-errors.png", "map.png",
        "neighbours-0.png", "neighbours-1.png",
    }  # fmt: skip
    for path in folder.iterdir():
        pixels = np.asarray(PIL.Image.open(path).convert("RGB"))
        assert min(pixels.shape[:2]) > 100
        assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 20


def test_protocols_of_other_seeds_are_reported_on_their_own_test_set(tmp_path, rng):
    labels = rng.permutation(np.repeat([0, 1], [60, 47]))
    run = [Protocol(name=f"s{n}", probe="knn", shots=("all",), seed=n) for n in (0, 1)]
    label = Table("x", np.eye(2)[labels])
    results = evaluate([label], make_source(labels), run, tmp_path)
    for protocol in run:
        assert np.array_equal(
            results.answers[protocol.name, "x"].guess, results.truth[protocol.name]
        )
    assert not np.array_equal(*results.truth.values())


def test_neighbours_are_the_nearest_by_cosine():
    angles = np.deg2rad([0, 10, 25, 90, 100, 170, 200, 260, 300])
    lengths = np.array([1, 5, 0.1, 2, 1, 9, 1, 3, 1])
    features = (lengths * np.stack([np.cos(angles), np.sin(angles)])).T.astype(np.float32)
    found = montages.nearest_by_cosine(features, np.array([0, 4]))
    assert found.shape == (2, 7)
    assert found[0].tolist()[:4] == [1, 2, 8, 3]
    assert found[1].tolist()[:3] == [3, 5, 2]
    few = montages.nearest_by_cosine(features[:3], np.array([0, 1, 2]))
    assert few.tolist() == [[1, 2], [0, 2], [1, 0]]


def test_purity_does_not_hang_on_how_many_are_compared_at_once(rng, monkeypatch):
    features, labels = rng.normal(size=(60, 5)).astype(np.float32), rng.integers(0, 2, 60)
    likeness = np.corrcoef(np.c_[features, -features])  # each row and its opposite: cosine
    nearest = np.argsort(-(likeness - 2 * np.eye(60)), axis=1)[:, :7]
    expected = (labels[nearest] == labels[:, None]).mean()
    for pairs in (2**24, 100):
        monkeypatch.setattr(montages, "AT_ONCE", pairs)
        assert montages.neighbour_purity(features, labels) == pytest.approx(expected)


def test_purity_is_one_where_classes_lie_apart(rng):
    labels = np.repeat([0, 1], 20)
    apart = np.eye(2)[labels] + 0.01 * rng.normal(size=(40, 2))
    assert montages.neighbour_purity(apart.astype(np.float32), labels) == 1.0
    noise = rng.normal(size=(40, 2)).astype(np.float32)
    assert montages.neighbour_purity(noise, labels) < 0.7


def test_only_wrong_neighbours_are_framed(tmp_path):
    labels = np.array([0, 0, 0, 1, 1, 1, 0, 1])
    features = np.eye(2)[[0, 0, 0, 1, 1, 1, 1, 1]].astype(np.float32)  # sample 6 lies among the 1s
    images = np.zeros((8, 20, 20, 3), np.uint8)
    path = tmp_path / "montage.png"
    montages.neighbour_montage(
        features, labels, ("a", "b"), lambda at: list(images[at]), path, queries=2
    )
    pixels = np.asarray(PIL.Image.open(path).convert("RGB")).astype(int)
    framed = np.abs(pixels - np.array(montages.WRONG)).max(axis=2) < 8
    # Query and 7 neighbours are all 8 samples: 4 wrong in each of the two rows.
    assert label(framed, structure=np.ones((3, 3)))[1] == 8


def test_errors_are_sorted_by_pair_and_by_how_sure_they_are(tmp_path):
    truth = np.array([0, 0, 0, 1, 1])
    chance = np.array([[0.4, 0.6], [0.1, 0.9], [0.9, 0.1], [0.8, 0.2], [0.3, 0.7]])
    asked = []

    def images(at):
        asked.append(at.tolist())
        return [np.zeros((20, 20, 3), np.uint8)] * len(at)

    path = tmp_path / "errors.png"
    assert montages.worst_errors(truth, chance, ("a", "b"), images, path) == 3
    assert asked == [[1, 0], [3]]
    assert path.exists()
    right = np.eye(2)[truth]
    assert montages.worst_errors(truth, right, ("a", "b"), images, tmp_path / "none.png") == 0
    assert not (tmp_path / "none.png").exists()


@pytest.fixture(scope="module")
def looked_at(tmp_path_factory, run, blobs):
    """A report of real encoders, with maps."""
    encoder = FrozenEncoder(run)
    protocol = Protocol(name="few", probe="linear", shots=("all",))
    out = tmp_path_factory.mktemp("looked")
    evaluate([encoder, encoder.untrained()], open_source(blobs), [protocol], out, maps=[3, 5])
    return out


def test_maps_of_chosen_rows_are_drawn(looked_at, run, blobs):
    pixels = np.asarray(PIL.Image.open(looked_at / "pictures" / "maps.png").convert("RGB"))
    assert pixels.shape[1] > 5 * 112  # the image, and two maps of each of two encoders
    assert 2 * 112 < pixels.shape[0] < 4 * 112  # two rows
    assert "What the encoders see" in (looked_at / "report.html").read_text()
    protocol = Protocol(name="few", probe="linear", shots=("all",))
    with pytest.raises(UserError, match="no row 900"):
        evaluate([FrozenEncoder(run)], open_source(blobs), [protocol], looked_at, maps=[900])


def test_the_report_says_what_to_cite(looked_at):
    html = (looked_at / "report.html").read_text()
    assert "arXiv:2511.08544" in html
    assert "CITATION.cff" in html
    assert "Oquab" not in html


BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))),
    None,
)


def test_a_page_with_pictures_of_patients_says_so(looked_at, tmp_path, rng):
    assert "may be of patients" not in (looked_at / "report.html").read_text()
    labels = rng.integers(0, 2, 60)
    source = make_source(labels)
    source.modality = "CT"
    protocol = Protocol(name="few", probe="linear", shots=(5, "all"), draws=2)
    evaluate([Table("good", np.eye(8)[labels])], source, [protocol], tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "data:image/" in page
    assert "these may be of patients" in page


@pytest.mark.skipif(BROWSER is None, reason="no Chromium")
@pytest.mark.parametrize("width", [390, 1200])
def test_a_browser_shows_the_report_without_a_complaint(looked_at, tmp_path, width):
    page = (looked_at / "report.html").as_uri()
    shot = tmp_path / "page.png"
    done = subprocess.run(
        [
            *(
                str(BROWSER),
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--enable-logging=stderr",
            ),
            *(f"--user-data-dir={tmp_path / 'profile'}", "--host-resolver-rules=MAP * ~NOTFOUND"),
            *(f"--window-size={width},3000", f"--screenshot={shot}", page),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "CONSOLE" not in done.stderr
    pixels = np.asarray(PIL.Image.open(shot).convert("RGB"))
    assert pixels.shape[1] == width
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 100
