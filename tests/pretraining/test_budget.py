"""A run that fills a time: the rules in closed form, and that nothing is measured twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from domainjepa import settings
from domainjepa.backbones import traits
from domainjepa.cli.learn import _over_those_of_the_run
from domainjepa.config import seconds_of
from domainjepa.errors import ConfigError
from domainjepa.pretraining import budget
from domainjepa.pretraining.budget import FEW, LONGER, PAPER, SHORT, choices, fit, said
from domainjepa.pretraining.run import pretrain
from tests import programs
from tests.conftest import TINY, write_blobs
from tests.pretraining.test_run import command

QUIET = Console(quiet=True)
RESNET = traits("resnet10t")
NO_STEPS = {name: value for name, value in TINY.items() if name != "steps"}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("45m", 2700), ("2h", 7200), ("1h30m", 5400), ("0.5h", 1800), ("1m30s", 90)],
)
def test_times(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["0", "0m", "-5m", "45", "soon", "m", "", "1e3s", "nan", "30m2h"])
def test_what_is_no_budget_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(ConfigError, match=r"budget = .*a time above 0 with its unit") as refused:
        settings.resolve(None, (), {"budget": text})
    assert "\n" not in str(refused.value)


def test_the_command_refuses_them_too(blobs: Path, tmp_path: Path) -> None:
    words = [w for w in command(blobs, tmp_path / "out", "--budget=-5m") if "--steps" not in w]
    ended = programs.run(*words)
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert "-5m" in ended.stderr
    ended = programs.run(*command(blobs, tmp_path / "out", "--budget=5m", "--steps=3"))
    assert ended.returncode == 2
    assert "each say how long" in ended.stderr


def test_the_steps_that_fit() -> None:
    # 0.95 * 1000 s less 50 s beside the steps, at 0.5 s a step.
    assert budget.steps_that_fit(1000, 50, 0.5) == 1800
    assert budget.steps_that_fit(60, 60, 0.5) < 0
    # A look for shortcuts: as long as 8 steps, or a tenth of a short run.
    assert budget.steps_that_fit(1000, 50, 0.5, 8) == 1792
    assert budget.steps_that_fit(1000, 50, 0.5, 800) == int(1800 / 1.1)


def costs(monkeypatch: pytest.MonkeyPatch, *seconds: float) -> list[Any]:
    """Steps cost so much in turn; what was measured is listed."""
    measured: list[Any] = []

    def cost(plan: Any, end: float) -> float:
        measured.append(plan.config)
        return seconds[len(measured) - 1]

    monkeypatch.setattr(budget, "seconds_a_step", cost)
    monkeypatch.setattr("domainjepa.pretraining.budget.time.monotonic", lambda: 100.0)
    return measured


def test_a_few_steps_are_small_ones(monkeypatch: pytest.MonkeyPatch, blobs: Path) -> None:
    measured = costs(monkeypatch, 0.5)
    asked = settings.resolve(
        None, (), {"data.path": str(blobs), "budget": "10m", "log.shortcuts": False}
    )
    fitted = fit(asked, begun=90.0)
    # 570 s, less 10 s since the command began and 3 s at its end.
    assert fitted.config.steps == int((570 - 10 - 3) / 0.5)
    assert len(measured) == 1
    assert fitted.config.views.num_local == 0
    assert fitted.config.views.global_size == 32
    assert fitted.config.batch_size == 32, "the largest power of two in 48 rows"
    assert fitted.config.backbone.name == "resnet10t"
    assert fitted.config.optimizer.lr == 2e-3
    assert "fewer than 3,000 steps" in fitted.notes[1][1]
    assert "optimizer.lr=0.002" in fitted.notes[1][1]


def test_many_steps_are_of_larger_images(monkeypatch: pytest.MonkeyPatch, blobs: Path) -> None:
    larger = blobs.parent / "larger.h5"
    write_blobs(larger, size=64)
    measured = costs(monkeypatch, 0.5, 0.9)
    fitted = fit(
        settings.resolve(
            None, (), {"data.path": str(larger), "budget": "1h", "log.shortcuts": False}
        ),
        begun=100.0,
    )
    assert [config.views.global_size for config in measured] == [32, 48]
    assert fitted.config.views.global_size == 48
    assert fitted.config.steps == int((3420 - 3) / 0.9)
    assert FEW < (3420 - 3) / 0.5


def test_what_was_set_stays() -> None:
    asked = settings.resolve(
        {"views": {"num_local": 8}},
        ["optimizer.lr=0.0005"],
        {"backbone.name": "resnet18", "batch_size": 256, "budget": "5m"},
    )
    chosen = choices(asked, SHORT, RESNET)
    assert not chosen.keys() & {"views.num_local", "optimizer.lr", "backbone.name", "batch_size"}
    assert chosen["views.global_size"] == 32
    assert said(asked, "views.num_local"), "even where it is the default's own value"
    assert not said(asked, "views.num_global")


def test_the_stem_and_the_crops_go_with_the_size() -> None:
    asked = settings.resolve(None, (), {"views.global_size": 64, "budget": "5m"})
    assert not choices(asked, SHORT, RESNET).keys() & {
        "views.global_scale",
        "backbone.stem_reduction",
    }


def test_transformers_and_volumes_keep_sizes_and_rates() -> None:
    asked = settings.resolve(None, (), {"backbone.name": "vit_tiny_patch16_224", "budget": "5m"})
    for name in ("vit_tiny_patch16_224", "monai:resnet18"):
        chosen = choices(asked, LONGER, traits(name))
        assert not chosen.keys() & {"views.global_size", "optimizer.lr", "backbone.stem_reduction"}
        assert chosen["views.num_local"] == 0


def test_given_weights_keep_their_rate_and_stem() -> None:
    asked = settings.resolve(None, (), {"init.weights": "timm:resnet10t", "budget": "5m"})
    assert not choices(asked, SHORT, RESNET).keys() & {"optimizer.lr", "backbone.stem_reduction"}
    assert choices(asked, PAPER, RESNET) == {"backbone.name": "resnet34"}


def test_a_budget_for_nothing_says_what_would_do(
    monkeypatch: pytest.MonkeyPatch, blobs: Path
) -> None:
    costs(monkeypatch, 10.0)
    with pytest.raises(ConfigError, match=r"holds 7 steps of 10 s: give more, such as 119 s"):
        fit(settings.resolve(NO_STEPS, (), {"data.path": str(blobs), "budget": "90s"}), begun=100.0)


def test_the_later_word_on_the_length_counts() -> None:
    recipe = {"steps": 5200}
    assert settings.resolve(recipe, (), {"budget": "5m"}).steps is None
    assert settings.resolve({"budget": "5m", "steps": 80}, (), {"budget": "5m"}).steps == 80
    assert settings.resolve({"budget": "5m", "steps": 80}, (), {"budget": "9m"}).steps is None
    for flags in ({"steps": 9}, {"epochs": 9}):
        assert settings.resolve({"budget": "5m", "steps": 80}, (), flags).budget is None


def test_a_run_is_measured_once(
    monkeypatch: pytest.MonkeyPatch, blobs: Path, tmp_path: Path
) -> None:
    """Resumed or repeated from its config.toml, it has the same settings and the same bytes."""
    asked = settings.resolve(NO_STEPS, (), {"data.path": str(blobs), "budget": "1h"})
    measured = costs(monkeypatch, 300.0)
    pretrain(asked, tmp_path / "run", console=QUIET, begun=100.0)
    text = (tmp_path / "run/config.toml").read_text()
    written = settings.read_recipe(tmp_path / "run/config.toml")
    assert written["budget"] == "1h"
    assert written["steps"] == int((3420 - 3) / 300 / 1.1)
    pretrain(asked, tmp_path / "run", resume=True, console=QUIET)
    assert (tmp_path / "run/config.toml").read_text() == text
    again = settings.resolve(written, (), {"data.path": str(blobs), "budget": "1h"})
    pretrain(again, tmp_path / "again", console=QUIET)
    name = "encoder.safetensors"
    assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    del written["budget"]  # the card does not know of it
    pretrain(
        settings.resolve(written, (), {"data.path": str(blobs)}), tmp_path / "plain", console=QUIET
    )
    assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()
    assert len(measured) == 1


def test_another_budget_is_refused_by_a_run_that_goes_on(
    monkeypatch: pytest.MonkeyPatch, blobs: Path, tmp_path: Path
) -> None:
    costs(monkeypatch, 300.0, 300.0)
    asked = settings.resolve(NO_STEPS, (), {"data.path": str(blobs), "budget": "1h"})
    pretrain(asked, tmp_path / "run", console=QUIET, begun=100.0)
    other = asked.model_copy(update={"budget": "2h"})
    with pytest.raises(ConfigError, match="budget: '1h' -> '2h'"):
        pretrain(other, tmp_path / "run", resume=True, console=QUIET, begun=100.0)


def test_the_command_goes_on_with_the_same_words(run: Path, blobs: Path, tmp_path: Path) -> None:
    """A recipe with steps of its own, a budget over it, --resume: the run's own steps stay."""
    recipe = tmp_path / "recipe.toml"
    recipe.write_text("steps = 5200\n")
    own = _over_those_of_the_run(run, settings.read_recipe(recipe))
    assert own["steps"] == 5200, "a run without a budget has its steps from the recipe"
    copy = tmp_path / "run"
    copy.mkdir()
    (copy / "config.toml").write_text('budget = "5m"\n' + (run / "config.toml").read_text())
    own = _over_those_of_the_run(copy, settings.read_recipe(recipe))
    assert settings.resolve(own, (), {"budget": "5m"}).steps == 8
