"""Truths that are planted: what an evaluation of masks must find."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy import ndimage
from scipy.stats import t as student_t
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from domainjepa.config import TargetConfig
from domainjepa.errors import UserError
from domainjepa.evaluation.protocol import Protocol, read_protocol
from domainjepa.evaluation.results.results import Results
from domainjepa.evaluation.segmentation import probes
from domainjepa.evaluation.segmentation.cases import cases_of, held_out, units_with_masks
from domainjepa.evaluation.segmentation.cells import cell_of_masks
from domainjepa.evaluation.segmentation.classes import classes_of
from domainjepa.evaluation.segmentation.grid_check import too_coarse
from domainjepa.evaluation.segmentation.intensity import Neighbourhood
from domainjepa.evaluation.segmentation.maps import first_component, maps_of
from domainjepa.evaluation.segmentation.pixels import pixels_of
from domainjepa.evaluation.segmentation.scoring import MaskCohort
from domainjepa.evaluation.segmentation.seen import seen_of
from domainjepa.evaluation.suite import evaluate
from tests.evaluation.segmentation.toys import Seeing, blobs, with_masks

DRAW = np.random.default_rng(0)


def protocol(probe: str = "linear", **more: object) -> Protocol:
    given = {"name": "toy", "features": "patches", "probe": probe, "shots": (1, "all"), "draws": 3}
    return Protocol.model_validate({**given, **more})


def dice(results: Results, encoder: str, shots: object = "all", metric: str = "dice") -> float:
    return results.cells["toy", shots, encoder].mean(metric)  # type: ignore[index]


def dark_and_light(samples: int = 12, size: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """8-bit images, and where they are above 127: nothing lies between 110 and 145."""
    values = blobs(samples, size)
    above = values > 0.5
    noise = DRAW.integers(-30, 30, values.shape)
    return np.where(above, 175 + noise, 80 + noise).astype(np.uint8), above.astype(np.uint8)


@pytest.mark.parametrize("probe", ["linear", "knn"])
def test_a_threshold_of_the_intensity_is_found_by_intensity(probe: str) -> None:
    images, masks = dark_and_light()
    results = evaluate([Neighbourhood()], with_masks(images, masks), [protocol(probe)])
    if probe == "linear":
        assert dice(results, "intensity") == 1.0
        assert dice(results, "intensity", metric="hausdorff_95_px") == 0.0
    assert dice(results, "intensity", 1) > 0.98


def test_masks_of_noise_are_told_by_chance() -> None:
    images, _ = dark_and_light(20)
    masks = (DRAW.random(images.shape) < 0.5).astype(np.uint8)
    seen: list[float] = []
    raw = Seeing("raw", lambda image: np.stack([image[..., 0], DRAW.random(image.shape[:2])], -1))
    results = evaluate([raw], with_masks(images, masks), [protocol(shots=("all",))])
    cell = results.cells["toy", "all", "raw"]
    # An answer that marks the share q of an image, whatever the truth, has Dice 2pq / (p + q).
    guess = results.examples["toy"]
    seen = [float((one.guesses["raw"] > 0).mean()) for one in guess]
    low, high, _ = cell.interval("dice")
    chance = np.mean([q / (0.5 + q) for q in seen])
    assert low < chance < high


def test_equal_encoders_differ_by_nothing_and_another_is_told_from_them() -> None:
    images, masks = dark_and_light()
    good = [Seeing(name, lambda image: image) for name in ("one", "two")]
    poor = Seeing("poor", lambda image: ndimage.uniform_filter(image, (9, 9, 1)))
    results = evaluate([*good, poor], with_masks(images, masks), [protocol()])
    gaps = {(row["versus"], row["shots"], row["metric"]): row for row in results.differences}
    for shots in (1, "all"):
        same, other = (gaps[name, shots, "dice"] for name in ("two", "poor"))
        assert same["mean"] == same["low"] == same["high"] == 0.0
        assert other["low"] > 0


def test_a_shift_by_one_pixel_is_seen() -> None:
    images, masks = dark_and_light()
    right = Seeing("right", lambda image: image)
    shifted = Seeing("shifted", lambda image: np.roll(image, 1, axis=1))
    results = evaluate([right, shifted], with_masks(images, masks), [protocol()])
    assert dice(results, "right") == 1.0
    assert dice(results, "shifted") < 0.95
    assert dice(results, "shifted", metric="hausdorff_95_px") >= 1.0
    gap = results.cells["toy", "all", "right"] - results.cells["toy", "all", "shifted"]
    assert gap.interval("dice")[0] > 0


def test_the_linear_probe_is_scikit_learns_on_the_same_pixels() -> None:
    values = np.stack([blobs(9, 24, seed) for seed in range(3)], axis=-1)
    masks = np.digitize(values[..., 0] + 0.5 * values[..., 1], [-0.5, 0.7]).astype(np.uint8)
    source = with_masks(np.zeros((9, 24, 24), np.uint8), masks)
    source.images = values
    encoder = Seeing("known", lambda image: image[::2, ::2], pitch=2.0)
    rows = np.arange(6)
    classes, _ = classes_of(source, np.arange(9))
    maps = maps_of(encoder, source, np.arange(9))
    pixels = pixels_of(maps, seen_of(source, classes), rows, rows, 1200, 400, 0)
    fitted = probes.fit_affine(pixels, 0)
    mean, scale = pixels.features.mean(0), pixels.features.std(0)
    best, _ = probes._penalty((pixels.features - mean) / scale, pixels, 0)
    theirs = make_pipeline(
        StandardScaler(), LogisticRegression(C=best / len(pixels), tol=1e-6, max_iter=5000)
    ).fit(pixels.features, pixels.classes, logisticregression__sample_weight=pixels.weights)
    ours = fitted.scores(pixels.features)
    ours = np.exp(ours - ours.max(1, keepdims=True))
    chances = theirs.predict_proba(pixels.features)
    np.testing.assert_allclose(ours / ours.sum(1, keepdims=True), chances, atol=0.03)
    agree = fitted.classes[ours.argmax(1)] == theirs.predict(pixels.features)
    assert agree.mean() > 0.995


def test_structures_are_painted_and_not_what_lies_between_them() -> None:
    images, masks = dark_and_light()
    source = with_masks(images, 255 * (1 - masks))
    one = [protocol(shots=("all",))]
    found = evaluate([Neighbourhood()], source, one, target=TargetConfig(background=255))
    assert found.target.classes == ("foreground",)
    for example in found.examples["toy"]:
        marked = example.image[..., 0] > 127
        np.testing.assert_array_equal(example.truth, marked)
        assert (example.guesses["intensity"] == marked).mean() > 0.98


def test_draws_are_the_same_for_every_encoder_and_hold_one_image_of_each_group() -> None:
    images, masks = dark_and_light(18)
    source = with_masks(images, masks, groups=np.repeat(np.arange(9), 2))
    units = units_with_masks(source, None)
    classes, _ = classes_of(source, np.arange(18))
    cohort = MaskCohort(seen_of(source, classes), units, held_out(units, 0), cases_of(source))
    wanted = protocol(shots=(1, 2, 5, "all"), draws=10)
    draws = cohort.draws(wanted)
    assert {shots: len(of) for shots, of in draws.items()} == {1: 10, 2: 10, 5: 10, "all": 1}
    for chosen in draws[5]:
        assert len(set(source.groups[chosen])) == 5
        assert not set(source.groups[chosen]) & set(source.groups[cohort.split.test])
    assert len({tuple(chosen) for chosen in draws[2]}) > 1
    again = cohort.draws(wanted)
    for shots, of in draws.items():
        for one, other in zip(of, again[shots], strict=True):
            np.testing.assert_array_equal(one, other)


def test_intervals_of_differences_are_students() -> None:
    gaps = DRAW.normal(0.05, 0.1, 40)
    base = np.full(40, 0.5)
    cells = [
        cell_of_masks({"dice": one[None, :, None]}, ["a"], None, 0) for one in (base + gaps, base)
    ]
    low, high, _ = (cells[0] - cells[1]).interval("dice")
    half = student_t.ppf(0.975, 39) * gaps.std(ddof=1) / np.sqrt(40)
    assert low == pytest.approx(gaps.mean() - half, abs=0.1 * half)
    assert high == pytest.approx(gaps.mean() + half, abs=0.1 * half)


def test_a_class_that_a_case_has_not_is_left_out_of_its_mean() -> None:
    scores = np.array([[[1.0, np.nan], [0.5, 0.2], [0.0, np.nan]]])
    cell = cell_of_masks({"dice": scores}, ["a", "b"], None, 0)
    assert cell.mean("dice") == pytest.approx((0.5 + 0.2) / 2)
    assert cell.each["b"].mean("dice") == pytest.approx(0.2)


def test_a_grid_that_is_too_coarse_is_told() -> None:
    masks = np.zeros((6, 64, 64), np.uint8)
    masks[:, 20:25, 20:25] = 1
    masks[:, 40:60, 32:60] = 2
    source = with_masks(np.zeros((6, 64, 64), np.uint8), masks)
    seen = seen_of(source, classes_of(source, np.arange(6))[0])
    assert too_coarse("fine", (1.0, 1.0), seen, np.arange(6)) is None
    told = too_coarse("coarse", (16.0, 16.0), seen, np.arange(6))
    assert told is not None
    assert "16 pixels apart" in told
    assert "1 0 %" in told


def test_collapse_of_patch_features_is_told() -> None:
    images, masks = dark_and_light()
    one_thing = Seeing("one thing", lambda image: image * np.arange(1.0, 5.0))
    spread = Seeing("spread", lambda image: DRAW.normal(size=(*image.shape[:2], 4)))
    source = with_masks(images, masks)
    results = evaluate([one_thing, spread], source, [protocol(shots=("all",))])
    assert [line for line in results.warnings if "collapsed" in line] == [
        "one thing is collapsed: one direction holds 100.0 % of the variance of its patch features"
    ]
    # Four independent directions of one size: each holds a quarter.
    assert first_component(maps_of(spread, source, np.arange(12)), range(12)) < 0.3


def test_more_images_are_no_worse_and_patients_are_units() -> None:
    images, masks = dark_and_light(20)
    noisy = np.clip(images + DRAW.normal(0, 60, images.shape), 0, 255).astype(np.uint8)
    source = with_masks(noisy, masks, groups=np.repeat(np.arange(10), 2))
    wanted = protocol(shots=(1, 4, "all"), draws=4)
    results = evaluate([Neighbourhood()], source, [wanted], per="groups")
    assert results.settings["data"]["units"] == {"one": "group", "number": 10, "samples": 20}
    scores = [dice(results, "intensity", shots) for shots in (1, 4, "all")]
    assert all(later > earlier - 0.02 for earlier, later in pairwise(scores))
    assert len(results.truth["toy"]) == 3  # patients of the test


def test_what_has_no_meaning_of_masks_is_refused() -> None:
    images, masks = dark_and_light()
    source = with_masks(images, masks)
    with pytest.raises(UserError, match="run two"):
        evaluate([Neighbourhood()], source, ["segmentation", "knn"])
    with pytest.raises(UserError, match="--target cannot be used"):
        evaluate([Neighbourhood()], source, ["segmentation"], target="grade")


def test_the_protocols_of_the_catalogue_are_of_masks() -> None:
    for name in ("segmentation", "segmentation-knn", "segmentation-finetune"):
        assert read_protocol(name).of_masks
    assert read_protocol("segmentation").draws_of(1) >= 10
