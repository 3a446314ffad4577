"""What every domain has to keep, and what each one says of itself."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pytest

from domainjepa.config import IntensityConfig
from domainjepa.domains.astronomy import Astronomy
from domainjepa.domains.ct import CT
from domainjepa.domains.domain import Domain, Evidence, mentioned
from domainjepa.domains.intensity import Asinh, Identity, Linear, OwnScale, Windows
from domainjepa.domains.microscopy import Microscopy
from domainjepa.domains.mri import MRI
from domainjepa.domains.natural import Natural
from domainjepa.domains.radio import Radio
from domainjepa.domains.view_spec import ViewSpec
from domainjepa.errors import ConfigError, DataError
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
@pytest.mark.parametrize("channels", [1, 2, 3, 5, 16])
def test_views_of_any_channels_and_dtype(
    name: str, keep_colour: bool, dtype: np.dtype, channels: int
) -> None:
    domain: Domain = DOMAINS.load(name)(keep_colour=keep_colour)
    image = picture(channels, dtype)
    before = image.copy()
    for local in (False, True):
        chain = domain.chain(spec(channels, dtype, local=local))
        for seed in range(6):
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
    """Without `keep_colour` the ratio of two bands differs between views of one galaxy: by the
    gains, and in 30 % of the views there is none."""
    image = np.full((16, 16, 3), [0.6, 0.4, 0.2], np.float32)
    chain = Astronomy().chain(spec(3, FLOAT32))
    ratios = []
    for seed in range(600):
        chain.set_random_state(np.random.default_rng(seed), random.Random(seed))
        red, green, _ = chain(image=image)["image"].mean(axis=(0, 1))
        ratios.append(np.log(red / green))
    grey = np.abs(ratios) < 1e-6
    assert grey.mean() == pytest.approx(0.3, abs=0.06)
    gains = np.log(np.random.default_rng(0).uniform(0.85, 1.18, (2, 100_000)))
    spread = math.hypot((gains[0] - gains[1]).std(), 0.05)  # and the backgrounds
    assert np.array(ratios)[~grey].std() == pytest.approx(spread, rel=0.1)


@pytest.mark.parametrize(
    ("domain", "dtype", "kind"),
    [
        (Astronomy(), np.uint8, Identity),
        (Astronomy(), np.uint16, Asinh),
        (Astronomy(), np.float32, Asinh),
        (Astronomy(), np.float64, Asinh),
        (Natural(), np.uint8, Identity),
        (Natural(), np.float32, Linear),
        (Radio(), np.float32, Asinh),
        (CT(), np.uint8, Identity),
        (CT(), np.int16, Windows),
        (CT(settings=IntensityConfig(stretch="zscale")), np.int16, Linear),
        (MRI(), np.int16, OwnScale),
        (MRI(), np.uint8, Identity),
        (MRI(settings=IntensityConfig(stretch="percentile")), np.int16, Linear),
        (Microscopy(), np.uint16, Linear),
        (Microscopy(settings=IntensityConfig(stretch="asinh")), np.float32, Asinh),
    ],
)
def test_intensity_by_dtype(domain: Domain, dtype: type, kind: type) -> None:
    images = [(np.arange(300).reshape(10, 10, 3) - 150).astype(dtype)]
    assert isinstance(domain.fit_intensity(iter(images)), kind)


def test_ct_has_three_windows_and_those_that_are_named() -> None:
    slices = [np.linspace(-1000, 1000, 64).reshape(8, 8, 1).astype(np.int16)]
    assert CT().fit_intensity(slices)(slices[0]).shape == (8, 8, 3)
    named = CT(settings=IntensityConfig(windows=("brain", "80/200"))).fit_intensity(slices)
    assert named == Windows(levels=(40.0, 80.0), widths=(80.0, 200.0))


@pytest.mark.parametrize(
    ("settings", "dtype", "error", "told"),
    [
        ({"windows": ("lung",)}, np.uint8, ConfigError, "8-bit"),
        ({"windows": ("lung",), "stretch": "linear"}, np.int16, ConfigError, "exclude"),
        ({}, np.uint16, DataError, "Hounsfield"),
    ],
)
def test_ct_refuses_what_has_no_hounsfield_units(
    settings: dict[str, object], dtype: type, error: type, told: str
) -> None:
    images = [np.full((8, 8, 1), 100, dtype)]
    with pytest.raises(error, match=told):
        CT(settings=IntensityConfig.model_validate(settings)).fit_intensity(images)


@pytest.mark.parametrize("name", [name for name in DOMAINS.builtin if name != "ct"])
def test_no_other_domain_has_windows(name: str) -> None:
    domain = DOMAINS.load(name)(settings=IntensityConfig(windows=("lung",)))
    with pytest.raises(ConfigError, match="windows"):
        domain.fit_intensity([np.ones((4, 4, 1), np.float32)])


@pytest.mark.parametrize("local", [False, True])
@pytest.mark.parametrize("name", ["radiography", "ct", "mri"])
def test_medical_views_keep_left_and_right_up_and_down(name: str, local: bool) -> None:
    """Tilts of at most 15 degrees: the right of the picture stays right of its left."""
    y, x = np.mgrid[:48, :40].astype(np.float32)
    image = np.stack([x, y], axis=2)
    crop = DOMAINS.load(name)().transforms(spec(2, FLOAT32, local=local))[0].transform
    for seed in range(50):
        crop.set_random_state(np.random.default_rng(seed), random.Random(seed))
        view = crop(image=image)["image"][6:-6, 6:-6]
        assert view[:, -1, 0].mean() > view[:, 0, 0].mean()
        assert view[-1, :, 1].mean() > view[0, :, 1].mean()


def test_ultrasound_mirrors_but_never_turns_upside_down() -> None:
    y, x = np.mgrid[:48, :48].astype(np.float32)
    image = np.stack([x, y], axis=2)
    crop = DOMAINS.load("ultrasound")().transforms(spec(2, FLOAT32))[0].transform
    mirrored = 0
    for seed in range(100):
        crop.set_random_state(np.random.default_rng(seed), random.Random(seed))
        view = crop(image=image)["image"][6:-6, 6:-6]
        mirrored += view[:, -1, 0].mean() < view[:, 0, 0].mean()
        assert view[-1, :, 1].mean() > view[0, :, 1].mean()
    assert 30 < mirrored < 70


def test_radio_views_of_a_thresholded_map_stay_sparse() -> None:
    y, x = np.mgrid[-32:32, -32:32]
    island = 255 * np.exp(-(x**2 + (2 * y) ** 2) / (2 * 4.0**2))
    image = np.where(island > 20, island, 0)[..., None].astype(np.uint8)
    chain = Radio().chain(spec(1, UINT8, size=48))
    for seed in range(50):
        chain.set_random_state(np.random.default_rng(seed), random.Random(seed))
        view = chain(image=image)["image"]
        assert 0.7 < np.mean(view == 0) < 1


def test_glass_stays_nearly_white_and_black_stays_black() -> None:
    for name, level, tolerance in (("histopathology", 255, 0.07), ("ultrasound", 0, 0)):
        chain = DOMAINS.load(name)().chain(spec(3, UINT8))
        for seed in range(20):
            chain.set_random_state(np.random.default_rng(seed), random.Random(seed))
            view = chain(image=np.full((40, 40, 3), level, np.uint8))["image"]
            assert np.abs(view.astype(int) - level).max() <= 255 * tolerance


@pytest.mark.parametrize(
    ("evidence", "best"),
    [
        ({"channels": 3, "words": "Galaxy10_DECals images ans"}, "astronomy"),
        ({"channels": 3, "words": "mydata images objid label"}, "astronomy"),
        ({"dtype": np.float32, "channels": 5, "words": "cutouts"}, "astronomy"),
        ({"dtype": np.float64, "words": "stack"}, "astronomy"),
        ({"dtype": np.float32, "channels": 3, "loader": "fits"}, "astronomy"),
        ({"channels": 3, "words": "holiday"}, "natural"),
        ({"channels": 3, "words": "cifar10 airplane"}, "natural"),
        ({"channels": 3, "modality": "XC"}, "natural"),
        ({"words": "breast"}, "natural"),
        ({"words": "frdeep_first"}, "radio"),
        ({"words": "galaxies FRI FRII"}, "radio"),
        ({"words": "stack", "zeros": 0.99, "high": 255.0}, "radio"),
        ({"words": "radiography chest"}, "radiography"),
        ({"dtype": np.uint16, "modality": "DX"}, "radiography"),
        ({"dtype": np.uint16, "modality": "MG"}, "radiography"),
        ({"dtype": np.int16, "modality": "CT", "words": "chest"}, "ct"),
        ({"dtype": np.int16, "low": -1024.0, "high": 3071.0}, "ct"),
        ({"dtype": np.float32, "low": -1024.0, "high": 1500.0, "loader": "nifti"}, "ct"),
        ({"dtype": np.float32, "high": 3000.0, "loader": "nifti"}, "mri"),
        ({"dtype": np.int16, "modality": "MR"}, "mri"),
        ({"words": "sub-01_T1w.nii"}, "mri"),
        ({"modality": "US"}, "ultrasound"),
        ({"words": "breastmnist"}, "ultrasound"),
        ({"dtype": np.uint16, "channels": 5, "words": "HPA confocal"}, "microscopy"),
        ({"channels": 3, "modality": "GM"}, "microscopy"),
        ({"words": "FIB-SEM mitochondria"}, "electron"),
        ({"words": "electron microscopy of cells"}, "electron"),
        ({"dtype": np.uint16, "words": "battery micro-CT"}, "electron"),
        ({"words": "em_membrane"}, "electron"),
        ({"words": "stem cells in phase contrast"}, "microscopy"),
        ({"words": "sentinel lymph nodes, pathology slides"}, "histopathology"),
        ({"channels": 3, "words": "EuroSAT AnnualCrop"}, "aerial"),
        ({"dtype": np.uint16, "channels": 13, "words": "sentinel2_tiles"}, "aerial"),
        ({"channels": 3, "modality": "SM"}, "histopathology"),
        ({"channels": 3, "words": "pathmnist"}, "histopathology"),
    ],
)
def test_which_domain_suits(evidence: dict[str, Any], best: str) -> None:
    dtype = np.dtype(evidence.pop("dtype", np.uint8))
    given = Evidence(dtype=dtype, **{"channels": 1, **evidence})
    judged = {name: DOMAINS.load(name).suits(given) for name in DOMAINS.builtin}
    assert max(judged, key=lambda name: judged[name][0]) == best
    for score, reason in judged.values():
        assert 0 <= score <= 1
        assert reason


def test_mentioned_finds_the_beginnings_of_words() -> None:
    stems = ("galax", "edge on", "sky")
    assert mentioned(stems, "Galaxy10_DECaLS.h5 Edge-on") == "galax, edge on"
    assert mentioned(stems, "extragalaxy dusky") == ""
    assert mentioned(("ct ", "mr "), "CT-01 mrt") == "ct"
