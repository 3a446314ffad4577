from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from rich.console import Console
from sklearn.metrics import balanced_accuracy_score
from torch.nn.functional import binary_cross_entropy_with_logits

from domainjepa.errors import ConfigError
from domainjepa.pretraining.plan import make_plan
from domainjepa.pretraining.probe import probe_loss, probe_scores
from domainjepa.pretraining.progress import Recent, read_metrics
from domainjepa.pretraining.run import pretrain
from tests.conftest import tiny

LABELS = "edema,effusion,fracture"


@pytest.fixture(scope="module")
def holed(blobs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The blobs with three labels with holes; one is never known."""
    random = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("labels") / "holed.h5"
    path.write_bytes(blobs.read_bytes())
    with h5py.File(path, "a") as file:
        for name in LABELS.split(",")[:2]:
            marks = random.integers(0, 2, 64).astype(np.float32)
            marks[random.random(64) < 0.3] = np.nan
            marks[random.random(64) < 0.1] = -1
            file[name] = marks
        file["fracture"] = np.where(np.arange(64) % 2, np.nan, 0).astype(np.float32)
        file["age"] = random.normal(60, 10, 64).astype(np.float32)
    return path


def test_labels_are_learned_and_scored_where_they_are_known(holed: Path) -> None:
    plan = make_plan(tiny(holed, target__column=LABELS))
    assert plan.target is not None
    assert plan.classes == 3
    assert "edema: " in dict(plan.notes)["labels"]
    rows = torch.arange(32)
    marks = torch.from_numpy(plan.target.values[:32])
    logits = torch.randn(2, 32, 3, generator=torch.Generator().manual_seed(0))
    plan.held_out[:] = np.arange(64) % 3 == 0
    state: Any = SimpleNamespace(probed=Recent(500))
    loss = probe_loss(logits, {"rows": rows, "labels": marks}, plan, state)

    known, held = marks >= 0, torch.from_numpy(plan.held_out[:32])[:, None]
    both = (known & ~held).expand(2, -1, -1)
    wanted = marks.float().expand(2, -1, -1)
    torch.testing.assert_close(loss, binary_cross_entropy_with_logits(logits[both], wanted[both]))
    found = probe_scores(plan.target, state.probed.sums)
    assert found["probe_rows"] == (known & held).any(dim=1).sum()
    for place, label in enumerate(LABELS.split(",")[:2]):
        there = (known & held)[:, place]
        told = (logits[:, there, place] > 0).long().flatten()
        expected = balanced_accuracy_score(marks[there, place].repeat(2), told)
        assert found[f"probe/{label}"] == pytest.approx(expected)
    assert found["probe/fracture"] is None
    mean = np.mean([found["probe/edema"], found["probe/effusion"]])  # type: ignore[arg-type]
    assert found["probe_accuracy"] == pytest.approx(mean)


def test_a_run_watches_several_labels_and_learns_the_same(holed: Path, tmp_path: Path) -> None:
    written = []
    for name, column in (("with", LABELS), ("without", None)):
        config = tiny(holed, target__column=column, log__every_steps=4)
        pretrain(config, tmp_path / name, console=Console(quiet=True))
        written.append((tmp_path / name / "encoder.safetensors").read_bytes())
    line = read_metrics(tmp_path / "with/metrics.jsonl")[-1]
    assert {name for name in line if "/" in name} == {f"probe/{x}" for x in LABELS.split(",")}
    assert 0 <= line["probe_accuracy"] <= 1
    weights = [json.loads(one[8 : 8 + int.from_bytes(one[:8], "little")]) for one in written]
    for one in weights:
        del one["__metadata__"]  # which holds the settings
    assert weights[0] == weights[1]
    ends = [one[8 + int.from_bytes(one[:8], "little") :] for one in written]
    assert ends[0] == ends[1]


def test_one_column_of_yes_and_no_is_two_classes(holed: Path) -> None:
    plan = make_plan(tiny(holed, target__column="edema"))
    assert plan.classes == 2
    assert "yes or no" in dict(plan.notes)["labels"]


def test_numbers_are_not_told_beside_pretraining(holed: Path) -> None:
    with pytest.raises(ConfigError, match="holds numbers; the online probe tells classes"):
        make_plan(tiny(holed, target__column="age"))
    assert make_plan(tiny(holed, target__column="age", log__probe=False)).target is None
