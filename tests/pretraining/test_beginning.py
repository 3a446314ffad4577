"""Runs that begin with given weights, and runs that extend another."""

from __future__ import annotations

import shutil
import textwrap
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from rich.console import Console

from domainjepa import settings
from domainjepa.backbones.weights import file_digest
from domainjepa.config import PretrainConfig
from domainjepa.encoder.artefact import load_encoder
from domainjepa.encoder.frozen import FrozenEncoder
from domainjepa.errors import ConfigError, UserError
from domainjepa.pretraining.batches import batches
from domainjepa.pretraining.beginning import backbone_of, parent_settings
from domainjepa.pretraining.checkpoint import load_checkpoint
from domainjepa.pretraining.plan import make_plan
from domainjepa.pretraining.progress import read_metrics
from domainjepa.pretraining.run import pretrain
from domainjepa.pretraining.state import RunState
from domainjepa.signals import Stopped
from tests import programs
from tests.conftest import tiny, write_blobs

QUIET = Console(quiet=True)
MOMENT = 1e-9
"""Hours that are over after any step."""


@pytest.fixture(scope="module")
def grey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of one channel."""
    path = tmp_path_factory.mktemp("grey") / "grey.npz"
    draw = np.random.default_rng(1)
    np.savez(path, images=draw.integers(0, 255, (40, 32, 32, 1), np.uint8))
    return path


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights as timm publishes them, the classifier included."""
    path = tmp_path_factory.mktemp("weights") / "somewhere.safetensors"
    torch.manual_seed(0)
    net = timm.create_model("test_resnet", pretrained=False)
    safetensors.torch.save_file(net.state_dict(), path)
    return path


def stopped(config: PretrainConfig, out: Path) -> None:
    """A run after its first step."""
    with pytest.raises(Stopped):
        pretrain(config.model_copy(update={"max_hours": MOMENT}), out, console=QUIET)


def files(out: Path) -> tuple[bytes, ...]:
    return tuple((out / f"{name}.safetensors").read_bytes() for name in ("encoder", "initial"))


def again(out: Path, data: Path, **flags: str) -> PretrainConfig:
    """The settings of a run's own config.toml."""
    named = {name.replace("__", "."): value for name, value in flags.items()}
    layer = settings.read_recipe(out / "config.toml")
    layer.pop("max_hours", None)
    return settings.resolve(layer, (), {"data.path": str(data), **named})


