from __future__ import annotations

import json
from pathlib import Path

import h5py
import pytest
from rich.console import Console
from scipy.stats import spearmanr

from domainjepa import settings
from domainjepa.errors import UserError
from domainjepa.pretraining.run import pretrain
from domainjepa.selection import render, select
from tests.conftest import tiny


def write_run(
    root: Path,
    name: str,
    lam: float,
    losses: list[float],
    probe: float | None = None,
    **more: object,
) -> Path:
    folder = root / name
    folder.mkdir()
    config = settings.resolve(None, (), {"objective.lam": lam, **more})
    folder.joinpath("config.toml").write_text(settings.to_toml(config))
    lines = [{"step": step, "loss": loss} for step, loss in enumerate(losses, 1)]
    if probe is not None:
        lines[-1]["probe_accuracy"] = probe
    folder.joinpath("metrics.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
    return folder


def test_the_score_divides_by_a_power_of_lambda(tmp_path: Path) -> None:
    one = write_run(tmp_path, "one", 0.01, [9.0, 0.2])
    two = write_run(tmp_path, "two", 0.16, [9.0, 0.4])
    plain = select([one, two], alpha=0)
    assert [run.name for run in plain.runs] == ["one", "two"]
    found = select([one, two], alpha=0.5)
    assert [run.name for run in found.runs] == ["two", "one"]
    assert found.runs[0].score == pytest.approx(0.4 / 0.4)
    assert found.runs[1].score == pytest.approx(0.2 / 0.1)
    assert found.by_score is None
    assert render(found).row_count == 2


def test_a_loss_is_the_mean_of_the_last_twentieth(tmp_path: Path) -> None:
    run = write_run(tmp_path, "run", 1.0, [5.0] * 95 + [1.0, 2.0, 3.0, 4.0, 5.0])
    assert select([run]).runs[0].loss == pytest.approx(3.0)


def test_a_loss_that_was_no_number_is_left_out(tmp_path: Path) -> None:
    run = write_run(tmp_path, "run", 1.0, [5.0] * 96 + [1.0, 3.0])
    lines = run.joinpath("metrics.jsonl").read_text()
    run.joinpath("metrics.jsonl").write_text(
        lines + "".join(f'{{"step": {step}, "loss": null}}\n' for step in (99, 100))
    )
    assert select([run]).runs[0].loss == pytest.approx((3 * 5 + 1 + 3) / 5)


def test_runs_on_other_data_are_not_compared_in_silence(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path, name, 0.1, [1.0], **{"data.path": name})
        for name in ("breastmnist", "cifar10")
    ]
    (warning,) = select(runs).warnings
    assert "data.path" in warning


def test_a_checkpoint_is_ranked_by_its_own_step(tmp_path: Path) -> None:
    run = write_run(tmp_path, "run", 1.0, [float(n) for n in range(100, 0, -1)])
    found = select([run / "checkpoints" / "step-00000020.pt", run])
    assert [(one.name, one.step, one.loss) for one in found.runs] == [
        ("run", 100, 3.0),
        ("run step 20", 20, 81.0),
    ]


def test_the_correlation_is_scipys(tmp_path: Path) -> None:
    losses, probes = [0.5, 0.3, 0.4, 0.1], [0.4, 0.7, 0.8, 0.9]
    runs = [
        write_run(tmp_path, f"run{n}", 0.05, [loss], probe)
        for n, (loss, probe) in enumerate(zip(losses, probes, strict=True))
    ]
    found = select(runs)
    assert found.by_loss == pytest.approx(-spearmanr(losses, probes).statistic)
    assert found.by_score == found.by_loss
    told = dict(zip((run.name for run in runs), [0.9, 0.8, 0.7, 0.6], strict=True))
    assert select(runs, probes=told).by_loss == pytest.approx(-0.8)


def test_what_makes_losses_incomparable_is_told(tmp_path: Path) -> None:
    one = write_run(tmp_path, "one", 0.05, [1.0])
    two = write_run(tmp_path, "two", 0.1, [1.0], **{"backbone.name": "resnet18"})
    three = write_run(tmp_path, "three", 0.1, [1.0], **{"objective.statistic": "watson"})
    assert not select([one, two]).warnings
    assert "objective.statistic" in select([one, three]).warnings[0]


def test_a_run_that_diverged_is_left_out(tmp_path: Path) -> None:
    good = write_run(tmp_path, "good", 0.1, [1.0] * 100)
    bad = write_run(tmp_path, "bad", 0.1, [0.1])
    text = bad.joinpath("metrics.jsonl").read_text()
    nulls = "".join(f'{{"step": {step}, "loss": null}}\n' for step in range(2, 101))
    bad.joinpath("metrics.jsonl").write_text(text + nulls)
    found = select([bad, good])
    assert [one.name for one in found.runs] == ["good"]
    assert any("no longer a number: bad" in text for text in found.warnings)


def test_runs_of_other_lengths_and_contents_are_not_compared_in_silence(
    run: Path, blobs: Path, tmp_path: Path
) -> None:
    short = tmp_path / "short"
    pretrain(tiny(blobs, steps=1, log__every_steps=1), short, console=Console(quiet=True))
    with h5py.File(blobs) as old, h5py.File(tmp_path / "other.h5", "w") as new:
        for name, values in old.items():
            new[name] = values[...]
        new["images"][0] += 1
    other = tmp_path / "other"
    pretrain(tiny(tmp_path / "other.h5"), other, console=Console(quiet=True))
    assert not select([run]).warnings
    (longer,) = select([run, short]).warnings
    assert "different numbers of steps" in longer
    (content,) = select([run, other]).warnings
    assert "the content of their data" in content


def test_what_is_no_run_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no run"):
        select([tmp_path])
    with pytest.raises(UserError, match=r"objective\.lam = 0"):
        select([write_run(tmp_path, "collapsed", 0.0, [1.0])])
    with pytest.raises(UserError, match="no loss yet"):
        select([write_run(tmp_path, "young", 0.1, [])])
    (tmp_path / "b").mkdir()
    same = [write_run(tmp_path, "same", 0.1, [1.0]), write_run(tmp_path / "b", "same", 0.1, [1.0])]
    with pytest.raises(UserError, match="two runs are called same"):
        select(same)
