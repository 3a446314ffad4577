"""What every domain has to keep, and what each one says of itself."""

from __future__ import annotations

import random

import numpy as np
import pytest

from domainjepa.domains.astronomy import Astronomy
from domainjepa.domains.domain import Domain, ViewSpec, mentioned
from domainjepa.domains.intensity import Asinh, Identity, Linear
from domainjepa.domains.natural import Natural
from domainjepa.registry import DOMAINS

UINT8, FLOAT32 = np.dtype(np.uint8), np.dtype(np.float32)


def spec(channels: int, dtype: np.dtype, *, local: bool = False, size: int = 24) -> ViewSpec:
    return ViewSpec(size, (0.05, 0.3) if local else (0.3, 1.0), channels, dtype, local)


def picture(channels: int, dtype: np.dtype) -> np.ndarray:
    image = np.random.default_rng(0).normal(0.2, 0.3, (40, 36, channels))
    return (image.clip(0, 1) * 255).astype(dtype) if dtype == UINT8 else image.astype(dtype)


@pytest.mark.parametrize("name", DOMAINS.builtin)
@pytest.mark.parametrize("keep_colour", [False, True])
@pytest.mark.parametrize("dtype", [UINT8, FLOAT32], ids=str)
@pytest.mark.parametrize("channels", [1, 2, 3, 5, 12])
def test_views_of_any_channels_and_dtype(
    name: str, keep_colour: bool, dtype: np.dtype, channels: int
) -> None:
    domain: Domain = DOMAINS.load(name)(keep_colour=keep_colour)
    image = picture(channels, dtype)
    before = image.copy()
    for local in (False, True):
        chain = domain.chain(spec(channels, dtype, local=local))
        for seed in range(10):
            views = []
            for _ in range(2):
                chain.set_random_state(np.random.default_rng(seed), random.Random(seed))
                views.append(chain(image=image)["image"])
            assert views[0].shape == (24, 24, channels)
            assert views[0].dtype == dtype
            assert np.isfinite(views[0]).all()
            np.testing.assert_array_equal(views[0], views[1])
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("name", DOMAINS.builtin)
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_each_transform_says_what_it_stands_for_and_works_alone(name: str, channels: int) -> None:
    steps = DOMAINS.load(name)().transforms(spec(channels, FLOAT32))
    assert len({step.name for step in steps}) == len(steps)
    for step in steps:
        assert step.nuisance
        changed = step.transform(image=picture(channels, FLOAT32), force_apply=True)["image"]
        assert changed.shape[2] == channels
        assert changed.dtype == np.float32


def test_astronomy_keeps_colour_when_told_to() -> None:
    image = np.random.default_rng(1).uniform(0.1, 1, (16, 16, 5)).astype(np.float32)
    steps = {step.name: step for step in Astronomy(keep_colour=True).transforms(spec(5, FLOAT32))}
    assert "grey" not in steps
    changed = image
    for name in ("gain", "exposure"):
        changed = steps[name].transform(image=changed, force_apply=True)["image"]
    assert not np.allclose(changed, image)
    np.testing.assert_allclose(changed / changed[..., :1], image / image[..., :1], rtol=1e-5)
    added = steps["background"].transform(image=image, force_apply=True)["image"] - image
    np.testing.assert_allclose(added, np.full_like(added, added[0, 0, 0]), atol=1e-6)


def test_astronomy_makes_colour_no_shortcut() -> None:
    """Without `keep_colour` the ratio of two bands differs between views of one galaxy."""
    image = np.full((16, 16, 3), [0.6, 0.4, 0.2], np.float32)
    chain = Astronomy().chain(spec(3, FLOAT32))
    ratios = []
    for seed in range(200):
        chain.set_random_state(np.random.default_rng(seed), random.Random(seed))
        red, green, _ = chain(image=image)["image"].mean(axis=(0, 1))
        ratios.append(np.log(red / green))
    assert np.std(ratios) > 0.3


@pytest.mark.parametrize(
    ("domain", "dtype", "kind"),
    [
        (Astronomy(), np.uint8, Identity),
        (Astronomy(), np.uint16, Linear),
        (Astronomy(), np.float32, Asinh),
        (Astronomy(), np.float64, Asinh),
        (Natural(), np.uint8, Identity),
        (Natural(), np.float32, Linear),
    ],
)
def test_intensity_by_dtype(domain: Domain, dtype: type, kind: type) -> None:
    images = [np.arange(300).reshape(10, 10, 3).astype(dtype)]
    assert isinstance(domain.fit_intensity(iter(images)), kind)


@pytest.mark.parametrize(
    ("dtype", "channels", "words", "best"),
    [
        (np.uint8, 3, "Galaxy10_DECals images ans", "astronomy"),
        (np.uint8, 3, "mydata images objid label", "astronomy"),
        (np.float32, 5, "cutouts", "astronomy"),
        (np.float64, 1, "stack", "astronomy"),
        (np.uint8, 3, "holiday", "natural"),
        (np.uint8, 3, "cifar10 airplane", "natural"),
        (np.uint8, 1, "radiography chest", "natural"),
    ],
)
def test_which_domain_suits(dtype: type, channels: int, words: str, best: str) -> None:
    judged = {
        name: DOMAINS.load(name).suits(np.dtype(dtype), channels, words) for name in DOMAINS.builtin
    }
    assert max(judged, key=lambda name: judged[name][0]) == best
    for score, reason in judged.values():
        assert 0 <= score <= 1
        assert reason


def test_mentioned_finds_the_beginnings_of_words() -> None:
    stems = ("galax", "edge on", "sky")
    assert mentioned(stems, "Galaxy10_DECaLS.h5 Edge-on") == "galax, edge on"
    assert mentioned(stems, "extragalaxy dusky") == ""
