"""The doctor: what it tells is true, and it sees what is wrong."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from domainjepa import devices, settings
from domainjepa.cli import app
from domainjepa.doctor import checks, surroundings, timing
from domainjepa.doctor.doctor import SMALL
from domainjepa.doctor.timing import Timing
from domainjepa.objective import SIGReg
from tests.data.formats.dicom.test_dicom_privacy import CANARY

CPU = torch.device("cpu")


def small(blobs: Path) -> Any:
    return settings.resolve(SMALL, (), {"data.path": str(blobs), "device": "cpu"})


def test_every_extra_is_known_with_its_packages() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    declared = {
        name: {word.split(">=")[0] for word in packages}
        for name, packages in project["optional-dependencies"].items()
        if name not in ("all", "dev")
    }
    assert {name: set(packages) for name, (packages, _) in surroundings.EXTRAS.items()} == declared


def test_a_missing_package_is_told_with_what_it_opens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surroundings, "installed", lambda name: None if name == "monai" else "1")
    (missing,) = (one for one in surroundings.extras() if one["missing"])
    assert missing == {
        "extra": "volumes",
        "opens": "backbones and views in three dimensions",
        "missing": ["monai"],
    }


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        ("cuda", {"name": "Card", "memory_gib": 80.0, "capability": "9.0"}),
        ("xpu", {"name": "Card", "memory_gib": 80.0, "capability": None}),
        ("mps", {"name": "Apple GPU", "memory_gib": None, "capability": None}),
    ],
)
def test_every_accelerator_is_told(
    kind: str, wanted: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    card = SimpleNamespace(name="Card", total_memory=80 * 2**30, major=9, minor=0)
    monkeypatch.setattr(devices, "accelerator", lambda: kind)
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)
    if kind != "mps":
        monkeypatch.setattr(getattr(torch, kind), "get_device_properties", lambda device: card)
    assert surroundings.machine()["devices"] == [wanted, wanted]


def test_a_healthy_cpu_passes(blobs: Path) -> None:
    found = {check.name: check.ok for check in checks.checks(small(blobs))}
    assert found == {
        "SIGReg against float64": True,
        "10 training steps against the CPU's": None,
        "bfloat16": True if devices.computes_bfloat16(CPU) else None,
        "determinism": True,
    }


def test_a_wrong_kernel_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    right = SIGReg.statistic_of

    def wrong(self: SIGReg, projections: torch.Tensor) -> torch.Tensor:
        value = right(self, projections)
        return value * 1.0001 if projections.dtype == torch.float32 else value

    assert checks.sigreg(CPU)[0]
    monkeypatch.setattr(SIGReg, "statistic_of", wrong)
    ok, said = checks.sigreg(CPU)
    assert not ok
    assert "1.0e-04" in said


def test_training_that_differs_or_fails_is_seen(
    blobs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = {"cuda": [1.0, 0.9], "cpu": [1.0, 0.8]}
    digests = iter("abcdef")

    def train(config: Any, device: str, precision: str) -> tuple[list[float], str]:
        if precision == "bfloat16":
            raise RuntimeError(f"no kernel in /home/{CANARY}")
        return losses[device], next(digests)

    monkeypatch.setattr(checks, "train", train)
    monkeypatch.setattr(checks, "choose_device", lambda config: (torch.device("cuda"), ""))
    monkeypatch.setattr(checks, "sigreg", lambda device: (True, ""))
    found = {check.name: check for check in checks.checks(small(blobs))}
    assert found["10 training steps against the CPU's"].said.startswith("losses differ by 1.2e-01")
    assert [check.ok for check in found.values()] == [True, False, False, False]
    assert found["bfloat16"].said.startswith("RuntimeError in test_doctor.py, line")
    losses["cuda"] = [1.0, float("nan")]
    assert [check.ok for check in checks.checks(small(blobs))][1] is False


def timed(**changes: Any) -> Timing:
    usual = {"reading": 1.0, "views": 3.0, "transfer": 0.5, "memory_gib": 4.0, "batch_size": 64}
    return Timing(**{**usual, "step": {"float32": 3.0, "bfloat16": 1.5}, **changes})


def test_the_bottleneck_is_named_and_workers_are_counted() -> None:
    # 4 ms of one process for 2 ms of the device: two workers.
    assert timed().workers() == 2
    lines = timed().advice(cores=8, memory_gib=16.0, on_cpu=False)
    assert lines[0] == "the bottleneck is the step; data.workers=2 keeps it busy"
    assert lines[1] == "precision=bfloat16 is 2.0 times as fast as float32"
    # Nine tenths of 16 GiB at 1/16 GiB a sample.
    assert "about 230 fit" in lines[2]
    slow = timed(views=39.0).advice(cores=6, memory_gib=None, on_cpu=False)
    assert slow[0] == (
        "the bottleneck is making views: 20 workers would keep the device busy, and 5 of 6 cores "
        "are to spare, so it waits 75% of the time"
    )
    assert "views.num_local" in slow[1]
    assert "prepare" in timed(reading=39.0).advice(6, None, False)[1]


def test_the_command_names_no_path(
    blobs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / f"{CANARY}.h5"
    data.write_bytes(blobs.read_bytes())
    good = [checks.Check("all", True, "well")]
    monkeypatch.setattr("domainjepa.doctor.doctor.checks", lambda config: iter(good))
    words = ["doctor", "--device", "cpu", "--data", str(data), "--backbone", "test_resnet"]
    words += ["--batch-size", "8", "--set", "views.num_local=1", "--set", "projector.hidden=32"]
    ended = CliRunner().invoke(app, [*words, "--json"])
    assert ended.exit_code == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert found["well"]
    assert found["versions"]["torch"] == torch.__version__
    timing_ = found["timing"]
    assert min(timing_["reading"], timing_["step"]["float32"]) > 0
    assert found["advice"]
    assert CANARY not in ended.stdout + ended.stderr
    assert str(tmp_path) not in ended.stdout + ended.stderr


def test_a_failed_check_is_status_1(blobs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = [checks.Check("SIGReg", False, "wrong by 2")]
    monkeypatch.setattr("domainjepa.doctor.doctor.checks", lambda config: iter(bad))
    monkeypatch.setattr(timing, "measure", lambda config: timed(step={"float32": 3.0}))
    ended = CliRunner().invoke(app, ["doctor", "--device", "cpu"], env={"COLUMNS": "200"})
    assert ended.exit_code == 1
    assert "WRONG  SIGReg: wrong by 2" in ended.stdout
