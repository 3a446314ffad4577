"""The explorer's page: what is in it, always; what it does in a browser, where there is one."""

from __future__ import annotations

import base64
import hashlib
import html.parser
import io
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from rich.console import Console

from domainjepa.discovery import explorer, mapping
from domainjepa.discovery.mapping import along_the_map, coordinates
from domainjepa.discovery.neighbours import neighbours_of_all
from domainjepa.discovery.page import in_script
from domainjepa.discovery.space import Space
from domainjepa.discovery.sprites import largest_side, sheets_of, tile
from domainjepa.embed.blocks import Blocks
from domainjepa.errors import MissingExtra, UserError
from tests.data.toys import Arrays, toy
from tests.discovery.toys import Corner, Embedded, samples_of

EVIL = '</script><img src=x onerror="document.title=1">'
SAMPLES = 60


def galaxies(**fields: Any) -> Embedded:
    """Three groups on the map; each picture is of the colour of its group."""
    draw = np.random.default_rng(0)
    kind = np.arange(SAMPLES) % 3
    values = (np.eye(6)[kind] * 5 + draw.normal(0, 0.3, (SAMPLES, 6))).astype(np.float32)
    images = [np.full((32, 32, 3), np.eye(3)[one] * 200, np.uint8) for one in kind]
    told: dict[str, Any] = {
        "labels": kind, "classes": ("disc", "round", EVIL), "keys": ("tens",),
        "ids": np.array([EVIL, *(f"NGC {row}" for row in range(1, SAMPLES))]),
    }  # fmt: skip
    source = toy(Arrays, images, **told | fields)
    rows = np.arange(SAMPLES)
    return Embedded(Corner(6), source, rows, Blocks(values), samples_of(source, rows))


