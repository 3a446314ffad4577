from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

from domainjepa.demo import demo_config, run_demo, time_told
from domainjepa.encoder.artefact import load_encoder
from domainjepa.pretraining.budget import Fitted


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
    assert not [said for said in results["warnings"] if "no groups are known" in said]
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


@pytest.mark.parametrize(("fast", "budget"), [(True, "170s"), (False, "270s")])
def test_a_processor_without_bfloat16_has_longer(
    fast: bool, budget: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("domainjepa.demo.devices.computes_bfloat16", lambda device: fast)
    config = demo_config(Path("simulated-survey.h5"))
    assert (config.budget, config.steps) == (budget, None)
    assert config.precision == ("bfloat16" if fast else "float32")
    told = demo_config(Path("simulated-survey.h5"), steps=9)
    assert (told.budget, told.steps) == (None, 9)


def test_the_demo_says_how_long_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("domainjepa.demo.time.monotonic", lambda: 30.0)
    monkeypatch.setattr("domainjepa.demo.COMPARING", 10.0)
    config = demo_config(Path("simulated-survey.h5")).model_copy(update={"steps": 400})
    # 20 s until now, 200 of training, 80 of comparing.
    told = time_told(Fitted(config, [], 0.5), begun=10.0, simulated=8.0)
    assert "about 5.0 minutes here: 400 steps of 0.5 s" in told
    assert "0:01:20 of comparing" in told
