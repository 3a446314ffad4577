from __future__ import annotations

import numpy as np
import pytest
import timm
import torch
from sklearn.metrics import roc_auc_score
from torch.nn import functional

from domainjepa import open_source
from domainjepa.data.metadata.targets import target_of
from domainjepa.encoder.frozen import FrozenEncoder
from domainjepa.evaluation.encoders.baselines import Pixels
from domainjepa.evaluation.encoders.published import TimmEncoder
from domainjepa.evaluation.probes import finetune
from domainjepa.evaluation.probes.finetune import augmented, trainable, tuned
from domainjepa.evaluation.protocol import FineTuning, Protocol
from domainjepa.evaluation.suite import evaluate
from tests.evaluation.toys import ArraySource

SETTINGS = FineTuning(epochs=4, least_steps=30, batch_size=16, lr=2e-3, patience=3)


def fine_tune(network, prepare, source, target, train, test, settings, **more):
    return tuned(network, prepare, source, target, train, settings, **more)(source, test)


class Tiny(TimmEncoder):
    """A tiny network with random weights, as if they had been published."""

    def _load(self):
        if self._network is None:
            from timm.data import create_transform, resolve_model_data_config

            from domainjepa.evaluation.encoders.published import Published

            torch.manual_seed(0)
            net = timm.create_model(self.model, num_classes=0)
            config = resolve_model_data_config(net)
            config["input_size"] = (3, 32, 32)
            mean, std = (torch.tensor(config[k]).view(3, 1, 1) for k in ("mean", "std"))
            self._black, self._white = -mean / std, (1 - mean) / std
            self._steps = create_transform(**config, is_training=False)
            self._network = Published(net, 32).requires_grad_(False).eval()
            self._origin = "a seed"
        return self._network


def bright_and_dark(rng, samples=60, **more):
    """Classes by brightness; the brightness is a number, too."""
    level = np.linspace(0.1, 0.9, samples)[rng.permutation(samples)]
    noise = rng.normal(size=(samples, 32, 32, 3))
    images = np.clip(255 * level[:, None, None, None] + 10 * noise, 0, 255).astype(np.uint8)
    source = ArraySource(
        name="toy", loader="memory", shape=(32, 32, 3), dtype=images.dtype, images=images,
        labels=(level > 0.5).astype(np.int64), card={"name": "toy", "domain": "natural"}, **more,
    )  # fmt: skip
    columns = {"level": level, "marks": np.stack([level > 0.3, level > 0.7], 1).astype(int)}
    source.column = columns.__getitem__
    return source


@pytest.fixture
def tiny():
    return Tiny("tiny", "test_resnet", device="cpu")


@pytest.mark.parametrize("column", [None, "level", "marks"])
def test_a_network_learns_what_it_is_shown(column, tiny, rng):
    source = bright_and_dark(rng)
    target = target_of(source, column)
    train, test = np.arange(45), np.arange(45, 60)
    answer = fine_tune(*trainable(tiny), source, target, train, test, SETTINGS, seed=0)
    truth = target.values[test]
    if target.kind == "numbers":
        assert np.corrcoef(answer.guess, truth)[0, 1] > 0.9
        assert answer.probability is None
    else:
        assert answer.probability.shape == (15, 2)
        marks = truth if target.kind == "multi-label" else np.eye(2)[truth]
        assert roc_auc_score(marks, answer.probability) > 0.85
    if target.kind == "classes":
        assert answer.probability.sum(1) == pytest.approx(np.ones(15))


def test_the_encoder_is_left_as_it_is_and_a_seed_gives_one_answer(tiny, rng):
    source = bright_and_dark(rng)
    before = tiny.sha256
    state = torch.get_rng_state()
    arguments = (source, target_of(source), np.arange(45), np.arange(45, 60), SETTINGS)
    answers = [fine_tune(*trainable(tiny), *arguments, seed=seed) for seed in (0, 0, 1)]
    assert tiny.sha256 == before
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(answers[0].probability, answers[1].probability)
    assert not np.array_equal(answers[0].probability, answers[2].probability)


def test_the_labels_of_the_test_set_are_not_read(tiny, rng):
    source = bright_and_dark(rng)
    train, test = np.arange(45), np.arange(45, 60)
    target = target_of(source)
    one = fine_tune(*trainable(tiny), source, target, train, test, SETTINGS, seed=0)
    target.values[test] = 1 - target.values[test]
    two = fine_tune(*trainable(tiny), source, target, train, test, SETTINGS, seed=0)
    assert np.array_equal(one.probability, two.probability)


