from __future__ import annotations

import gc
import io
import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from rich.console import Console
from torch import nn

from domainjepa import settings
from domainjepa.backbones import Backbone
from domainjepa.config import BackboneConfig
from domainjepa.data.sampling import KeyedBatches
from domainjepa.data.simulated.survey import simulate_survey
from domainjepa.encoder.artefact import load_encoder
from domainjepa.errors import ConfigError, DataError, UserError
from domainjepa.pretraining.batches import Batch, batches
from domainjepa.pretraining.checkpoint import load_checkpoint
from domainjepa.pretraining.gradient import Gradient
from domainjepa.pretraining.parallel import synchronised
from domainjepa.pretraining.plan import Plan, make_plan
from domainjepa.pretraining.probe import probe_loss
from domainjepa.pretraining.progress import read_metrics
from domainjepa.pretraining.rows import hold_out
from domainjepa.pretraining.run import pretrain
from domainjepa.pretraining.run_folder import RunFolder
from domainjepa.pretraining.schedule import learning_rate
from domainjepa.pretraining.state import RunState
from domainjepa.signals import Stopped
from tests import programs
from tests.conftest import TINY, tiny, write_blobs

QUIET = Console(quiet=True)


def weights(run: Path) -> bytes:
    return (run / "encoder.safetensors").read_bytes()


def command(data: Path, out: Path, *more: str) -> list[str]:
    """The tiny run as a user would type it; of `more`, NAME=VALUE, the last word counts."""
    words = {"--data": data, "--out": out, "--batch-size": 16, "--steps": 8}
    words |= {
        f"--set={group}.{name}": value
        for group, values in TINY.items()
        if isinstance(values, dict)
        for name, value in values.items()
    }
    words |= dict(word.rsplit("=", 1) for word in more)
    named = [f"{name}={value}" for name, value in words.items()]
    return ["-m", "domainjepa", "pretrain", *named]


def test_the_run_folder_holds_what_is_promised(run: Path) -> None:
    names = {path.name for path in run.iterdir()}
    assert {"config.toml", "metrics.jsonl", "checkpoints", "encoder.safetensors"} <= names
    assert "report.html" in names
    lines = read_metrics(run / "metrics.jsonl")
    assert [line["step"] for line in lines] == list(range(1, 9))
    promised = {"step", "epoch", "loss", "prediction", "sigreg", "lr", "samples_per_s"}
    assert promised | {"effective_rank", "probe_accuracy", "gaussian_distance"} <= set(lines[-1])
    for line in lines:
        assert line["loss"] == pytest.approx(0.05 * line["sigreg"] + 0.95 * line["prediction"])


def test_no_path_in_any_artefact(run: Path, blobs: Path) -> None:
    for path in run.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert str(blobs.parent).encode() not in data, path.name
            assert b"blobs" not in data, path.name


def test_equal_runs_write_equal_bytes(run: Path, blobs: Path, tmp_path: Path) -> None:
    recipe = settings.read_recipe(run / "config.toml")
    pretrain(settings.resolve(recipe, (), {"data.path": str(blobs)}), tmp_path / "a", console=QUIET)
    assert weights(tmp_path / "a") == weights(run)


def test_killed_before_the_first_checkpoint_begins_anew(blobs: Path, tmp_path: Path) -> None:
    out = tmp_path / "early"
    plan = make_plan(tiny(blobs))
    folder = RunFolder(out)
    with folder.held(resume=False):
        folder.open(plan.config)
    (out / "metrics.jsonl").write_text('{"step": 1}\n')
    config = settings.resolve(
        settings.read_recipe(out / "config.toml"), (), {"data.path": str(blobs)}
    )
    pretrain(config, out, resume=True, console=QUIET)
    assert [line["step"] for line in read_metrics(out / "metrics.jsonl")] == list(range(1, 9))
    assert "loss" in read_metrics(out / "metrics.jsonl")[0]


