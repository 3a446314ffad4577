"""Encoders that a run keeps on its way, and those that it began with."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from domainjepa import selection
from domainjepa.cli.options import opened
from domainjepa.data.opening import open_source
from domainjepa.embed import embed
from domainjepa.encoder.artefact import load_encoder
from domainjepa.encoder.frozen import FrozenEncoder
from domainjepa.encoder.places import every_kept, steps_kept
from domainjepa.errors import UserError
from domainjepa.evaluation.encoders.baselines import encoder, untrained
from domainjepa.pretraining.progress import read_metrics
from domainjepa.pretraining.run import pretrain
from tests.conftest import tiny

QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def keeping(tmp_path_factory: pytest.TempPathFactory, blobs: Path, run: Path) -> Path:
    """The run of 8 steps, begun with another, that keeps every third encoder."""
    out = tmp_path_factory.mktemp("keeping") / "kept"
    config = tiny(blobs, init__weights=str(run), checkpoint__encoders_every=3)
    pretrain(config, out, console=QUIET)
    return out


def test_a_kept_encoder_has_the_weights_of_its_step(keeping: Path) -> None:
    assert steps_kept(keeping) == [3, 6]
    early = FrozenEncoder(f"{keeping}@3")
    assert (early.name, early.card.step) == ("kept@3", 3)
    saved = torch.load(
        keeping / "checkpoints" / "step-00000006.pt", weights_only=True, map_location="cpu"
    )["network"]
    weights = load_encoder(Path(f"{keeping}@6"))[1]
    assert all(torch.equal(saved[f"backbone.{name}"], value) for name, value in weights.items())
    inside = keeping / "encoders" / "step-00000006.safetensors"
    assert FrozenEncoder(inside).name == "kept@6"


def test_keeping_encoders_leaves_no_trace_in_the_last(
    keeping: Path, blobs: Path, run: Path, tmp_path: Path
) -> None:
    pretrain(tiny(blobs, init__weights=str(run)), tmp_path / "plain", console=QUIET)
    plain, kept = (
        (out / "encoder.safetensors").read_bytes() for out in (tmp_path / "plain", keeping)
    )
    assert plain == kept


def test_a_step_that_was_not_kept_is_told(keeping: Path, run: Path) -> None:
    with pytest.raises(UserError, match=r"keeps encoders of steps 3, 6 \(checkpoint"):
        load_encoder(Path(f"{keeping}@4"))
    with pytest.raises(UserError, match="keeps encoders of none"):
        load_encoder(Path(f"{run}@4"))
    with pytest.raises(UserError, match="has kept no encoders"):
        every_kept(Path(f"{run}@*"))


def test_a_folder_whose_name_looks_like_a_step_is_a_folder(run: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(run, tmp_path / "tiny@3")
    assert load_encoder(copied)[0] == load_encoder(run)[0]


def test_commands_take_a_step(keeping: Path, blobs: Path, tmp_path: Path) -> None:
    text = f"{keeping}@3"
    source = opened(str(blobs), None, None, [text])
    assert encoder(text).name == "kept@3"
    embed(text, source, tmp_path / "f.npz")
    found = np.load(tmp_path / "f.npz")["features"]
    assert np.array_equal(found, FrozenEncoder(text).transform(source))


def test_select_ranks_the_encoders_of_one_run(keeping: Path, blobs: Path) -> None:
    found = selection.select([Path(f"{keeping}@*"), keeping])
    assert {one.name for one in found.runs} == {"kept@3", "kept@6", "kept"}
    assert not any("different numbers of steps" in text for text in found.warnings)
    losses = {line["step"]: line["loss"] for line in read_metrics(keeping / "metrics.jsonl")}
    for one in found.runs:
        assert one.loss == pytest.approx(losses[one.step])
    probes = selection.probe([Path(f"{keeping}@*")], open_source(blobs))
    assert set(probes) == {"kept@3", "kept@6"}


def test_the_twin_is_joined_by_what_the_run_began_with(keeping: Path, run: Path) -> None:
    for text in (str(keeping), f"{keeping}@3", f"{keeping}/encoder.safetensors"):
        found = untrained([encoder(text)])
        assert [one.name for one in found] == [f"{encoder(text).name}{kind}" for kind in
                                               (" initial", " untrained")]  # fmt: skip
    image = np.zeros((1, 32, 32, 3), np.uint8)
    begun, _ = untrained([FrozenEncoder(keeping)])
    assert np.array_equal(begun.transform(image), FrozenEncoder(run).transform(image))
    both = [FrozenEncoder(keeping), FrozenEncoder(keeping / "initial.safetensors")]
    assert [one.name for one in untrained(both)] == ["kept untrained"]  # evaluated already
    assert [one.name for one in untrained([FrozenEncoder(run)])] == ["tiny untrained"]