def test_training_stops_on_a_part_of_the_training_labels(tiny, rng, monkeypatch):
    source = bright_and_dark(rng)
    groups = np.repeat(np.arange(15), 3)
    looked = []
    train_of = finetune._train

    def noting(model, inputs, wanted, fit, validate, *more):
        looked.append((fit, validate))
        return train_of(model, inputs, wanted, fit, validate, *more)

    monkeypatch.setattr(finetune, "_train", noting)
    arguments = (source, target_of(source), np.arange(45), np.arange(45, 60), SETTINGS)
    fine_tune(*trainable(tiny), *arguments, seed=0, groups=groups)
    (fit, validate) = looked[0]
    assert np.array_equal(np.sort(np.r_[fit, validate]), np.arange(45))
    assert not set(groups[fit]) & set(groups[validate])
    assert 5 <= len(validate) <= 13
    few = (source, target_of(source), np.arange(4), np.arange(45, 60), SETTINGS)
    fine_tune(*trainable(tiny), *few, seed=0)
    assert looked[1][1] is None
    assert len(looked[1][0]) == 4


def test_a_frozen_encoder_starts_as_it_was_frozen(run, blobs):
    source = open_source(blobs)
    encoder = FrozenEncoder(run, device="cpu")
    backbone, prepare = trainable(encoder)
    images = [source[row] for row in range(5)]
    with torch.inference_mode():
        found = backbone.eval().probe_features(prepare(images))
    assert found.numpy() == pytest.approx(encoder.transform(images), rel=1e-4, abs=1e-5)
    with torch.no_grad():
        next(iter(backbone.parameters())).zero_()
    assert FrozenEncoder(run).sha256 == encoder.sha256
    assert encoder.transform(images) == pytest.approx(found.numpy(), rel=1e-4, abs=1e-5)


def test_an_evaluation_fine_tunes_what_has_a_network(run, blobs):
    protocol = Protocol(
        name="tune", probe="finetune", shots=(2, "all"), draws=2,
        finetune=FineTuning(epochs=1, least_steps=4, batch_size=16), metrics=("accuracy",),
    )  # fmt: skip
    results = evaluate([FrozenEncoder(run), Pixels(4)], open_source(blobs), [protocol])
    assert results.encoders == ["tiny", "pixels"]
    assert results.encoders_of(protocol) == ["tiny"]
    assert "tune: pixels has no network to fine-tune" in results.warnings
    assert {(r["encoder"], r["shots"], r["draw"]) for r in results.records} == {
        ("tiny", 2, 0), ("tiny", 2, 1), ("tiny", "all", 0),
    }  # fmt: skip
    assert results.settings["protocols"][0]["finetune"]["least_steps"] == 4


def test_layers_learn_slower_the_earlier_they_are(tiny):
    backbone, _ = trainable(tiny)
    backbone.requires_grad_(True)
    head = finetune.Head(backbone, backbone.probe_features(torch.zeros(1, 3, 32, 32)).shape[1], 2)
    groups = finetune.optimizer_of(
        backbone, head.linear, FineTuning(lr=1.0, layer_decay=0.5)
    ).param_groups
    rates = {
        name: group["lr"]
        for group in groups
        for name, of in head.named_parameters()
        if any(of is one for one in group["params"])
    }
    assert set(rates) == {name for name, _ in head.named_parameters()}
    assert rates["linear.weight"] == 1.0
    stem = next(rate for name, rate in rates.items() if "conv1" in name)
    last = max(rate for name, rate in rates.items() if "layer4" in name)
    assert stem < last <= 1.0
    even = finetune.optimizer_of(backbone, head.linear, FineTuning(lr=1.0)).param_groups
    assert {group["lr"] for group in even} == {1.0}
    decays = {group["weight_decay"] for group in even}
    assert decays == {0.0, 0.05}


def test_a_flip_mirrors_left_and_right_alone(rng):
    images = torch.from_numpy(rng.normal(size=(16, 2, 6, 8)).astype(np.float32))
    found = augmented(images, ("flip",), np.random.default_rng(0))
    same = [torch.allclose(a, b, atol=1e-5) for a, b in zip(found, images, strict=True)]
    mirrored = [
        torch.allclose(a, b.flip(-1), atol=1e-5) for a, b in zip(found, images, strict=True)
    ]
    assert all(a != b for a, b in zip(same, mirrored, strict=True))
    assert 0 < sum(same) < 16
    assert augmented(images, (), rng) is images


def test_a_shift_is_an_eighth_of_the_side_at_most():
    ramp = torch.arange(64.0).expand(200, 1, 64, 64)
    found = augmented(ramp, ("shift",), np.random.default_rng(0))
    moved = (found - ramp)[:, 0, 32, 32]
    assert 6 < moved.abs().max() <= 8 + 1e-3
    assert abs(float(moved.mean())) < 1
    assert torch.allclose(found[:, 0, 32, 20:44].diff(), torch.ones(200, 23), atol=1e-3)


def test_losses_are_those_of_the_kind_of_target(rng):
    given = torch.from_numpy(rng.normal(size=(7, 3)).astype(np.float32))
    classes = torch.tensor([0, 1, 2, 0, 1, 2, 0])
    marks = (given > 0).float()
    assert finetune.loss_of("classes", given, classes) == functional.cross_entropy(given, classes)
    assert finetune.loss_of("multi-label", given, marks) == pytest.approx(
        float(-functional.logsigmoid(given.abs()).mean())
    )