def test_sigterm_saves_and_exits_143(blobs: Path, tmp_path: Path) -> None:
    out = tmp_path / "stopped"
    long = ("--set=checkpoint.every_steps=100000", "--steps=100000")
    process = programs.start(*command(blobs, out, *long))
    while process.poll() is None and not read_metrics(out / "metrics.jsonl"):
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    ended = process.finish()
    assert ended.returncode == 143, ended.stderr
    assert "--resume" in ended.stderr
    assert "Traceback" not in ended.stderr
    step = json.loads((out / "checkpoints/latest.json").read_text())["step"]
    assert load_encoder(out)[0].step == step > 0


def test_other_worker_counts_see_the_same_views(blobs: Path) -> None:
    seen = []
    for workers in (0, 1, 2):
        plan = make_plan(tiny(blobs, data__workers=workers, steps=3))
        seen.append(list(batches(plan, start=0)))
    for other in seen[1:]:
        for ours, theirs in zip(other, seen[0], strict=True):
            assert ours.keys() == theirs.keys()
            for name in ours:
                assert torch.equal(ours[name], theirs[name])


def test_view_workers_end_with_the_run_and_not_when_garbage_is_collected(
    blobs: Path, tmp_path: Path
) -> None:
    # Python waits at its end for processes that are left, and they are deaf to its SIGTERM.
    gc.disable()
    try:
        pretrain(tiny(blobs, data__workers=1, steps=2), tmp_path / "run")
        assert not multiprocessing.active_children()
    finally:
        gc.enable()


def test_ranks_share_the_same_global_batches() -> None:
    rows = np.arange(100)
    alone = list(KeyedBatches(rows, batch_size=10, seed=1, steps=range(25)))
    parts = [
        list(KeyedBatches(rows, batch_size=10, seed=1, steps=range(25), rank=r, world_size=3))
        for r in range(3)
    ]
    assert [a + b + c for a, b, c in zip(*parts, strict=True)] == alone


def test_two_ranks_learn_what_one_does(blobs: Path, tmp_path: Path) -> None:
    # Without BatchNorm, whose statistics are of each rank's share on the CPU.
    changes = ["--set=projector.layers=1", "--set=backbone.name=test_vit"]
    for devices in (1, 2):
        words = command(blobs, tmp_path / str(devices), *changes, f"--devices={devices}")
        programs.ranks(devices, *words)
    (card, one), (other, two) = (load_encoder(tmp_path / str(devices)) for devices in (1, 2))
    assert card.model_copy(update={"sha256": other.sha256}) == other
    before = make_plan(tiny(blobs, backbone__name="test_vit")).backbone.state_dict()
    # Of all weights together: AdamW moves a weight whose gradient is nearly 0 by its sign.
    moved = torch.cat([(one[name] - before[name]).flatten() for name in one])
    apart = torch.cat([(one[name] - two[name]).flatten() for name in one])
    assert moved.abs().max() > 1e-3
    assert apart.norm() < 1e-3 * moved.norm()
    metrics = [read_metrics(tmp_path / str(devices) / "metrics.jsonl") for devices in (1, 2)]
    for ours, theirs in zip(*metrics, strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-3)
        assert ours["effective_rank"] == pytest.approx(theirs["effective_rank"], rel=1e-2)


def test_how_a_run_was_carried_out_leaves_no_trace_in_the_encoder(
    run: Path, blobs: Path, tmp_path: Path
) -> None:
    otherwise = {
        "data__workers": 1,
        "data__download": True,
        "data__max_sample_bytes": 2**20,
        "device": "cpu",
        "log__every_steps": 3,
        "log__probe": False,
        "log__shortcuts": False,
        "checkpoint__every_steps": 5,
        "checkpoint__keep": 1,
    }
    pretrain(tiny(blobs, **otherwise), tmp_path / "otherwise", console=QUIET)
    assert weights(tmp_path / "otherwise") == weights(run)
    assert read_metrics(tmp_path / "otherwise/metrics.jsonl")[-1]["probe_accuracy"] is None


def test_what_decides_what_is_learned_stands_in_the_encoder(run: Path) -> None:
    config = load_encoder(run)[0].config
    assert config["steps"] == 8
    assert config["views"]["num_local"] == 1
    assert not {"checkpoint", "log", "device", "devices", "compile", "epochs"} & config.keys()
    assert not {"path", "workers", "download"} & config["data"].keys()