def test_an_encoder_of_ours_for_other_channels(run: Path, grey: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    pretrain(tiny(grey, init__weights=str(run), steps=1), out, console=QUIET)
    before, after = FrozenEncoder(run), FrozenEncoder(out / "initial.safetensors")
    image = torch.randn(2, 1, 32, 32)
    torch.testing.assert_close(
        after.network[0].probe_features(image),
        before.network[0].probe_features(image.repeat(1, 3, 1, 1)),
        rtol=1e-4, atol=1e-5,
    )  # fmt: skip
    begun = load_encoder(out)[0].init
    assert begun is not None
    assert begun["name"] == "test_resnet, step 8"
    assert begun["sha256"] == load_encoder(run)[0].sha256
    assert begun["adapted"] == ["conv1.0.weight 16x3x3x3 -> 16x1x3x3"]
    assert not begun["missing"]
    assert not begun["unused"]
    assert load_encoder(out / "initial.safetensors")[0].step == 0


def test_published_weights_from_a_file(published: Path, grey: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    text = f"timm:test_resnet={published}"
    pretrain(tiny(grey, init__weights=text, steps=1), out, console=QUIET)
    card, weights = load_encoder(out / "initial.safetensors")
    given = safetensors.torch.load_file(published)
    assert card.init is not None
    assert (card.init["name"], card.init["sha256"]) == ("timm:test_resnet", file_digest(published))
    torch.testing.assert_close(weights["net.layer1.0.conv1.weight"], given["layer1.0.conv1.weight"])
    stem = given["conv1.0.weight"].sum(1, keepdim=True)
    torch.testing.assert_close(weights["net.conv1.0.weight"], stem)
    for path in out.rglob("*.*"):
        assert b"somewhere" not in path.read_bytes(), path.name


def test_settings_that_were_written_repeat_exactly_or_not_at_all(
    published: Path, run: Path, grey: Path, tmp_path: Path
) -> None:
    text = f"timm:test_resnet={published}"
    pretrain(tiny(grey, init__weights=text, steps=1), tmp_path / "a", console=QUIET)
    same = again(tmp_path / "a", grey, init__weights=text)
    pretrain(same, tmp_path / "b", console=QUIET)
    assert files(tmp_path / "a") == files(tmp_path / "b")
    with pytest.raises(ConfigError, match=r"has the SHA-256 .* and the settings ask for"):
        make_plan(again(tmp_path / "a", grey, init__weights=str(run)))
    pretrain(tiny(grey, init__weights=str(run), steps=1), tmp_path / "c", console=QUIET)
    with pytest.raises(ConfigError, match="give them by --init"):
        make_plan(again(tmp_path / "c", grey))


def test_a_resumed_run_needs_the_weights_no_more(
    published: Path, run: Path, grey: Path, tmp_path: Path
) -> None:
    own = shutil.copy(published, tmp_path / "own.safetensors")
    config = tiny(grey, init__weights=f"timm:test_resnet={own}", steps=2)
    pretrain(config, tmp_path / "whole", console=QUIET)
    for name in ("saved", "begun"):
        stopped(config, tmp_path / name)
    shutil.rmtree(tmp_path / "begun" / "checkpoints")  # as if killed before the first was saved
    Path(own).unlink()
    for name, given in (("saved", config), ("begun", again(tmp_path / "begun", grey))):
        pretrain(given, tmp_path / name, resume=True, console=QUIET)
        assert files(tmp_path / name) == files(tmp_path / "whole")
    other = tiny(grey, init__weights=str(run), steps=2)
    with pytest.raises(ConfigError, match="other weights than the run began with"):
        pretrain(other, tmp_path / "saved", resume=True, console=QUIET)


def test_what_does_not_fit_is_refused_with_words(published: Path, grey: Path) -> None:
    with pytest.raises(ConfigError, match="Set --backbone test_resnet"):
        make_plan(tiny(grey, init__weights="timm:test_resnet", backbone__name="test_vit"))
    text = f"timm:test_vit={published}"
    with pytest.raises(UserError, match="holds no weights for test_vit"):
        make_plan(tiny(grey, init__weights=text, backbone__name="test_vit"))
    with pytest.raises(UserError, match="no weights at nothing"):
        make_plan(tiny(grey, init__weights="timm:test_resnet=nothing"))
    with pytest.raises(ConfigError, match=r"init\.frozen = 0\.5: layers of random weights"):
        make_plan(tiny(grey, init__frozen=0.5))
    with pytest.raises(ConfigError, match="give one"):
        tiny(grey, init__weights="a", init__extend="b")
    assert backbone_of(f"timm:resnet18.a1_in1k={published}") == "resnet18.a1_in1k"


def test_given_weights_learn_at_a_lower_rate_and_a_share_of_them_stays(
    run: Path, blobs: Path, tmp_path: Path
) -> None:
    assert make_plan(tiny(blobs)).config.optimizer.lr == 5e-4
    config = tiny(blobs, init__weights=str(run), init__frozen=0.6, steps=2)
    plan = make_plan(config)
    assert plan.config.optimizer.lr == pytest.approx(1e-4)
    assert any("3 of 5 layers stay as they are" in text for _, text in plan.notes)
    pretrain(config, tmp_path / "out", console=QUIET)
    (_, before), (_, after) = load_encoder(run), load_encoder(tmp_path / "out")
    moved = {name for name in before if (before[name] != after[name]).any()}
    layer_of = plan.backbone.layers()
    assert {name for name in layer_of if layer_of[name] >= 3} <= moved
    assert not {name for name in layer_of if layer_of[name] < 3} & moved


def test_batch_norm_keeps_the_statistics_that_it_was_given(
    run: Path, blobs: Path, tmp_path: Path
) -> None:
    config = tiny(blobs, init__weights=str(run), steps=2)
    plan = make_plan(config)
    assert any("BatchNorm keeps its statistics" in text for _, text in plan.notes)
    plan.backbone.net.train()  # as what tries a network out may leave it
    norms = [part for part in RunState.start(plan).network.backbone.modules() if is_norm(part)]
    assert norms
    assert not any(part.training for part in norms)
    pretrain(config, tmp_path / "kept", console=QUIET)
    moving = config.init.model_copy(update={"statistics": "moving"})
    pretrain(config.model_copy(update={"init": moving}), tmp_path / "moving", console=QUIET)
    before, kept, moved = (
        load_encoder(at)[1] for at in (run, tmp_path / "kept", tmp_path / "moving")
    )
    statistics = [name for name in before if "running" in name]
    assert statistics
    assert all(torch.equal(kept[name], before[name]) for name in statistics)
    assert not any(torch.equal(moved[name], before[name]) for name in statistics)
    for name in before:  # the weights of BatchNorm learn
        if name.endswith(("weight", "bias")):
            assert not torch.equal(kept[name], before[name]), name
    layer = parent_settings(tmp_path / "kept")
    assert settings.resolve(layer).init.statistics == "kept"
    assert make_plan(extended(run, blobs)).config.init.statistics == "moving"
    with pytest.raises(ConfigError, match=r"init\.statistics = 'kept': random weights have none"):
        make_plan(tiny(blobs, init__statistics="kept"))


def is_norm(part: torch.nn.Module) -> bool:
    return isinstance(part, torch.nn.BatchNorm2d)


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory, blobs: Path) -> Path:
    """A run of 4 steps of 16: one epoch and a third."""
    out = tmp_path_factory.mktemp("parent") / "parent"
    pretrain(tiny(blobs, steps=4), out, console=QUIET)
    return out


def extended(parent: Path, data: Path, **more: object) -> PretrainConfig:
    named = {name.replace("__", "."): value for name, value in more.items()}
    flags = {"data.path": str(data), "init.extend": str(parent), "steps": 3, **named}
    return settings.resolve(parent_settings(parent), (), flags)


def test_a_run_that_extends_another_begins_with_its_whole_state(
    parent: Path, blobs: Path, tmp_path: Path
) -> None:
    out = tmp_path / "child"
    pretrain(extended(parent, blobs, optimizer__lr=0.25), out, console=QUIET)
    begun, last = load_encoder(out / "initial.safetensors"), load_encoder(parent)
    assert all(torch.equal(begun[1][name], last[1][name]) for name in last[1])
    card = load_encoder(out)[0]
    assert card.init is not None
    assert card.init["name"] == "test_resnet, extended after step 4"
    assert "run parent: test_resnet" in (out / "report.html").read_text()
    lines = read_metrics(out / "metrics.jsonl")
    assert [line["step"] for line in lines] == [1, 2, 3]
    assert lines[0]["lr"] == pytest.approx(0.25)  # a warm-up of its own: of one step here
    assert lines[-1]["lr"] == pytest.approx(0.25e-3)


def test_an_extended_run_takes_over_the_moments_but_not_the_rates(
    parent: Path, blobs: Path
) -> None:
    plan = make_plan(extended(parent, blobs, optimizer__lr=0.25))
    state = RunState.start(plan)
    packed = load_checkpoint(parent / "checkpoints")
    state.go_on_from(packed)
    assert state.step == 0
    assert state.optimizer.param_groups[0]["peak"] == 0.25
    moments = state.optimizer.state_dict()["state"]
    for number, one in packed["optimizer"]["state"].items():
        assert torch.equal(moments[number]["exp_avg_sq"], one["exp_avg_sq"])


@pytest.mark.parametrize("batch_size", [16, 8, 40])
def test_its_draws_are_none_of_its_parents(batch_size: int, parent: Path, blobs: Path) -> None:
    before = make_plan(tiny(blobs, steps=4))
    plan = make_plan(extended(parent, blobs, batch_size=batch_size))
    assert plan.draw(0) >= 4  # of directions, one a step
    sampler = [{draw for batch in iter(loader(one)) for draw in batch} for one in (before, plan)]
    assert not sampler[0] & sampler[1]  # of views, one a pair of epoch and row


def loader(plan):  # type: ignore[no-untyped-def]
    from domainjepa.pretraining.batches import batch_loader

    return batch_loader(plan, 0).batch_sampler


def test_draws_go_on_where_those_of_the_parent_ended(blobs: Path, tmp_path: Path) -> None:
    parent = tmp_path / "parent"  # two whole epochs
    pretrain(tiny(blobs, steps=6), parent, console=QUIET)
    child = make_plan(extended(parent, blobs))
    longer = make_plan(tiny(blobs, steps=9))
    for ours, theirs in zip(batches(child, 0), batches(longer, 6), strict=True):
        assert torch.equal(ours["global"], theirs["global"])
    pretrain(extended(parent, blobs), tmp_path / "child", console=QUIET)
    third = make_plan(extended(tmp_path / "child", blobs))
    assert third.draw(0) == 9


def test_an_extended_run_goes_on_without_its_parent(
    blobs: Path, parent: Path, tmp_path: Path
) -> None:
    own = shutil.copytree(parent, tmp_path / "own")
    config = extended(own, blobs)
    pretrain(config, tmp_path / "whole", console=QUIET)
    for name in ("saved", "begun"):
        stopped(config, tmp_path / name)
    shutil.rmtree(own)
    begun = tmp_path / "begun" / "checkpoints"
    assert sorted(path.name for path in begun.glob("*.pt")) == [
        "step-00000000.pt", "step-00000001.pt",
    ]  # fmt: skip
    for name in ("saved", "begun"):
        pretrain(again(tmp_path / name, blobs), tmp_path / name, resume=True, console=QUIET)
        assert files(tmp_path / name) == files(tmp_path / "whole")


def test_what_cannot_be_extended_says_so(parent: Path, blobs: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no run"):
        make_plan(tiny(blobs, init__extend=str(tmp_path)))
    with pytest.raises(UserError, match="holds no run"):
        parent_settings(tmp_path)
    with pytest.raises(UserError, match="no encoder at nothere: No such"):
        make_plan(tiny(blobs, init__weights="nothere"))
    with pytest.raises(ConfigError, match=r"layer_decay = 0\.5, where it has 1\.0"):
        make_plan(extended(parent, blobs, optimizer__layer_decay=0.5))
    other = extended(parent, blobs, projector__out=9)
    with pytest.raises(UserError, match="does not fit this run"):
        pretrain(other, tmp_path / "out", console=QUIET)
    assert not (tmp_path / "out").exists()
    write_blobs(tmp_path / "more.h5", samples=80)  # other data are allowed
    assert make_plan(extended(parent, tmp_path / "more.h5")).beginning is not None


# Without BatchNorm, whose statistics are of each rank's share on the CPU.
PLAIN = {"backbone__name": "test_vit", "projector__layers": 1, "views__num_local": 0}
RANK = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    import torch
    from rich.console import Console
    from domainjepa.distributed import process_group, rank
    from domainjepa.errors import UserError
    from domainjepa.pretraining import run_folder
    from domainjepa.pretraining.run import pretrain
    from tests.conftest import tiny
    from tests.pretraining.test_beginning import PLAIN, extended

    torch.set_num_threads(1)
    blobs, parent, out = map(Path, sys.argv[1:])
    written, save = [], run_folder.save_state

    def counted(path, *more):
        written.append(path.name)
        save(path, *more)

    run_folder.save_state = counted
    with process_group("cpu"):
        for name, config in (
            ("init", tiny(blobs, **PLAIN, init__weights=str(parent), steps=3)),
            ("full", tiny(blobs, **PLAIN, init__weights=str(parent), steps=3, shard="full")),
            ("extend", extended(parent, blobs)),
        ):
            pretrain(config, out / name, console=Console(quiet=True))
        for wrong in (
            {"init__weights": str(out / "nothing")},
            {"init__extend": str(out)},
            {**PLAIN, "init__weights": str(out / ("init", "extend")[rank()])},
        ):
            try:
                pretrain(tiny(blobs, **wrong), out / "wrong", console=Console(quiet=True))
            except UserError as error:
                print(error)
    print(written.count("initial.safetensors"))
    """
)


def test_two_ranks_begin_with_the_weights_of_one(blobs: Path, tmp_path: Path) -> None:
    parent = tmp_path / "parent"
    pretrain(tiny(blobs, **PLAIN, steps=2), parent, console=QUIET)
    config = tiny(blobs, **PLAIN, init__weights=str(parent), steps=3)
    pretrain(config, tmp_path / "alone-init", console=QUIET)
    pretrain(extended(parent, blobs), tmp_path / "alone-extend", console=QUIET)
    script = tmp_path / "rank.py"
    script.write_text(RANK)
    main, other = (said.splitlines() for said in programs.ranks(2, script, blobs, parent, tmp_path))
    assert main[:-1] == other[:-1]  # each rank says in one line what is wrong, and none hangs
    assert [line.partition(":")[0] for line in main[:-1]] == [
        f"no encoder at {tmp_path.name}/nothing",
        f"--extend {tmp_path.name!r}",
        "not all ranks begin with the same weights",
    ]  # fmt: skip
    assert (main[-1], other[-1]) == ("3", "0")
    assert not (tmp_path / "wrong").exists()
    for name, way in (("init", "init"), ("full", "init"), ("extend", "extend")):
        alone, out = tmp_path / f"alone-{way}", tmp_path / name
        (_, given), (_, truth), (_, found) = map(
            load_encoder, (alone / "initial.safetensors", alone, out)
        )
        assert files(out)[1] == files(alone)[1]
        moved = max(float((truth[name] - given[name]).norm()) for name in truth)
        for tensor in truth:
            assert (found[tensor] - truth[tensor]).norm() <= 1e-3 * moved, (name, tensor)
