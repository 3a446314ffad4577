"""The pass over a source finds what was planted, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from domainjepa.data.checks import census as census_module
from domainjepa.data.checks import likeness
from domainjepa.data.checks.census import FEWEST, some_rows, take_census
from domainjepa.data.checks.findings import class_counts, findings
from domainjepa.data.source import Image, Source
from domainjepa.errors import DataError


@dataclass(kw_only=True)
class InMemory(Source):
    """A list of images; row `broken` cannot be read."""

    images: list[Image]
    broken: int = -1

    def __len__(self) -> int:
        return len(self.images)

    def __getitems__(self, indices: Sequence[int]) -> list[Image]:
        if self.broken in indices:
            raise DataError(f"sample {self.broken} of made cannot be read: planted.")
        return [self.images[index] for index in indices]

    def content_key(self) -> str:
        return "made"


def source_of(images: Sequence[Image], **about: Any) -> InMemory:
    first = images[0]
    return InMemory(
        name="made",
        loader="hand",
        shape=first.shape,
        dtype=first.dtype,
        images=list(images),
        **about,
    )


def noise(count: int, channels: int = 3, seed: int = 0) -> list[Image]:
    random = np.random.default_rng(seed)
    return list(random.integers(0, 256, (count, 20, 24, channels), dtype=np.uint8))


def test_clean_data_raise_no_finding() -> None:
    source = source_of(noise(40))
    census = take_census(source)
    assert (census.blank, census.duplicates, census.near, census.unreadable) == ([], [], [], {})
    assert census.near_skipped == ""
    assert census.sizes == 1
    assert findings(source, census) == []


def test_ranges_and_moments_of_every_band() -> None:
    random = np.random.default_rng(5)
    images = [
        np.stack([random.normal(m, s, (16, 16)) for m, s in ((0, 1), (50, 9))], axis=-1)
        for _ in range(300)
    ]
    census = take_census(source_of(images))
    together = np.concatenate([image.reshape(-1, 2) for image in images])
    for band, values, mean, std in zip(census.bands, together.T, (0, 50), (1, 9), strict=True):
        assert (band.low, band.high) == (values.min(), values.max())
        assert band.missing == 0
        assert band.mean == pytest.approx(mean, abs=0.05 * std)
        assert band.std == pytest.approx(std, rel=0.05)
        expected = mean + std * np.array([-2.326, 0, 2.326])
        assert band.percentiles == pytest.approx(expected, abs=0.1 * std)


def test_a_blank_sample_is_one_value_a_band_or_none() -> None:
    images = [image.astype(np.float32) for image in noise(10)]
    images[3] = np.full_like(images[3], 7)
    images[6] = np.full_like(images[6], np.nan)
    images[8][...] = [1, 2, 3]
    images[9][..., 0] = 5  # one flat band is not blank
    census = take_census(source_of(images))
    assert census.blank == [3, 6, 8]
    assert census.duplicates == []
    assert findings(source_of(images), census)[0].startswith("blank: rows 3, 6, 8,")


def test_missing_values_are_counted_band_by_band() -> None:
    images = [image.astype(np.float32) for image in noise(10, channels=2)]
    images[0][:2, :, 1] = np.nan
    images[1][0, 0, 1] = np.inf
    census = take_census(source_of(images))
    assert census.bands[0].missing == 0
    assert census.bands[1].missing == pytest.approx((2 * 24 + 1) / (10 * 20 * 24))
    assert census.bands[1].high == max(image[..., 1][np.isfinite(image[..., 1])].max()
                                       for image in images)  # fmt: skip
    assert "band 1: 1.02 %" in findings(source_of(images), census)[0]


def test_identical_samples_are_found_across_batches_and_only_in_one_shape() -> None:
    images = noise(600)
    images[599] = images[2].copy()
    images[300] = images[2].copy()
    images[40] = images[41].reshape(24, 20, 3)  # the same bytes, another image
    images[7] = images[8].copy()
    images[7][0, 0, 0] ^= 255  # one value differs
    census = take_census(source_of(images))
    assert census.duplicates == [[2, 300, 599]]
    assert census.sizes == 2
    assert census.near == [(7, 8)]


def test_near_duplicates_survive_gain_noise_and_a_few_pixels() -> None:
    images = [image.astype(np.float32) for image in noise(30)]
    images[11] = 3 * images[10] + 20
    images[21] = images[20] + np.random.default_rng(1).normal(0, 4, images[20].shape)
    images[26] = images[25] + np.random.default_rng(1).normal(0, 60, images[25].shape)
    census = take_census(source_of(images))
    assert census.near == [(10, 11), (20, 21)]


def test_alike_in_small_is_not_alike() -> None:
    # One broad blob in all of them; the fine detail differs.
    y, x = np.mgrid[:32, :32]
    blob = np.exp(-((x - 15.5) ** 2 + (y - 15.5) ** 2) / 60)[..., None]
    random = np.random.default_rng(3)
    images = [blob + random.normal(0, 0.05, (32, 32, 1)) for _ in range(20)]
    assert take_census(source_of(images)).near == []


def test_near_duplicates_are_left_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(census_module, "MOST_FOR_NEAR", 20)
    census = take_census(source_of([noise(1)[0], *noise(20, seed=9)]))
    assert census.near == []
    assert "20" in census.near_skipped
    monkeypatch.setattr(census_module, "MOST_FOR_NEAR", 100)
    monkeypatch.setattr(likeness, "_CANDIDATES", 5)
    base = noise(1)[0].astype(np.float32)
    assert take_census(source_of([base * (1 + i) for i in range(9)])).near_skipped


def test_an_unreadable_sample_does_not_stop_the_pass() -> None:
    source = source_of(noise(30), broken=17)
    seen: list[int] = []
    census = take_census(source, seen.append)
    assert list(census.unreadable) == [17]
    assert seen[-1] == 30
    assert any("row 17" in line and "planted" in line for line in findings(source, census))


def test_a_census_gives_the_same_figures_again() -> None:
    assert take_census(source_of(noise(50))) == take_census(source_of(noise(50)))


@pytest.mark.parametrize("shape", [(4, 5, 1), (7, 30, 2), (9, 8, 5)])
def test_small_images_of_any_number_of_bands(shape: tuple[int, int, int]) -> None:
    random = np.random.default_rng(0)
    images = list(random.normal(size=(12, *shape)))
    images[4] = images[3].copy()
    census = take_census(source_of(images))
    assert census.duplicates == [[3, 4]]
    assert len(census.bands) == shape[2]


def test_findings_on_labels_groups_and_split() -> None:
    images = noise(60)
    images[50], images[51] = images[0].copy(), images[1].copy()
    labels = np.repeat([0, 1], [50, 10])
    groups = np.arange(60)
    groups[[5, 55]] = 5
    split = np.array(["train"] * 40 + ["test"] * 20)
    source = source_of(images, labels=labels, classes=("a", "b"), groups=groups, split=split)
    assert class_counts(source) == {"a": 50, "b": 10}
    said = findings(source, take_census(source))
    assert said[0].startswith(
        "2 sets (2 across the parts of the split, 2 with conflicting labels, "
        "rows 0, 50; rows 1, 51) of identical samples."
    )
    assert said[1].startswith("1 group in more than one part")
    assert said[2].startswith("classes of fewer than 20 samples: 'b' 10.")
    assert len(said) == 3
    source = source_of(noise(60), labels=labels)
    assert any("sorted by class" in line for line in findings(source, take_census(source)))
    mixed = source_of(noise(60), labels=np.tile([0, 1], 30))
    assert findings(mixed, take_census(mixed)) == []


def test_a_band_that_never_changes_is_reported() -> None:
    images = noise(10)
    for image in images:
        image[..., 1] = 4
    source = source_of(images)
    assert findings(source, take_census(source)) == [
        "band 1 holds 4 everywhere. Leave it out of the file."
    ]


def test_a_selection_is_looked_at_as_if_it_were_all(monkeypatch: pytest.MonkeyPatch) -> None:
    images = noise(4_000)
    images[17] = 3
    source = source_of(images)
    assert (some_rows(source) == source.rows()).all()
    monkeypatch.setattr(census_module, "WHOLE_BYTES", 1)
    rows = some_rows(source)
    assert len(rows) == FEWEST
    assert (np.diff(rows) > 0).all()
    assert (some_rows(source) == rows).all()
    # Eight neighbours together, all over the source.
    assert (rows.reshape(-1, 8)[:, 0] % 8 == 0).all()
    assert rows[0] < 400
    assert rows[-1] > 3_600
    # Repeats are found by their rows in the source, among what is looked at.
    one, other, missed = rows[3], rows[-5], np.setdiff1d(source.rows(), rows)[0]
    images[other] = images[missed] = images[one]
    census = take_census(source_of(images), rows=rows)
    assert census.looked_at == FEWEST
    assert census.duplicates == [[one, other]]
    assert census.blank == ([17] if 17 in rows else [])
    alone = take_census(source_of([images[row] for row in rows.tolist()]))
    assert alone.bands == census.bands
