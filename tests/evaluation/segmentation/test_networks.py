"""Real networks, tiny: patch features of our own and of published ones, and decoders over them."""

from __future__ import annotations

import numpy as np
import pytest
import safetensors.torch
import timm
import torch

from domainjepa import FrozenEncoder
from domainjepa.evaluation.encoders.published import TimmEncoder
from domainjepa.evaluation.protocol import PatchFeatures, Protocol
from domainjepa.evaluation.segmentation.cases import held_out, units_with_masks
from domainjepa.evaluation.segmentation.classes import classes_of
from domainjepa.evaluation.segmentation.decoder import Segmenter
from domainjepa.evaluation.segmentation.dense import dense
from domainjepa.evaluation.segmentation.finetune import Training, loss_of, trainable_on
from domainjepa.evaluation.segmentation.scoring import MaskCohort
from domainjepa.evaluation.segmentation.seen import seen_of
from domainjepa.evaluation.suite import evaluate
from tests.evaluation.segmentation.toys import blobs, with_masks


@pytest.fixture(scope="module")
def coloured():
    """RGB images of 32 px and where they are bright, and what is told of them."""
    values = blobs(10, 32)
    masks = (values > 0.3).astype(np.uint8)
    images = np.clip(90 + 60 * values + 40 * masks, 0, 255).astype(np.uint8)
    source = with_masks(images, masks)
    source.images, source.shape = np.repeat(source.images, 3, axis=-1), (32, 32, 3)
    return source


def finetuning(**more: object) -> Protocol:
    settings = {"epochs": 1, "least_steps": 12, "batch_size": 4, "lr": 1e-2, "crop": 32, **more}
    return Protocol.model_validate({
        "name": "toy", "features": "patches", "probe": "finetune", "shots": ["all"],
        "finetune": settings,
    })  # fmt: skip


def test_patches_of_a_published_vit_are_its_tokens_at_their_place(tmp_path, coloured):
    torch.manual_seed(0)
    path = tmp_path / "vit.safetensors"
    net = timm.create_model("test_vit", num_classes=0)
    safetensors.torch.save_file(net.state_dict(), path)
    encoder = TimmEncoder("vit", "test_vit", path)
    found = dense(encoder, PatchFeatures(layers="last"), None, np.arange(2))
    image = coloured[0]
    (patches,) = found.patches([image])
    side = encoder.side
    positions = side // 16
    assert patches.features.shape == (positions, positions, net.num_features)
    assert patches.pitch == (32 / positions, 32 / positions)  # enlarged to the network's own size
    shown = torch.nn.functional.interpolate(
        encoder.prepare_whole(image)[None], (side, side), mode="bicubic", align_corners=False
    )
    with torch.inference_mode():
        tokens = encoder.network.net.forward_features(shown)[0, 1:]
    np.testing.assert_allclose(patches.features.reshape(-1, net.num_features), tokens, atol=1e-4)


def test_layers_are_chosen_by_the_masks(run, coloured, tmp_path):
    rows = np.arange(10)
    seen = seen_of(coloured, classes_of(coloured, rows)[0])
    auto = dense(FrozenEncoder(run), PatchFeatures(), seen, rows)
    (patches,) = auto.patches([coloured[0]])
    (last,) = dense(FrozenEncoder(run), PatchFeatures(layers="last"), seen, rows).patches(
        [coloured[0]]
    )
    assert max(patches.pitch) < max(last.pitch)
    assert patches.features.shape[-1] > last.features.shape[-1]


@pytest.mark.parametrize("state", ["trained", "frozen"])
def test_a_decoder_learns_what_is_bright_and_leaves_the_encoder_as_it_was(run, coloured, state):
    encoder = FrozenEncoder(run)
    before = {name: one.clone() for name, one in encoder.network[0].state_dict().items()}
    results = evaluate([encoder], coloured, [finetuning(encoder=state)])
    assert results.cells["toy", "all", encoder.name].mean("dice") > 0.8
    for name, one in encoder.network[0].state_dict().items():
        assert torch.equal(one, before[name])


def test_crops_are_no_larger_than_the_images_unless_they_are_asked_for(run, coloured):
    rows = np.arange(10)
    units = units_with_masks(coloured, None)
    seen = seen_of(coloured, classes_of(coloured, rows)[0])
    cohort = MaskCohort(seen, units, held_out(units, 0), rows)
    network = trainable_on(FrozenEncoder(run), cohort, None)
    sides = [
        Training(network, cohort, finetuning(crop=crop).finetune, 0)._crops_of(rows)
        for crop in (None, 64)
    ]
    assert sides == [32, 64]


def test_a_frozen_encoder_is_frozen_and_any_size_is_taken(run):
    backbone = FrozenEncoder(run).network[0]
    model = Segmenter(backbone, torch.zeros(1, 3, 32, 32), 3, frozen=True).train()
    assert not backbone.training
    assert not any(one.requires_grad for one in backbone.parameters())
    scores = model(torch.zeros(2, 3, 37, 41))
    assert scores.shape == (2, 3, 37, 41)
    scores.sum().backward()
    assert all(one.grad is not None for one in model.decoder.parameters())


def test_the_loss_is_cross_entropy_and_dice_and_knows_no_ignored_pixel():
    truth = torch.tensor([[[0, 1], [1, -1]]])
    sure = torch.nn.functional.one_hot(truth.clamp(min=0), 2).movedim(-1, 1) * 40.0
    assert float(loss_of(sure, truth)) == pytest.approx(0, abs=1e-5)
    other = sure.clone()
    other[..., 1, 1] = torch.tensor([-40.0, 40.0])  # where nothing is known
    assert torch.equal(loss_of(sure, truth), loss_of(other, truth))
    flat = torch.zeros(1, 2, 2, 2)
    # Probabilities of a half: 2 * 0.5 / (1.5 + 1) of class 0, 2 * 1 / (1.5 + 2) of class 1.
    dice = (1 / 2.5 + 2 / 3.5) / 2
    assert float(loss_of(flat, truth)) == pytest.approx(np.log(2) + 1 - dice)
