"""The simulated survey: its layout, what its seed decides, and what its classes do not decide."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.stats import f_oneway, kstest

from domainjepa.data.simulated.galaxies import CLASSES
from domainjepa.data.simulated.survey import (
    BANDS,
    exposures,
    moffat,
    nuisances,
    rendered,
    simulate_survey,
)
from domainjepa.errors import UserError

SAMPLES = 1600


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[h5py.File]:
    path = tmp_path_factory.mktemp("survey") / "new" / "survey.h5"
    seen: list[tuple[int, int]] = []
    simulate_survey(path, samples=SAMPLES, progress=lambda done, of: seen.append((done, of)))
    assert seen[-1] == (SAMPLES, SAMPLES)
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert [one.name for one in path.parent.iterdir()] == ["survey.h5"]
    with h5py.File(path, "r") as file:
        yield file


def read(path: Path) -> dict[str, np.ndarray]:
    with h5py.File(path, "r") as file:
        return {name: file[name][()] for name in file}


def test_the_layout_is_that_of_galaxy10_with_a_split(survey: h5py.File) -> None:
    assert set(survey) == {"images", "ans", "split", "ra", "dec", "redshift", "pxscale"}
    images = survey["images"]
    assert images.shape == (SAMPLES, 48, 48, 3)
    assert images.dtype == np.uint8
    assert images.chunks == (1, 48, 48, 3)
    assert all(survey[name].shape == (SAMPLES,) for name in survey if name != "images")
    assert survey.attrs["simulated"]
    assert any(text.startswith("astropy ") for text in survey.attrs["made_with"])
    assert list(survey["ans"].attrs["class_names"]) == list(CLASSES)
    assert np.abs(survey["dec"][()]).max() <= 90
    np.testing.assert_allclose(survey["pxscale"][()] * 48, 19.0)


def test_classes_are_balanced_mixed_and_split_alike(survey: h5py.File) -> None:
    classes, split = survey["ans"][()], survey["split"][()].astype(str)
    assert np.bincount(classes).tolist() == [SAMPLES // 8] * 8
    assert set(split) == {"train", "test"}
    assert np.bincount(classes[split == "test"]).tolist() == [SAMPLES // 40] * 8
    # Every stretch of rows holds every class.
    assert all(len(set(part)) == 8 for part in np.array_split(classes, 10))
    test_rows = np.flatnonzero(split == "test") / SAMPLES
    assert kstest(test_rows, "uniform").pvalue > 1e-3


def test_a_survey_is_a_function_of_its_seed(tmp_path: Path) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        simulate_survey(tmp_path / f"{name}.h5", samples=96, size=32, seed=seed)
    a, b, c = (read(tmp_path / f"{name}.h5") for name in "abc")
    for name, values in a.items():
        np.testing.assert_array_equal(values, b[name])
    assert (a["images"] != c["images"]).mean() > 0.5
    assert (a["ans"] != c["ans"]).mean() > 0.5


def test_no_class_has_a_colour_or_a_redshift_of_its_own(survey: h5py.File) -> None:
    classes = survey["ans"][()]
    images = survey["images"][()].astype(float)
    # The sky is the median; what is above it, the galaxy and its neighbours, has the colour.
    low, high = np.arcsinh(np.array([-6.0, 300.0]) / 4.0)
    flux = 4.0 * np.sinh(images / 255 * (high - low) + low)
    bands = (flux - np.median(flux, axis=(1, 2), keepdims=True)).sum(axis=(1, 2)).clip(1)
    colour = np.log(bands[:, 0] / bands[:, 2])
    for values in (colour, survey["redshift"][()]):
        by_class = [values[classes == label] for label in range(8)]
        assert f_oneway(*by_class).pvalue > 1e-3
    # The test has the power to see two classes that are redder by half the spread.
    tinted = colour + 0.5 * colour.std() * np.isin(classes, (4, 5))
    assert f_oneway(*(tinted[classes == label] for label in range(8))).pvalue < 1e-3


def test_what_is_no_morphology_is_drawn_without_the_class() -> None:
    # One draw for all rows: nothing that names a class goes in.
    traits = nuisances(50, 7)
    for name, values in nuisances(50, 7).items():
        np.testing.assert_array_equal(values, traits[name])
        assert len(values) == 50
        assert np.isfinite(values).all()
    assert not np.array_equal(nuisances(50, 8)["radius"], traits["radius"])


def bare(count: int) -> dict[str, np.ndarray]:
    """Galaxies without noise, neighbours, background, and all in the middle."""
    traits = nuisances(count, 0)
    for name in ("noise", "spot_there", "background", "slope", "centre"):
        traits[name] = np.zeros_like(traits[name])
    return traits


@pytest.mark.parametrize("kind", list(CLASSES))
def test_flux_and_colour_are_what_was_drawn(kind: str) -> None:
    traits = bare(12)
    image = exposures(kind, traits, 48, np.random.default_rng(0))
    z = traits["redshift"]
    flux = 2 * np.pi * traits["radius"] ** 2 * traits["brightness"] / (1 + z) ** 4
    colour = 10 ** (0.4 * (traits["colour"] + 2.5 * z)[:, None] * BANDS)
    np.testing.assert_allclose(image.sum(axis=(1, 2)), flux[:, None] * colour, rtol=1e-3)
    assert image.min() > -1e-2


def test_seeing_spreads_the_light_without_moving_it() -> None:
    sharp, blurred = bare(30), bare(30)
    sharp["seeing"], blurred["seeing"] = np.full(30, 1.8), np.full(30, 3.0)
    images = [exposures("Smooth", t, 48, np.random.default_rng(0)) for t in (sharp, blurred)]
    assert (images[0].max(axis=(1, 2)) > images[1].max(axis=(1, 2))).all()
    axis = np.arange(48) - 23.5
    for image in images:
        centre = (image.sum(axis=1) * axis[:, None]).sum(axis=1) / image.sum(axis=(1, 2))
        np.testing.assert_allclose(centre, 0, atol=0.02)


def test_the_noise_is_that_of_the_sky_and_of_the_light() -> None:
    traits = bare(40)
    clean = exposures("Smooth", traits, 48, np.random.default_rng(1))
    traits["noise"] = np.full(40, 1.5)
    noise = exposures("Smooth", traits, 48, np.random.default_rng(1)) - clean
    np.testing.assert_allclose((noise / np.sqrt(1 + clean / 60)).std(), 1.5, rtol=0.01)


def test_a_star_is_a_moffat_profile_of_its_flux() -> None:
    axis = np.arange(-400, 401) / 4
    light = moffat(axis[None, None, :], axis[None, :, None], np.full((1, 1, 1), 3.0))[0]
    np.testing.assert_allclose(light.sum() / 16, 1.0, atol=2e-3)
    np.testing.assert_allclose(light[400, 406], light[400, 400] / 2, rtol=1e-6)


def test_the_stretch_is_monotonic_and_one_for_the_survey() -> None:
    flux = np.array([-100, -6, 0, 1, 30, 300, 1e6])
    levels = rendered(flux)
    assert levels[:2].tolist() == [0, 0]
    assert levels[-2:].tolist() == [255, 255]
    assert (np.diff(levels.astype(int)) >= 0).all()
    np.testing.assert_array_equal(rendered(flux[::-1]), levels[::-1])


@pytest.mark.parametrize("size", [24, 33, 64])
def test_cut_outs_of_any_size_show_the_same_field(tmp_path: Path, size: int) -> None:
    simulate_survey(tmp_path / "s.h5", samples=80, size=size)
    one = read(tmp_path / "s.h5")
    assert one["images"].shape == (80, size, size, 3)
    np.testing.assert_allclose(one["pxscale"] * size, 19.0)


def test_wrong_wishes_are_clear_errors_and_leave_nothing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="20 samples"):
        simulate_survey(tmp_path / "s.h5", samples=20)
    with pytest.raises(UserError, match="8 px"):
        simulate_survey(tmp_path / "s.h5", size=8)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        simulate_survey(tmp_path / "file" / "s.h5", samples=80)
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


def test_a_stop_half_way_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "s.h5").write_bytes(b"old")

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate_survey(tmp_path / "s.h5", samples=80, progress=stop)
    assert (tmp_path / "s.h5").read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1
