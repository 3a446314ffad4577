"""A run on data behind a URL is the run on the same data near, whatever their server does."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import h5py
import pytest
from PIL import Image
from rich.console import Console

from domainjepa.data.remote import addresses, objects
from domainjepa.pretraining.run import pretrain
from tests.conftest import tiny
from tests.object_server import serving
from tests.pretraining.test_same_data import during

pytest.importorskip("aiohttp")
QUIET = Console(quiet=True)


def losses(run: Path) -> list[float]:
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [line["loss"] for line in map(json.loads, lines) if "loss" in line]


def test_an_outage_changes_nothing(
    blobs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOMAINJEPA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(addresses, "_connected", {})
    monkeypatch.setattr(objects, "_manifests", {})
    pictures = tmp_path / "served" / "set"
    pictures.mkdir(parents=True)
    with h5py.File(blobs) as file:
        for row, image in enumerate(file["images"][:48]):
            Image.fromarray(image).save(pictures / f"{row:02}.png")
    few: dict[str, Any] = {"steps": 4, "log__shortcuts": False}
    pretrain(tiny(pictures, **few), tmp_path / "near", console=QUIET)
    with serving(tmp_path / "served") as server:
        config = tiny(Path("far"), data__cache_bytes=0, **few)
        url = f"{server.http}/set/"
        config = config.model_copy(update={"data": config.data.model_copy(update={"path": url})})

        def outage() -> None:
            server.stop()
            server.failures = 5  # it is back, and busy
            threading.Timer(1.0, server.start).start()

        during(monkeypatch, 2, outage)
        pretrain(config, tmp_path / "far", console=QUIET)
        assert server.failures == 0
    assert losses(tmp_path / "far") == losses(tmp_path / "near")
    assert len(losses(tmp_path / "near")) == 4
    written = b"".join(one.read_bytes() for one in (tmp_path / "far").rglob("*") if one.is_file())
    assert str(tmp_path / "cache").encode() not in written