class Reader(html.parser.HTMLParser):
    """The elements of a page, and what scripts and other raw text hold."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: dict[str, str] = {}
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        self.tags.append(("", {}))

    def handle_data(self, data: str) -> None:
        tag, attributes = self.tags[-1] if self.tags else ("", {})
        if tag == "script":
            name = attributes.get("id") or attributes["type"] or ""
            self.scripts[name] = self.scripts.get(name, "") + data


def array(text: str, kind: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), f"<{kind}")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("page") / "explore.html"
    explorer.explore(galaxies(), out, axes="pca", neighbours=15)
    return out


def test_the_page_holds_all_that_is_told(written: Path) -> None:
    page = Reader(written.read_text())
    facts = json.loads(page.scripts["facts"])
    of = galaxies()
    assert facts["ids"] == of.samples.ids.tolist()  # type: ignore[union-attr]
    np.testing.assert_array_equal(array(facts["rows"], "i4"), np.arange(SAMPLES))
    where, cosines = neighbours_of_all(of.features, Space(), 12)
    np.testing.assert_array_equal(array(facts["neighbours"], "i4"), where.ravel())
    np.testing.assert_allclose(array(facts["cosines"], "f4"), cosines.ravel(), atol=1e-6)
    columns = {column["name"]: column for column in facts["columns"]}
    assert set(columns) == {"class", "outlier score", "density", "tens"}
    names = columns["class"]["names"]
    codes = array(columns["class"]["codes"], "i4")
    assert [names[code] for code in codes[:3]] == ["disc", "round", EVIL]
    tens = array(columns["tens"]["values"], columns["tens"]["type"])
    np.testing.assert_array_equal(tens, np.arange(SAMPLES) * 10)
    x = array(facts["x"], "f4")
    assert x.min() > -0.2
    assert x.max() < 1.2


def test_pictures_are_cut_from_sheets(written: Path) -> None:
    page = Reader(written.read_text())
    sheets = json.loads(page.scripts["facts"])["sheets"]
    assert sheets["side"] == 32
    place = array(sheets["place"], "i4")
    sheet = np.asarray(PIL.Image.open(io.BytesIO(base64.b64decode(page.scripts["sheet-0"]))))
    for row in range(SAMPLES):
        y, x = divmod(int(place[row]), sheets["across"])
        middle = sheet[y * 32 + 16, x * 32 + 16].astype(int)
        assert middle.argmax() == row % 3
        assert middle.max() > 150


def test_nothing_of_the_data_is_markup_and_nothing_is_loaded(written: Path) -> None:
    text = written.read_text()
    page = Reader(text)
    assert EVIL not in text
    assert not [tag for tag, _ in page.tags if tag == "img"]
    for tag, attributes in page.tags:
        for name in ("src", "href"):
            value = attributes.get(name)
            assert value is None or value.startswith("#"), (tag, value)
        assert not [name for name in attributes if name.startswith("on")]
    assert "http://" not in text
    assert "https://" not in text
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    script = page.scripts["module"]
    known = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{known}'" in policy
    assert "default-src 'none'" in policy
    assert "innerHTML" not in script


@pytest.mark.parametrize("text", ["</script>", "<!--", "a\u2028b", "\ud800", "&lt;", '"', "\\"])
def test_json_in_a_script_is_what_it_was(text: str) -> None:
    made = in_script({"a": text})
    assert "<" not in made
    assert json.loads(made)["a"] == text.encode("utf-8", "replace").decode()


def test_of_persons_there_is_a_banner_and_no_id(tmp_path: Path) -> None:
    ids = np.array([f"Doe^Jane {row}" for row in range(SAMPLES)])
    explorer.explore(galaxies(ids=ids, modality="US"), tmp_path / "a.html", axes="pca")
    text = (tmp_path / "a.html").read_text()
    assert "images are of persons" in text
    assert "Doe" not in text
    assert "tens" not in json.loads(Reader(text).scripts["facts"])["columns"]
    explorer.explore(galaxies(), tmp_path / "b.html", axes="pca")
    assert "images are of persons" not in (tmp_path / "b.html").read_text()


def test_a_folder_has_its_pictures_beside_it(tmp_path: Path) -> None:
    made = explorer.explore(galaxies(), tmp_path / "explorer", axes="pca")
    page = Reader((tmp_path / "explorer" / "index.html").read_text())
    assert "sheet-0" not in page.scripts
    files = sorted((tmp_path / "explorer" / "pictures").iterdir())
    assert [file.name for file in files] == ["0.webp"]
    assert made.size == sum(file.stat().st_size for file in [made.path, *files])


def test_too_many_for_a_page_go_into_a_folder() -> None:
    with pytest.raises(UserError, match="at most 50,000"):
        explorer.refuse_number(50_001, "set", inside=True)
    explorer.refuse_number(50_001, "set", inside=False)
    with pytest.raises(UserError, match="500,000"):
        explorer.refuse_number(500_001, "set", inside=False)
    with pytest.raises(UserError, match="too few"):
        explorer.refuse_number(2, "set", inside=True)


def test_pictures_are_as_large_as_fits() -> None:
    of, draw = galaxies(), np.random.default_rng(1)

    def noise(row: int) -> np.ndarray:
        return draw.integers(0, 255, (100, 120, 3), np.uint8)

    assert largest_side(noise, of.rows, of.source, 10**9) == 96
    assert largest_side(noise, of.rows, of.source, 60 * 3_000) < 96
    assert largest_side(noise, of.rows, of.source, 1) == 24


def test_tiles_keep_the_middle_or_the_whole() -> None:
    wide = np.zeros((10, 30, 3), np.uint8)
    wide[:, :10] = 255
    assert tile(wide, 10).max() == 0
    whole = tile(wide, 30, whole=True)
    assert whole[10:20, :10].min() == 255
    assert whole[:9].max() == 0


def test_sheets_hold_every_sample_once() -> None:
    order = np.random.default_rng(0).permutation(SAMPLES)
    of = galaxies()
    made = sheets_of(lambda row: of.source[row], of.rows, order, 512, False, Console(quiet=True))
    assert made.across == 2
    assert len(made.files) == 15
    np.testing.assert_array_equal(np.sort(made.place), np.arange(SAMPLES))
    np.testing.assert_array_equal(made.place[order], np.arange(SAMPLES))


def purity(plane: np.ndarray, kind: np.ndarray) -> float:
    far = np.linalg.norm(plane[:, None] - plane[None], axis=2) + np.eye(len(plane)) * 9
    return float((kind[far.argmin(axis=1)] == kind).mean())


@pytest.mark.parametrize("axes", ["pca", "tsne", "umap"])
def test_maps_keep_alike_samples_together(axes: mapping.Axes) -> None:
    if axes == "umap":
        pytest.importorskip("umap")
    of = galaxies()
    near = neighbours_of_all(of.features, Space(), 15)
    plane, told = coordinates(of.features, Space(), near, axes, Console(quiet=True))
    assert purity(plane, np.arange(SAMPLES) % 3) == 1
    assert {"pca": "components", "tsne": "t-SNE", "umap": "UMAP"}[axes] in told
    again, _ = coordinates(of.features, Space(), near, axes, Console(quiet=True))
    np.testing.assert_array_equal(plane, again)


def test_of_many_samples_t_sne_lays_out_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapping, "MOST_TSNE", 40)
    of = galaxies()
    near = neighbours_of_all(of.features, Space(), 15)
    plane, told = coordinates(of.features, Space(), near, "tsne", Console(quiet=True))
    assert purity(plane, np.arange(SAMPLES) % 3) == 1
    assert "40 samples laid out" in told


def test_umap_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapping, "find_spec", lambda name: None)
    of = galaxies()
    near = neighbours_of_all(of.features, Space(), 15)
    with pytest.raises(MissingExtra, match=r"domainjepa\[explore\]"):
        coordinates(of.features, Space(), near, "umap", Console(quiet=True))


def test_the_order_along_the_map_keeps_quarters_together() -> None:
    plane = np.random.default_rng(0).uniform(0, 1, (400, 2)).astype(np.float32)
    quarter = (plane > 0.5) @ [1, 2]
    assert (np.diff(quarter[along_the_map(plane)]) != 0).sum() == 3


NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), "")
MIDDLE = """() => [...document.getElementById('portrait').getContext('2d')
    .getImageData(128, 128, 1, 1).data]"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if not CHROMIUM:
        pytest.skip("no Chromium on this machine")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Any, written: Path) -> Iterator[Any]:
    shown = browser.new_page(viewport={"width": 1200, "height": 800})
    said: list[str] = []
    shown.on("console", lambda message: said.append(message.text))
    shown.on("pageerror", lambda error: said.append(str(error)))
    shown.goto(written.as_uri())
    shown.wait_for_selector("html[data-ready]", state="attached")
    yield shown
    # What the tests read back from canvases is slow, which Chromium says.
    assert not [line for line in said if "readback" not in line]
    shown.close()


