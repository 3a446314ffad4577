"""Data that change under a run, or are gone when it is done."""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from domainjepa import cli
from domainjepa.encoder.artefact import load_encoder
from domainjepa.errors import UserError
from domainjepa.pretraining import same_data
from domainjepa.pretraining.batches import Batch, batches
from domainjepa.pretraining.checkpoint import load_checkpoint
from domainjepa.pretraining.plan import Plan, make_plan
from domainjepa.pretraining.run import pretrain
from domainjepa.pretraining.same_data import refuse_others_elsewhere
from tests.conftest import tiny

QUIET = Console(quiet=True)


def during(monkeypatch: pytest.MonkeyPatch, step: int, act: Callable[[], object]) -> None:
    """Something happens while a run waits for the batch of a step."""

    def feed(plan: Plan, start: int) -> Iterator[Batch]:
        for number, batch in enumerate(batches(plan, start), start):
            if number == step:
                act()
            yield batch

    monkeypatch.setattr("domainjepa.pretraining.run.batches", feed)


def other_pixels(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 255
    path.write_bytes(content)


@pytest.mark.parametrize(("step", "good"), [(3, 2), (7, 6)])
def test_other_content_is_an_error_that_keeps_the_last_good_checkpoint(
    step: int, good: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "images.npy"
    np.save(data, np.random.default_rng(0).integers(0, 255, (40, 32, 32, 3), np.uint8))
    during(monkeypatch, step, lambda: other_pixels(data))
    with pytest.raises(UserError, match=r"the data changed .* saved before is intact.*--resume"):
        pretrain(tiny(data, domain="natural"), tmp_path / "run", console=QUIET)
    assert load_checkpoint(tmp_path / "run" / "checkpoints")["step"] == good
    assert load_encoder(tmp_path / "run")[0].step == good
    other_pixels(data)  # back to what they were
    monkeypatch.undo()
    pretrain(tiny(data, domain="natural"), tmp_path / "run", resume=True, console=QUIET)
    assert load_encoder(tmp_path / "run")[0].step == 8


def folder_of_pictures(root: Path) -> Path:
    draw = np.random.default_rng(0)
    for number in range(40):
        place = root / f"kind{number % 2}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 255, (32, 32, 3), np.uint8)).save(place / f"{number}.png")
    return root


def test_a_touch_neither_ends_a_run_nor_refuses_a_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = folder_of_pictures(tmp_path / "pictures")
    files = list(data.rglob("*.png"))
    during(monkeypatch, 2, lambda: [file.touch() for file in files])
    pretrain(tiny(data, domain="natural"), tmp_path / "run", console=QUIET)
    for file in files:
        file.touch()
    text = io.StringIO()
    pretrain(
        tiny(data, domain="natural"),
        tmp_path / "run",
        resume=True,
        console=Console(file=text, width=300),
    )
    assert "after step 8 of 8" in text.getvalue()
    assert "written anew" not in text.getvalue()  # all of the content was compared


def test_a_run_whose_data_are_gone_after_training_ends_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = folder_of_pictures(tmp_path / "pictures")
    during(monkeypatch, 7, lambda: shutil.rmtree(data))
    recipe = tmp_path / "small.toml"
    recipe.write_text(
        "steps = 8\nbatch_size = 16\ndomain = 'natural'\n[data]\nworkers = 0\n"
        "[projector]\nhidden = 32\nout = 8\n[views]\nnum_local = 0\n[backbone]\nname='test_resnet'"
    )
    command = ["pretrain", "--data", data, "--recipe", recipe, "--out", tmp_path / "run"]
    monkeypatch.setattr(sys, "argv", ["domainjepa", *map(str, command)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    out, errors = capsys.readouterr()
    assert not end.value.code, errors
    assert "could not be read any more" in " ".join(out.split())
    assert "next: domainjepa evaluate" in out
    assert load_encoder(tmp_path / "run")[0].step == 8
    assert "could not be read any more" in (tmp_path / "run" / "report.html").read_text()


def test_ranks_that_see_other_data_are_refused(
    blobs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan(tiny(blobs))
    refuse_others_elsewhere(plan)
    monkeypatch.setattr(same_data, "gather_over_ranks", lambda own: torch.cat([own, own]))
    refuse_others_elsewhere(plan)
    monkeypatch.setattr(same_data, "gather_over_ranks", lambda own: torch.cat([own, own + 1]))
    with pytest.raises(UserError, match="not all ranks see the same data"):
        refuse_others_elsewhere(plan)
