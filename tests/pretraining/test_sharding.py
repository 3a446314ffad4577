"""Several ranks against one process, with weights on each of them and with weights divided."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from rich.console import Console
from torch import nn

from domainjepa.config import PretrainConfig
from domainjepa.encoder.artefact import load_encoder
from domainjepa.errors import ConfigError, UserError
from domainjepa.pretraining import run_folder
from domainjepa.pretraining.plan import make_plan
from domainjepa.pretraining.progress import read_metrics
from domainjepa.pretraining.run import pretrain
from domainjepa.pretraining.run_folder import RunFolder
from domainjepa.pretraining.sharding import blocks, divided, whole
from tests import programs
from tests.conftest import tiny

# Without BatchNorm, whose statistics are of each rank's share on the CPU.
COMMON: dict[str, Any] = {
    "backbone__name": "test_vit",
    "projector__layers": 1,
    "steps": 3,
    "views__num_local": 0,
    "optimizer__clip": 1.0,
    "checkpoint__every_steps": 3,
}


def config(blobs: Path, **changes: Any) -> PretrainConfig:
    return tiny(blobs, **COMMON, **changes)


@pytest.fixture(scope="module")
def alone(blobs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of one process."""
    out = tmp_path_factory.mktemp("alone") / "run"
    pretrain(config(blobs), out, console=Console(quiet=True))
    return out


RANK = textwrap.dedent(
    """
    import os, signal, sys
    from pathlib import Path
    import torch
    from rich.console import Console
    from domainjepa.distributed import process_group
    from domainjepa.pretraining.run import pretrain
    from domainjepa.pretraining.step import Step
    from domainjepa.signals import Stopped
    from tests.pretraining.test_sharding import config

    torch.set_num_threads(1)
    blobs, out, asked = sys.argv[1:]
    way, folder = asked.split(":")
    ways = {
        "ddp": {},
        "full": {"shard": "full"},
        "micro": {"shard": "full", "micro_batch": 2, "activation_checkpointing": True},
        "half": {"shard": "full", "precision": "bfloat16"},
        "stopped": {"shard": "full"},
    }
    plain = Step.__call__

    def stopping(step, batch):
        if step._state.step == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return plain(step, batch)

    with process_group("cpu"):
        Step.__call__ = stopping if way == "stopped" else plain
        run = Path(out) / (folder.removeprefix("+") or way)
        settings, resume = config(Path(blobs), **ways[way]), folder.startswith("+")
        try:
            pretrain(settings, run, resume=resume, console=Console(quiet=True))
        except Stopped:
            assert way == "stopped"
    print("done")
    """
)


def same_steps(run: Path, alone: Path, rel: float = 1e-5) -> None:
    lines, truth = (read_metrics(one / "metrics.jsonl") for one in (run, alone))
    assert [line["step"] for line in lines] == [1, 2, 3]
    for line, true in zip(lines, truth, strict=True):
        for name in ("loss", "prediction", "sigreg"):
            assert line[name] == pytest.approx(true[name], rel=rel), name
        assert line["gradient_norm"] == pytest.approx(true["gradient_norm"], rel=1e2 * rel)


@pytest.fixture
def ran(blobs: Path, tmp_path: Path) -> Callable[..., Path]:
    """Runs a way of `RANK` on so many ranks; gives its folder."""
    script = tmp_path / "rank.py"
    script.write_text(RANK)

    def run(ranks: int, way: str, folder: str = "") -> Path:
        asked = f"{way}:{folder}"
        assert programs.ranks(ranks, script, blobs, tmp_path, asked) == ["done\n"] * ranks
        return tmp_path / (folder.removeprefix("+") or way)

    return run


@pytest.mark.parametrize(("ranks", "way"), [(2, "ddp"), (2, "micro"), (4, "ddp"), (4, "full")])
def test_every_step_is_that_of_one_process(
    ranks: int, way: str, ran: Callable[..., Path], alone: Path, blobs: Path
) -> None:
    out = ran(ranks, way)
    same_steps(out, alone)
    (_, truth), (_, found) = load_encoder(alone), load_encoder(out)
    before = make_plan(config(blobs)).backbone.state_dict()
    moved = max(float((value - before[name]).norm()) for name, value in truth.items())
    for name, value in truth.items():
        assert (found[name] - value).norm() <= 1e-3 * moved, name


def test_a_checkpoint_of_four_ranks_goes_on_with_two_and_with_one(
    ran: Callable[..., Path], alone: Path, blobs: Path, tmp_path: Path
) -> None:
    cut = ran(4, "stopped")
    assert len(read_metrics(cut / "metrics.jsonl")) == 2
    shutil.copytree(cut, tmp_path / "two")
    same_steps(ran(2, "full", "+two"), alone)
    # Without sharding: the checkpoint does not know of it.
    pretrain(config(blobs), cut, resume=True, console=Console(quiet=True))
    same_steps(cut, alone)
    card, _ = load_encoder(alone)
    other, _ = load_encoder(cut)
    assert card.model_copy(update={"sha256": other.sha256}) == other


def test_sharded_weights_in_bfloat16(ran: Callable[..., Path], alone: Path) -> None:
    same_steps(ran(2, "half"), alone, rel=3e-2)


@pytest.mark.parametrize(
    "name", ["vit_small_patch16_224", "convnext_tiny", "resnet34", "swin_tiny_patch4_window7_224"]
)
def test_blocks_hold_nearly_all_of_a_network(name: str) -> None:
    with torch.device("meta"):
        net = timm.create_model(name, num_classes=0)
    found = list(blocks(net))
    inside = {weight for block in found for weight in block.parameters()}
    share = sum(weight.numel() for weight in inside) / sum(w.numel() for w in net.parameters())
    assert share > 0.9
    assert len(found) == len(set(found)) >= 8
    assert not any(isinstance(block, nn.Sequential | nn.ModuleList) for block in found)
    gathered: set[nn.Parameter] = set()
    for block in found:  # inner ones first: what is gathered with a block are its other weights
        own = set(block.parameters()) - gathered
        gathered |= own
        assert sum(w.numel() for w in own) < 0.3 * sum(w.numel() for w in net.parameters())


def test_what_does_not_go_with_sharding_is_refused_in_words(blobs: Path) -> None:
    with pytest.raises(ConfigError, match="shard = 'full' and compile do not go together"):
        make_plan(tiny(blobs, shard="full", compile=True))
    with pytest.raises(ConfigError, match=r"and objective\.average_weights do not go together"):
        make_plan(tiny(blobs, shard="full", objective__average_weights=0.9))
    assert (
        "shard=full divides nothing: there is one rank"
        in make_plan(tiny(blobs, shard="full")).warnings
    )


def test_whole_tensors_are_left_as_they_are() -> None:
    tensor = torch.ones(3)
    assert whole({"a": {0: tensor}, "b": [1]}) == {"a": {0: tensor}, "b": [1]}
    assert divided(tensor, torch.zeros(3)) is tensor


def test_a_checkpoint_that_some_ranks_do_not_see_is_one_line(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert RunFolder(run).to_go_on_from()
    monkeypatch.setattr(run_folder, "any_over_ranks", lambda flag: True)
    with pytest.raises(UserError, match="file system that all machines share"):
        RunFolder(run).to_go_on_from()