def test_points_are_drawn_and_the_legend_filters(page: Any) -> None:
    colours = """() => { const c = document.getElementById('map'); const d = c.getContext('2d')
        .getImageData(0, 0, c.width, c.height).data; const s = {};
        for (let i = 0; i < d.length; i += 4) { const k = [d[i], d[i+1], d[i+2]].join();
          s[k] = (s[k] || 0) + 1; } return s; }"""
    drawn = page.evaluate(colours)
    assert {"0,114,178", "230,159,0", "0,158,115"} <= drawn.keys()
    assert page.title() == f"{galaxies().source.public_name} · explorer"
    page.get_by_label("only round").click()
    assert page.locator("#status").inner_text() == "20 samples of 60 shown, 0 chosen"
    page.wait_for_timeout(100)
    left = page.evaluate(colours)
    assert len({"0,114,178", "230,159,0", "0,158,115"} & left.keys()) == 1
    page.locator("#unfilter").click()
    page.locator("#colour").select_option(label="tens")
    page.get_by_label("at least").fill("300")
    assert page.locator("#status").inner_text() == "30 samples of 60 shown, 0 chosen"


def test_a_sample_is_found_and_its_card_tells_of_it(page: Any) -> None:
    page.locator("#search").fill("ngc 7")
    page.locator("#search").press("Enter")
    assert page.locator("#card-name").inner_text() == "NGC 7"
    told = page.locator("#values").inner_text().split("\n")
    assert told[told.index("tens") + 1] == "70"
    assert told[told.index("class") + 1] == "round"
    near = page.locator("#neighbours button")
    assert near.count() == 12
    where, _ = neighbours_of_all(galaxies().features, Space(), 1)
    near.first.click()
    assert page.locator("#card-name").inner_text() == galaxies().samples.called(int(where[7, 0]))
    page.locator("#search").fill("0")
    page.locator("#search").press("Enter")
    assert page.locator("#card-name").inner_text() == EVIL
    assert page.title().endswith("explorer")
    page.wait_for_timeout(100)
    red, green, _, _ = page.evaluate(MIDDLE)
    assert red > 150 > green


def test_a_lasso_chooses_and_the_csv_has_rows_and_ids(page: Any) -> None:
    box = page.locator("#map").bounding_box()
    page.locator("#lasso").click()
    corners = [(0.001, 0.08), (0.999, 0.08), (0.999, 0.999), (0.001, 0.999)]
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in corners]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=4)
    page.mouse.up()
    assert page.locator("#status").inner_text() == "60 samples of 60 shown, 60 chosen"
    with page.expect_download() as waiting:
        page.locator("#save").click()
    lines = Path(waiting.value.path()).read_text().splitlines()
    doubled = EVIL.replace('"', '""')
    assert lines[:3] == ["row,id", f'0,"{doubled}"', "1,NGC 1"]
    assert len(lines) == 61
    page.locator("#clear").click()
    assert page.locator("#save").is_disabled()


def test_the_keyboard_does_what_the_mouse_does(page: Any) -> None:
    page.locator("#map").focus()
    page.keyboard.press("Space")
    assert page.locator("#status").inner_text().endswith("1 chosen")
    assert page.locator("#lines li").count() == 1
    page.keyboard.press("Enter")
    assert page.locator("#card").is_visible()
    assert page.evaluate("document.activeElement.id") == "card"
    page.locator("#take").click()
    assert page.locator("#status").inner_text().endswith("0 chosen")


def test_on_a_phone_nothing_is_wider_than_it(browser: Any, tmp_path: Path) -> None:
    explorer.explore(galaxies(), tmp_path / "explorer", axes="pca")
    shown = browser.new_page(viewport={"width": 360, "height": 700})
    said: list[str] = []
    shown.on("console", lambda message: said.append(message.text))
    shown.goto((tmp_path / "explorer" / "index.html").as_uri())
    shown.wait_for_selector("html[data-ready]", state="attached")
    shown.locator("#search").fill("1")
    shown.locator("#search").press("Enter")
    shown.wait_for_timeout(200)
    assert shown.evaluate("document.documentElement.scrollWidth") <= 360
    seen = PIL.Image.open(io.BytesIO(shown.locator("#portrait").screenshot())).convert("RGB")
    red, green, _ = seen.getpixel((seen.width // 2, seen.height // 2))
    assert green > 150 > red
    assert not said
