"""A folder for others, and an encoder that comes from a hub: here a fake one on this machine."""

from __future__ import annotations

import hashlib
import json
import threading
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from domainjepa import sharing
from domainjepa.encoder.artefact import FILE_NAME, load_encoder
from domainjepa.encoder.frozen import FrozenEncoder
from domainjepa.encoder.hub import downloaded
from domainjepa.errors import UserError
from domainjepa.sharing import folder as writer
from domainjepa.sharing.cost import Power, cost_of
from domainjepa.sharing.evaluated import tables_of
from domainjepa.sharing.model_card import front_matter, model_card
from tests import programs

IMAGES = np.random.default_rng(0).integers(0, 255, (3, 32, 32, 3), dtype=np.uint8)
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def folder(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shared run; the graph is tested with the other exports."""
    out = tmp_path_factory.mktemp("shared") / "blobs"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer, "export", lambda *given: given[2].write_bytes(b"a graph"))
        sharing.share(run, out, licence="cc-by-4.0", repository="owner/blobs")
    return out


def test_a_folder_holds_all_that_a_colleague_needs(run: Path, folder: Path) -> None:
    names = {path.name for path in folder.iterdir()}
    assert names == {
        *("README.md", FILE_NAME, "config.json", "config.toml", "encoder.onnx", "curves.png"),
        *("usage.py", "requirements.txt", "SHA256SUMS"),
    }
    for line in (folder / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
        names.remove(name)
    assert names == {"SHA256SUMS"}
    np.testing.assert_array_equal(
        FrozenEncoder(folder).transform(IMAGES), FrozenEncoder(run).transform(IMAGES)
    )
    card, _ = load_encoder(run)
    told = tomllib.loads((folder / "config.toml").read_text())
    assert told["objective"]["lam"] == card.config["objective"]["lam"]
    assert json.loads((folder / "config.json").read_text())["sha256"] == card.sha256
    text = "".join(path.read_text() for path in folder.iterdir() if path.suffix in (".md", ".py"))
    assert str(run.parent) not in text


def test_the_model_card_is_read_by_the_hub(run: Path, folder: Path) -> None:
    _, front, page = (folder / "README.md").read_text().split("---\n", 2)
    told = yaml.safe_load(front)
    assert told["license"] == "cc-by-4.0"
    assert told["library_name"] == "domainjepa"
    assert {"lejepa", "natural", "test_resnet"} <= set(told["tags"])
    assert told["co2_eq_emissions"]["hardware_used"] == "1 x cpu"
    for part in ("Intended use", "Data", "Training", "Evaluation", "Cost", "Licence"):
        assert f"\n## {part}\n" in page
    assert 'FrozenEncoder("hf://owner/blobs").transform(images)' in page
    assert "| crop |" in page
    assert "![Curves of the training](curves.png)" in page
    assert "{{" not in page
    assert "None" not in page.replace("None is given", "")


def test_what_a_run_began_with_is_told(run: Path) -> None:
    card, _ = load_encoder(run)
    begun = {"name": "timm:resnet50.a1_in1k", "sha256": "ab" * 32}
    init = card.model_copy(update={"init": begun, "domain": "ct"})
    told = yaml.safe_load(front_matter(init, None, None))
    assert told["base_model"] == "timm/resnet50.a1_in1k"
    assert (told["license"], told["license_name"]) == ("other", "not-stated")
    assert "medical" in told["tags"]
    blank = {"tables": [], "data": None, "cost": None, "licence": None, "repository": None}
    page = model_card(init, **blank, graph=False, curves=False, width=96)
    assert f"timm:resnet50.a1_in1k, SHA-256 `{'ab' * 32}`" in page
    assert "no medical device" in page


def test_the_example_runs_as_it_is(folder: Path) -> None:
    done = programs.run(str(folder / "usage.py"))
    assert (done.stdout, done.returncode) == ("(2, 96)\n", 0), done.stderr


def test_the_cost_is_time_times_power(run: Path) -> None:
    card, _ = load_encoder(run)
    card = card.model_copy(update={"config": {**card.config, "batch_size": 36}})
    # 100 samples a second for 1,000 steps of 36, then 50 for as many.
    lines = [{"step": 1000, "samples_per_s": 100.0}, {"step": 2000, "samples_per_s": 50.0}]
    cost = cost_of(run, lines, card, Power(watts=500, grams=400))
    assert cost is not None
    assert cost.hours == pytest.approx(0.1 + 0.2)
    assert cost.kilowatt_hours == pytest.approx(0.15)
    assert cost.kilograms == pytest.approx(0.06)
    assert cost_of(run, [], card, Power()) is None


def test_the_table_of_an_evaluation_is_in_the_card(tmp_path: Path) -> None:
    row = {"data": "blobs", "protocol": "few-shot", "metric": "accuracy"}
    rows = [
        {**row, "encoder": "ours", "shots": 1, "mean": 0.5, "low": 0.4, "high": 0.6},
        {**row, "encoder": "ours", "shots": "all", "mean": 0.9, "low": None, "high": None},
        {**row, "encoder": "pixels", "shots": 1, "mean": 0.25, "low": 0.2, "high": 0.3},
        {**row, "encoder": "ours", "shots": 1, "label": "a", "mean": 1, "low": 1, "high": 1},
    ]
    (tmp_path / "results.json").write_text(json.dumps({"summary": rows}))
    (table,) = tables_of(tmp_path)
    assert table.splitlines()[2:] == [
        "| encoder | 1 a class | all labels |",
        "| --- | --- | --- |",
        "| ours | 0.500 [0.400, 0.600] | 0.900 |",
        "| pixels | 0.250 [0.200, 0.300] |  |",
    ]
    (tmp_path / "results.json").write_text("[]")
    with pytest.raises(UserError, match=r"no results\.json of domainjepa evaluate"):
        tables_of(tmp_path)


def test_what_cannot_be_shared_is_told(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="exists already"):
        sharing.share(run, tmp_path)
    with pytest.raises(UserError, match=r"no results\.json"):
        sharing.share(run, tmp_path / "out", evaluation=run)
    assert list(tmp_path.iterdir()) == []


def test_a_network_that_cannot_be_traced_is_shared_without_a_graph(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*given: Any) -> None:
        raise RuntimeError("data-dependent control flow")

    monkeypatch.setattr(writer, "export", fails)
    said: list[str] = []
    sharing.share(run, tmp_path / "out", tell=said.append)
    assert said == ["without encoder.onnx: the network cannot be traced (RuntimeError)"]
    assert "encoder.onnx" not in (tmp_path / "out" / "README.md").read_text()


def test_a_folder_is_pushed_as_it_is(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []

    class Api:
        def create_repo(self, name: str, **more: Any) -> None:
            calls.append((name, more))

        def upload_folder(self, **more: Any) -> Any:
            calls.append(more)
            return type("Commit", (), {"oid": COMMIT})

    monkeypatch.setattr("huggingface_hub.HfApi", Api)
    assert sharing.push(folder, "owner/blobs", private=True) == f"hf://owner/blobs@{COMMIT}"
    assert calls[0] == ("owner/blobs", {"private": True, "exist_ok": True})
    assert (calls[1]["repo_id"], calls[1]["folder_path"]) == ("owner/blobs", folder)


class Hub(ThreadingHTTPServer):
    """The hub's addresses of one repository: /owner/blobs/resolve/REVISION/FILE."""

    def __init__(self, files: Path) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.files, self.asked = files, list[str]()
        self.address = f"http://127.0.0.1:{self.server_port}"


class Answer(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        self.server.asked.append(f"{self.command} {self.path}")
        parts = self.path.split("?")[0].strip("/").split("/")
        error, content = "", b""
        if parts[:2] != ["owner", "blobs"]:
            error = "RepoNotFound"
        elif parts[3] not in ("main", "v1", COMMIT):
            error = "RevisionNotFound"
        elif not (self.server.files / parts[4]).is_file():
            error = "EntryNotFound"
        else:
            content = (self.server.files / parts[4]).read_bytes()
        self.send_response(404 if error else 200)
        if error:
            self.send_header("X-Error-Code", error)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, *words: Any) -> None:
        pass


@pytest.fixture
def hub(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with Hub(folder) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        monkeypatch.setenv("HF_ENDPOINT", server.address)
        monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
        yield server
        server.shutdown()


def test_an_encoder_of_a_hub_is_asked_for_once(run: Path, hub: Hub) -> None:
    expected = FrozenEncoder(run).transform(IMAGES)
    pinned = f"hf://owner/blobs@{COMMIT}"
    encoder = FrozenEncoder(pinned)
    np.testing.assert_array_equal(encoder.transform(IMAGES), expected)
    assert {one.split("/")[-1] for one in hub.asked} == {FILE_NAME}  # nothing else is fetched
    assert encoder.name == f"blobs@{COMMIT}"
    hub.asked.clear()
    np.testing.assert_array_equal(FrozenEncoder(pinned).transform(IMAGES), expected)
    assert hub.asked == []  # a commit never changes
    assert FrozenEncoder("hf://owner/blobs@v1").card == encoder.card
    assert FrozenEncoder("hf://owner/blobs").card == encoder.card
    assert [one for one in hub.asked if one.startswith("GET")] == []  # it is there already


def test_it_is_used_without_a_network_afterwards(
    run: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    FrozenEncoder("hf://owner/blobs").fit(IMAGES)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # where nobody answers
    for address in ("hf://owner/blobs", f"hf://owner/blobs@{COMMIT}"):
        np.testing.assert_array_equal(
            FrozenEncoder(address).transform(IMAGES), FrozenEncoder(run).transform(IMAGES)
        )
    with pytest.raises(UserError, match="is not in the cache, and the hub cannot be reached"):
        FrozenEncoder("hf://owner/other").fit(IMAGES)


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("hf://owner/none", "there is no such repository, or it is private"),
        ("hf://owner/blobs@v9", "has no such revision"),
        ("hf://blobs", "write hf://OWNER/NAME"),
    ],
)
def test_what_a_hub_does_not_have_is_one_line(address: str, told: str, hub: Hub) -> None:
    with pytest.raises(UserError, match=told):
        FrozenEncoder(address).fit(IMAGES)


def test_a_repository_of_something_else_is_one_line(hub: Hub) -> None:
    with pytest.raises(UserError, match=r"holds no pickle\.bin"):
        downloaded(Path("hf://owner/blobs"), "pickle.bin")


def test_bytes_that_were_changed_are_refused(folder: Path, hub: Hub, tmp_path: Path) -> None:
    changed = bytearray((folder / FILE_NAME).read_bytes())
    changed[-1] ^= 1
    (tmp_path / FILE_NAME).write_bytes(changed)
    hub.files = tmp_path
    with pytest.raises(UserError, match="is damaged: its SHA-256 is not"):
        FrozenEncoder("hf://owner/blobs").fit(IMAGES)
