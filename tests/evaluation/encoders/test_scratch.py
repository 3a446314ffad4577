from __future__ import annotations

import json

import numpy as np
import pytest

from domainjepa import open_source
from domainjepa.data.metadata.targets import target_of
from domainjepa.encoder import FrozenEncoder
from domainjepa.errors import UserError
from domainjepa.evaluation.encoders.baselines import Pixels, baselines
from domainjepa.evaluation.probes import finetune
from domainjepa.evaluation.protocol import FineTuning, Protocol
from domainjepa.evaluation.splits import draw_shots, train_test
from domainjepa.evaluation.suite import evaluate

TUNE = FineTuning(epochs=2, least_steps=4, batch_size=16)


def test_the_backbone_is_trained_from_fresh_weights_on_the_same_draws(
    run, blobs, tmp_path, monkeypatch
):
    encoder, source = FrozenEncoder(run), open_source(blobs)
    (scratch,) = baselines(["supervised"], [encoder])
    assert scratch.name == f"{encoder.name} supervised"
    started = []
    tuned = finetune.tuned

    def noting(backbone, prepare, source, target, train, *more, **settings):
        started.append((backbone.state_dict(), train))
        return tuned(backbone, prepare, source, target, train, *more, **settings)

    monkeypatch.setattr("domainjepa.evaluation.probes.fitting.tuned", noting)
    protocol = Protocol(
        name="few", probe="linear", shots=(2, "all"), draws=2, finetune=TUNE, seed=3
    )
    results = evaluate([encoder], source, [protocol], tmp_path, baselines=[scratch])
    assert results.encoders == [encoder.name, scratch.name]
    assert scratch.name not in results.features
    assert results.shots(protocol) == [2, "all"]
    assert len(started) == 3
    fresh, trained = (one.network[0].state_dict() for one in (scratch.twin, encoder))
    for weights, _ in started:
        assert all(np.array_equal(weights[name], fresh[name]) for name in fresh)
    assert any(not np.array_equal(fresh[name], trained[name]) for name in fresh)
    split = train_test(source, target_of(source), 3)
    labels = source.labels[split.train]
    for draw, (_, rows) in zip([0, 1], started, strict=False):
        chosen = draw_shots(labels, 2, seed=3, draw=draw, groups=None)
        assert np.array_equal(rows, split.train[chosen])
    gaps = [row for row in results.differences if row["versus"] == scratch.name]
    assert {row["shots"] for row in gaps} == {2, "all"}
    found = json.loads((tmp_path / "results.json").read_text())
    assert {row["encoder"] for row in found["summary"]} == {encoder.name, scratch.name}


def test_units_are_trained_on_sample_by_sample(run, blobs):
    source = open_source(blobs)
    source.groups = np.arange(64) % 2 + 2 * (np.arange(64) // 4)
    source.split = np.where(np.arange(64) < 48, "train", "test")
    encoder = FrozenEncoder(run)
    protocol = Protocol(name="p", probe="linear", shots=("all",), finetune=TUNE)
    results = evaluate(
        [encoder], source, [protocol], baselines=baselines(["supervised"], [encoder]), per="groups"
    )
    for name in results.encoders:
        assert len(results.answers["p", name].guess) == 8


def test_without_a_run_there_is_nothing_to_train(run):
    with pytest.raises(UserError, match="no run or encoder"):
        baselines(["supervised"], [Pixels()])
    with pytest.raises(UserError, match="supervised alone"):
        baselines(["supervised=some.safetensors"], [FrozenEncoder(run)])
    assert len(baselines(["supervised"], [FrozenEncoder(run), FrozenEncoder(run)])) == 1
