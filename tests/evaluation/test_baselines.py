from __future__ import annotations

import numpy as np
import pytest
from toys import make_source

from domainjepa.errors import UserError
from domainjepa.evaluation.baselines import Pixels, baselines, pixels, untrained


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


def test_pixels_of_a_source_are_those_of_its_images():
    source = make_source([0, 1, 0])
    assert np.array_equal(Pixels(2).transform(source), Pixels(2).transform(list(source.images)))


def test_other_sizes_are_other_features():
    assert Pixels(8).sha256 != Pixels(16).sha256
    assert Pixels(8).sha256 == Pixels(8).sha256


def test_baselines_by_name():
    (found,) = baselines(["domainjepa.evaluation.baselines:pixels"], [])
    assert found.name == "pixels"
    assert untrained([Pixels()]) == []
    with pytest.raises(UserError, match="unknown baseline 'pixel'"):
        baselines(["pixel"], [])
    with pytest.raises(UserError, match="no weights"):
        pixels([], "some.pth")
