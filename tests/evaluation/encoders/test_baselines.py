from __future__ import annotations

import numpy as np
import pytest

from domainjepa.errors import UserError
from domainjepa.evaluation.encoders.baselines import (
    Histograms,
    Pixels,
    baselines,
    encoder,
    pixels,
    untrained,
)
from tests.evaluation.toys import make_source


def test_pixels_are_means_over_areas():
    image = np.arange(64 * 64 * 5, dtype=np.uint16).reshape(64, 64, 5)
    (features,) = Pixels(16).transform([image])
    blocks = image.reshape(16, 4, 16, 4, 5).mean((1, 3)) / 65535
    assert features.dtype == np.float32
    assert features == pytest.approx(blocks.ravel(), abs=1e-6)


def test_small_images_are_not_blown_up_and_bytes_are_shares():
    image = np.full((6, 6, 3), 255, np.uint8)
    assert np.array_equal(Pixels(16).transform([image]), np.ones((1, 6 * 6 * 3)))
    grey = np.linspace(0, 1, 36).reshape(6, 6, 1)
    assert Pixels(16).transform([grey]) == pytest.approx(grey.reshape(1, -1))


def test_missing_pixels_are_zero():
    image = np.ones((4, 4, 1), np.float32)
    image[0, 0], image[3, 3] = np.nan, np.inf
    assert Pixels(2).transform([image]) == pytest.approx(np.array([[0.75, 1, 1, 0.75]]))


def test_pixels_of_a_source_are_those_of_its_images():
    source = make_source([0, 1, 0])
    assert np.array_equal(Pixels(2).transform(source), Pixels(2).transform(list(source.images)))


def test_other_sizes_are_other_features():
    assert Pixels(8).sha256 != Pixels(16).sha256
    assert Pixels(8).sha256 == Pixels(8).sha256


def test_baselines_by_name():
    (found,) = baselines(["domainjepa.evaluation.encoders.baselines:pixels"], [])
    assert found.name == "pixels"
    assert untrained([Pixels()]) == []
    with pytest.raises(UserError, match="unknown baseline 'pixel'"):
        baselines(["pixel"], [])
    with pytest.raises(UserError, match="no weights"):
        pixels([], "some.pth")


def test_histograms_count_levels_and_colours():
    image = np.zeros((8, 8, 3), np.uint8)
    image[:4, :, 0], image[4:, :, 2] = 255, 100
    (found,) = np.square(Histograms().transform([image]))
    bands, colours = found[:96].reshape(3, 32), found[96:].reshape(4, 4, 4)
    assert bands[0, [0, 31]] == pytest.approx([0.5, 0.5])
    assert bands[1, 0] == pytest.approx(1)
    assert bands[2, [0, 100 * 32 // 255]] == pytest.approx([0.5, 0.5])
    assert colours[3, 0, 0] == pytest.approx(0.5)
    assert colours[0, 0, 1] == pytest.approx(0.5)
    assert found.sum() == pytest.approx(4)


def test_histograms_of_floats_take_their_range_from_training_images(rng):
    source = make_source([0, 1] * 20)
    source.images[...] = rng.normal(1000, 10, source.images.shape)
    source.images[-1] = 1e9  # not among the training rows
    one = Histograms()
    before = one.sha256
    one.adapt(source, np.arange(30))
    assert one.sha256 != before
    found = np.square(one.transform(list(source.images)))
    assert found.shape == (40, 32)
    assert (found[:30] > 0).sum(axis=1).min() > 4
    assert found[-1, -1] == pytest.approx(1)
    source.images[3, 0, 0] = np.nan
    assert np.isfinite(one.transform([source.images[3]])).all()


def test_an_encoder_is_a_run_or_one_of_timm():
    assert encoder("timm:test_vit@160").name == "timm:test_vit@160"
    assert encoder("somewhere/run").name == "run"
    with pytest.raises(UserError, match="timm has no model"):
        encoder("timm:nothing")