def test_test_rows_stay_out_unless_asked_for(blobs: Path) -> None:
    plan = make_plan(tiny(blobs))
    assert len(plan.rows) == 48
    assert not any(row // 2 % 4 == 3 for row in plan.rows)
    assert any("test rows stay out" in text for _, text in plan.notes)
    assert len(make_plan(tiny(blobs, data__include_test=True)).rows) == 64


def test_a_second_run_into_the_same_folder_is_refused(run: Path, blobs: Path) -> None:
    before = weights(run)
    with pytest.raises(UserError, match="holds a run already"):
        pretrain(tiny(blobs), run, console=QUIET)
    assert weights(run) == before


def test_resume_with_other_settings_is_refused(run: Path, blobs: Path) -> None:
    with pytest.raises(ConfigError, match=r"objective\.lam: 0\.05 -> 0\.5"):
        pretrain(tiny(blobs, objective__lam=0.5), run, resume=True, console=QUIET)


@pytest.mark.parametrize("changes", [{"log__probe": False}, {"objective__lam": 0.5}])
def test_a_refused_resume_leaves_the_run_as_it_was(
    changes: dict[str, object], blobs: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    pretrain(tiny(blobs, steps=2), out, console=QUIET)
    before = (out / "config.toml").read_bytes()
    with pytest.raises(ConfigError, match="other settings"):
        pretrain(tiny(blobs, steps=2, **changes), out, resume=True, console=QUIET)
    assert (out / "config.toml").read_bytes() == before
    (out / "checkpoints" / "latest.json").write_text("{}")
    with pytest.raises(UserError, match="manifest"):
        pretrain(tiny(blobs, steps=2, log__every_steps=2), out, resume=True, console=QUIET)
    assert (out / "config.toml").read_bytes() == before


def test_resume_on_changed_data_is_refused(blobs: Path, tmp_path: Path) -> None:
    data = write_blobs(tmp_path / "own.h5")
    pretrain(tiny(data, steps=2), tmp_path / "run", console=QUIET)
    changed = write_blobs(tmp_path / "changed.h5")
    with h5py.File(changed, "r+") as file:
        file["images"][3] = 255 - file["images"][3]
    changed.replace(data)
    with pytest.raises(UserError, match="fingerprint"):
        pretrain(tiny(data, steps=2), tmp_path / "run", resume=True, console=QUIET)


def test_resume_without_a_run_is_refused(blobs: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing to resume"):
        pretrain(tiny(blobs), tmp_path / "none", resume=True, console=QUIET)


def poison(monkeypatch: pytest.MonkeyPatch, bad: Callable[[int], bool]) -> None:
    """Views of the steps for which `bad` holds are NaN, as a broken sample makes them."""

    def poisoned(plan: Plan, start: int) -> Iterator[Batch]:
        for step, batch in enumerate(batches(plan, start), start):
            if bad(step):
                batch["global"] = torch.full_like(batch["global"].float(), torch.nan)
            yield batch

    monkeypatch.setattr("domainjepa.pretraining.run.batches", poisoned)


@pytest.mark.parametrize("average", [0.0, 0.9])
def test_a_nan_batch_takes_no_step_and_leaves_no_trace(
    average: float, blobs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison(monkeypatch, lambda step: step in (3, 4))
    out = tmp_path / "run"
    text = io.StringIO()
    config = tiny(blobs, checkpoint__every_steps=1, objective__average_weights=average)
    pretrain(config, out, console=Console(file=text, width=200))
    assert "step 3: the loss is NaN" in text.getvalue()
    lines = read_metrics(out / "metrics.jsonl")
    assert lines[3]["loss"] is None
    assert lines[-1]["loss"] is not None
    saved = load_checkpoint(out / "checkpoints")
    for weights in (load_encoder(out)[1], saved["network"], saved["averaged"] or {}):
        assert all(torch.isfinite(value).all() for value in weights.values())


def test_three_nan_batches_end_the_run_with_a_good_checkpoint(
    blobs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison(monkeypatch, lambda step: step >= 3)
    out = tmp_path / "run"
    with pytest.raises(UserError, match="3 times in a row") as caught:
        pretrain(tiny(blobs, checkpoint__every_steps=1), out, console=QUIET)
    assert "rows" in str(caught.value)
    network = load_checkpoint(out / "checkpoints")["network"]
    assert all(torch.isfinite(value).all() for value in network.values())


def test_weights_that_are_no_numbers_are_never_saved(
    blobs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    update = RunState.update

    def diverging(state: RunState, loss: torch.Tensor, plan: Plan, *more: Any) -> Gradient:
        gradient = update(state, loss, plan, *more)
        if state.step == 4:
            with torch.no_grad():
                next(state.network.parameters())[0] = torch.nan
        return gradient

    monkeypatch.setattr(RunState, "update", diverging)
    out = tmp_path / "run"
    with pytest.raises(UserError, match=r"by step 5.*saved before is intact"):
        pretrain(tiny(blobs, checkpoint__every_steps=1), out, console=QUIET)
    saved = load_checkpoint(out / "checkpoints")
    assert saved["step"] == load_encoder(out)[0].step == 4
    for weights in (load_encoder(out)[1], saved["network"]):
        assert all(torch.isfinite(value).all() for value in weights.values())


def test_a_feed_that_breaks_while_stopping_loses_nothing(
    blobs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(plan: Plan, start: int) -> Iterator[Batch]:
        feed = batches(plan, start)
        for _ in range(3):
            yield next(feed)
        os.kill(os.getpid(), signal.SIGTERM)
        raise UserError("a process that makes views died")

    monkeypatch.setattr("domainjepa.pretraining.run.batches", broken)
    with pytest.raises(Stopped, match="after step 3") as stopped:
        pretrain(tiny(blobs, checkpoint__every_steps=100), tmp_path / "run", console=QUIET)
    assert stopped.value.exit_status == 143
    assert load_checkpoint(tmp_path / "run" / "checkpoints")["step"] == 3


@pytest.mark.parametrize("workers", [0, 1])
def test_a_sample_that_cannot_be_read_is_one_message(tmp_path: Path, workers: int) -> None:
    data = tmp_path / "broken.h5"
    with h5py.File(data, "w") as file:
        images = np.random.default_rng(0).integers(0, 255, (32, 32, 32, 3), np.uint8)
        file.create_dataset("images", data=images, chunks=(1, 32, 32, 3), fletcher32=True)
        offset = file["images"].id.get_chunk_info(30).byte_offset
    with data.open("r+b") as raw:
        raw.seek(offset)
        raw.write(bytes(64))
    config = tiny(data, data__workers=workers, domain="natural")
    with pytest.raises(DataError, match="30") as caught:
        pretrain(config, tmp_path / "run", console=QUIET)
    assert "Traceback" not in str(caught.value)


@pytest.mark.parametrize("workers", [0, 2])
def test_unreadable_samples_are_skipped_if_asked_counted_and_told(
    blobs: Path, tmp_path: Path, workers: int
) -> None:
    data = tmp_path / "torn.h5"
    with h5py.File(blobs) as whole, h5py.File(data, "w") as torn:
        torn.create_dataset("images", data=whole["images"], chunks=(1, 32, 32, 3), fletcher32=True)
        torn["ans"], torn["split"] = whole["ans"][:], whole["split"][:]
        place = torn["images"].id.get_chunk_info(2).byte_offset
    content = bytearray(data.read_bytes())
    content[place + 99] ^= 1
    data.write_bytes(content)
    console = Console(record=True, width=200, file=io.StringIO())
    config = tiny(data, data__skip_unreadable=0.05, data__workers=workers)
    pretrain(config, tmp_path / "run", console=console)
    text = console.export_text()
    assert text.count("another sample stands in: row 2") == 1
    assert "1 samples, others stood in for them: row 2" in text
    assert "1 samples, others stood in" in (tmp_path / "run" / "report.html").read_text()
    assert load_checkpoint(tmp_path / "run" / "checkpoints")["unreadable"] == [2]
    if workers:
        pretrain(tiny(data, data__skip_unreadable=0.05), tmp_path / "again", console=QUIET)
        assert weights(tmp_path / "again") == weights(tmp_path / "run")
    with pytest.raises(DataError, match=r"1 of 48 samples cannot be read, more than .* 0\.01"):
        pretrain(tiny(data, data__skip_unreadable=0.01), tmp_path / "strict", console=QUIET)


def test_a_shortcut_is_told_before_and_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As if the run were long enough to spend a tenth of it on them.
    for place in ("monitor", "notes"):
        name = f"domainjepa.pretraining.{place}.affordable_samples"
        monkeypatch.setattr(name, lambda config: 256)
    survey = tmp_path / "survey.h5"
    simulate_survey(survey, samples=200)
    console = Console(record=True, width=300, file=io.StringIO())
    config = tiny(survey, domain="astronomy", views__without=("gain", "grey"), steps=2)
    pretrain(config, tmp_path / "run", console=console)
    text = console.export_text()
    assert "colour tells samples apart" in text
    assert "take back gain" in text
    assert "R2 of nuisances from the features: brightness" in text
    quiet = Console(record=True, width=300, file=io.StringIO())
    pretrain(tiny(survey, domain="astronomy", steps=2), tmp_path / "whole", console=quiet)
    assert "tells samples apart" not in quiet.export_text()


def test_a_killed_worker_is_one_message_and_no_hang(blobs: Path) -> None:
    plan = make_plan(tiny(blobs, data__workers=1, steps=1000))
    feed = batches(plan, start=0)
    before = set(multiprocessing.active_children())
    next(feed)
    (worker,) = set(multiprocessing.active_children()) - before
    worker.kill()
    with pytest.raises(UserError, match=r"data\.workers=1.*--resume"):
        for _ in feed:
            pass


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
        MemoryError(),
    ],
    ids=["cuda", "cpu", "python"],
)
def test_out_of_memory_gives_advice_and_never_a_smaller_batch(
    error: Exception, blobs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise error

    monkeypatch.setattr(RunState, "update", full)
    with pytest.raises(UserError, match="batch of 16") as caught:
        pretrain(tiny(blobs), tmp_path / "run", console=QUIET)
    assert "--batch-size changes what SIGReg measures" in str(caught.value)


def test_other_runtime_errors_are_not_taken_for_memory(
    blobs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(RunState, "update", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        pretrain(tiny(blobs), tmp_path / "run", console=QUIET)


def test_too_few_samples_for_a_batch(blobs: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--batch-size"):
        pretrain(tiny(blobs, batch_size=100), tmp_path / "run", console=QUIET)
    assert not (tmp_path / "run").exists()


def test_learning_rate_rises_then_falls_to_the_stated_end() -> None:
    rates = [learning_rate(step, 100, 2.0, 0.1, 1e-3) for step in range(100)]
    assert rates[0] == pytest.approx(0.2)
    assert rates[9] == rates[10] == 2.0
    assert all(a > b for a, b in pairwise(rates[10:]))
    assert rates[-1] == pytest.approx(2e-3)


@pytest.mark.parametrize(
    "changes",
    [
        {"objective__average_weights": 0.9},
        {"objective__predictor": True},
        {"objective__statistic": "vicreg"},
        {"objective__directions": "sobol"},
        {"objective__debias": True},
        {"projector__layers": 2},
        {"views__num_global": 1},
        {"views__num_global": 4, "views__num_local": 0},
        {"precision": "bfloat16", "views__local_size": 28},
        {"backbone__name": "test_vit", "backbone__drop_path": 0.2},
    ],
    ids=lambda changes: "-".join(changes),
)
def test_every_option_changes_what_is_learned(
    changes: dict[str, object], run: Path, blobs: Path, tmp_path: Path
) -> None:
    pretrain(tiny(blobs, steps=3, **changes), tmp_path / "run", console=QUIET)
    line = read_metrics(tmp_path / "run/metrics.jsonl")[-1]
    assert np.isfinite(line["loss"])
    assert line["loss"] != read_metrics(run / "metrics.jsonl")[2]["loss"]


def test_bfloat16_on_the_cpu_refuses_views_whose_gradient_would_be_garbage(blobs: Path) -> None:
    with pytest.raises(ConfigError, match="views of 14 px"):
        make_plan(tiny(blobs, precision="bfloat16", device="cpu"))


def test_rows_without_a_label_and_held_out_rows_do_not_train_the_probe(blobs: Path) -> None:
    plan = make_plan(tiny(blobs))
    state = RunState.start(plan)
    rows = torch.arange(16)
    labels = torch.where(rows % 3 == 0, -1, rows % 2)
    logits = torch.randn(2, 16, 2)
    plan.held_out[:16] = False
    plan.held_out[[3, 5]] = True
    loss = probe_loss(logits, {"rows": rows, "labels": labels}, plan, state)
    trained = [row for row in range(16) if row % 3 and row != 5]
    expected = -logits.log_softmax(-1)[:, trained, labels[trained]].mean()
    torch.testing.assert_close(loss, expected)
    hits = (logits[:, 5].argmax(-1) == labels[5]).sum().item()
    assert state.probed.sums == {"rows": 1, "correct": hits, "counted": 2}


def test_groups_are_held_out_whole() -> None:
    class Grouped:
        groups = np.repeat(np.arange(50), 4)

        def __len__(self) -> int:
            return 200

    held = hold_out(Grouped(), seed=0).reshape(50, 4)  # type: ignore[arg-type]
    assert (held.all(1) | ~held.any(1)).all()
    assert held.any(1).sum() == 5


def test_few_groups_do_not_hold_half_of_the_rows_out() -> None:
    class Grouped:
        groups = np.repeat(np.arange(2), 50)

        def __len__(self) -> int:
            return 100

    assert hold_out(Grouped(), seed=0).sum() == 10  # type: ignore[arg-type]


def test_several_devices_need_several_processes(blobs: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="torchrun --nproc-per-node 2"):
        pretrain(tiny(blobs, devices=2), tmp_path / "run", console=Console(quiet=True))
    assert not (tmp_path / "run").exists()


def test_activations_survive_synchronised_batch_norm() -> None:
    backbone = Backbone(BackboneConfig(name="test_efficientnet"), 3, 32)
    before = [part for part in backbone.modules() if isinstance(part, nn.SiLU)]
    after = [part for part in synchronised(backbone).modules() if isinstance(part, nn.SiLU)]
    assert len(after) == len(before) > 0


def test_averaged_weights_follow_the_weights(blobs: Path) -> None:
    plan = make_plan(tiny(blobs, objective__average_weights=0.75))
    state = RunState.start(plan)
    assert state.averaged is not None
    first = next(state.averaged.parameters()).clone()
    with torch.no_grad():
        next(state.network.parameters()).add_(1.0)
    state._average(0.75)
    torch.testing.assert_close(next(state.averaged.parameters()), first + 0.25)


def test_weight_decay_spares_biases_norms_and_the_probe(blobs: Path) -> None:
    state = RunState.start(make_plan(tiny(blobs)))
    assert state.network.probe is not None
    probe = set(state.network.probe.parameters())
    for group in state.optimizer.param_groups:
        for weight in group["params"]:
            assert (group["weight_decay"] > 0) == (weight.ndim > 1 and weight not in probe)


def test_the_twin_starts_where_the_run_started(run: Path, blobs: Path) -> None:
    from domainjepa.encoder.frozen import FrozenEncoder

    twin = FrozenEncoder(run, weights="untrained")
    first = make_plan(tiny(blobs)).backbone.state_dict()
    twin.transform(np.zeros((1, 32, 32, 3), np.uint8))
    assert all(torch.equal(first[n], v) for n, v in twin._network_[0].state_dict().items())


def test_runs_that_differ_in_training_alone_share_their_twin(
    run: Path, blobs: Path, tmp_path: Path
) -> None:
    from domainjepa.encoder.frozen import FrozenEncoder
    from domainjepa.evaluation.encoders.baselines import untrained

    for name, changes in {"lambda": {"objective__lam": 0.5}, "seed": {"seed": 7}}.items():
        pretrain(tiny(blobs, steps=1, **changes), tmp_path / name, console=Console(quiet=True))
    trained, other, seeded = map(FrozenEncoder, (run, tmp_path / "lambda", tmp_path / "seed"))
    assert [twin.sha256 for twin in untrained([trained, other])] == [trained.untrained().sha256]
    assert len(untrained([trained, seeded])) == 2
