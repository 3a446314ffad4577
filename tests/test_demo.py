from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

from domainjepa.demo import demo_config, run_demo
from domainjepa.encoder.artefact import load_encoder


def test_the_whole_journey_in_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("domainjepa.demo.SHOTS", (1, "all"))  # each of them costs 20 draws
    run_demo(tmp_path / "demo", steps=2, samples=400, console=Console(quiet=True))
    out = tmp_path / "demo"
    assert load_encoder(out / "pretrained")[0].step == 2
    results = json.loads((out / "report/results.json").read_text())
    names = {record["encoder"] for record in results["records"]}
    assert names == {"pretrained", "pretrained untrained", "pixels"}
    assert {record["shots"] for record in results["records"]} == {1, "all"}
    draws = [r for r in results["records"] if r["shots"] == 1 and r["metric"] == "accuracy"]
    assert len(draws) >= 3 * 10
    html = (out / "report/report.html").read_text()
    assert html.count("data:image/") >= 4
    assert "http://" not in html.replace("http://www.w3.org", "")
    # A second demo in the same folder goes on where the first one ended.
    before = (out / "pretrained/encoder.safetensors").read_bytes()
    monkeypatch.setattr("domainjepa.demo.SHOTS", ("all",))
    monkeypatch.setattr("domainjepa.evaluation.suite.write_report", lambda *of_all: None)
    run_demo(out, steps=2, samples=400, console=Console(quiet=True))
    assert (out / "pretrained/encoder.safetensors").read_bytes() == before


def test_the_demo_pretrains_on_training_rows_without_labels() -> None:
    config = demo_config(Path("simulated-survey.h5"))
    assert not config.data.include_test
    assert config.log.probe
