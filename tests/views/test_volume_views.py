from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from domainjepa.config import ViewsConfig
from domainjepa.data.parts.regions import in_regions
from domainjepa.data.sampling import KeyedBatches
from domainjepa.data.source import Source
from domainjepa.domains.domain import Domain
from domainjepa.domains.intensity import Linear
from domainjepa.domains.mri import MRI
from domainjepa.domains.natural import Natural
from domainjepa.errors import ConfigError
from domainjepa.views.dataset import ViewDataset, whole
from domainjepa.views.drawing import draw_views
from domainjepa.views.resampling import Volume
from domainjepa.views.views import ViewMaker
from domainjepa.views.volume_views import VolumeViews, grid_of, resolve_spacing
from tests.data.toys import Lazy, toy

VIEWS = ViewsConfig(num_global=2, num_local=3, global_size=12, local_size=8, spacing=1.5)
SCALE = Linear(low=(0.0,), high=(1000.0,))


def volumes(count: int = 3, **facts: Any) -> Source:
    draw = np.random.default_rng(0)
    arrays = [draw.integers(0, 1000, (10, 30, 28, 1), dtype=np.int16) for _ in range(count)]
    told = {"spacings": np.tile([3.0, 1.0, 1.0], (count, 1))} | facts
    return toy(Lazy, arrays, **told)


def made(domain: Domain | None = None, views: ViewsConfig = VIEWS, seed: int = 0) -> VolumeViews:
    return VolumeViews(ViewMaker(domain or Natural(), SCALE, views, seed))


@pytest.mark.parametrize("domain", [Natural(), MRI()], ids=lambda one: one.name)
def test_a_view_is_a_function_of_its_key(domain: Domain) -> None:
    source, other = volumes(), made(domain)
    volume = other.volume(source, 0)
    first = made(domain)(volume, epoch=3, sample=5)
    assert [view.shape for view in first] == [(1, 12, 12, 12)] * 2 + [(1, 8, 8, 8)] * 3
    assert all(view.dtype == np.float32 and np.isfinite(view).all() for view in first)
    other(volume, epoch=0, sample=0)
    for one, again in zip(first, other(volume, epoch=3, sample=5), strict=True):
        np.testing.assert_array_equal(one, again)
    for changed in (
        other(volume, epoch=4, sample=5),
        other(volume, epoch=3, sample=6),
        made(domain, seed=1)(volume, epoch=3, sample=5),
    ):
        assert all((one != two).any() for one, two in zip(first, changed, strict=True))
    assert (first[0] != first[1]).any()


def test_without_transforms_of_values_a_view_is_the_volume_resampled() -> None:
    names = ("rotation", "mirror", "gain", "offset", "blur", "noise")
    source, views = volumes(), made(Natural(without=names))
    volume = views.volume(source, 1)
    _, cubes, block = views.drawn(volume, 2, 4)
    for view, cube in zip(views(volume, epoch=2, sample=4), cubes, strict=True):
        np.testing.assert_array_equal(cube.axes, np.eye(3))
        np.testing.assert_array_equal(view, block.sample(cube))


def test_views_show_their_share_inside_the_region_and_the_volume() -> None:
    views = made()
    volume = views.volume(volumes(), 0)
    shares: dict[bool, list[float]] = {False: [], True: []}
    for sample in range(100):
        region = views.region(volume, 0, sample)
        assert region.side == 12 * 1.5
        assert (region.centre >= region.side / 2 - 1e-9).all()
        assert (region.centre <= volume.extent - region.side / 2 + 1e-9).all()
        for number, cube in enumerate(views.cubes(volume, region, 0, sample)):
            shares[number >= 2].append((cube.side / region.side) ** 3)
            reach = (region.side - cube.side) / 2
            assert (np.abs(cube.centre - region.centre) <= reach + 1e-9).all()
    for local, (low, high) in ((False, VIEWS.global_scale), (True, VIEWS.local_scale)):
        assert low <= min(shares[local]) < max(shares[local]) <= high
        assert np.mean(shares[local]) == pytest.approx((low + high) / 2, abs=0.05)


def test_views_of_a_slab_thinner_than_a_region_lie_on_it() -> None:
    slab = toy(Lazy, [np.full((2, 40, 40, 1), 500, np.int16)])
    views = made(views=VIEWS.model_copy(update={"local_scale": (0.05, 0.05)}))
    volume = views.volume(slab, 0)
    for sample in range(20):
        for cube in views.cubes(volume, views.region(volume, 0, sample), 0, sample):
            assert cube.centre[0] == 1.0


def test_air_is_not_learned_from() -> None:
    array = np.zeros((40, 40, 40, 1), np.int16)
    array[:20, :20, :20] = np.random.default_rng(0).integers(0, 1000, (20, 20, 20, 1))
    views = made(views=VIEWS.model_copy(update={"spacing": 1.0}))
    volume = views.volume(toy(Lazy, [array]), 0)
    shown = [views.drawn(volume, 0, sample)[2].values.std().item() > 0.02 for sample in range(30)]
    assert np.mean(shown) > 0.9  # a single draw hits the filled eighth far less often


def dataset() -> ViewDataset:
    maker = ViewMaker(MRI(), SCALE, VIEWS, 0)
    return ViewDataset(in_regions(volumes(labels=np.array([0, 1, 0])), 4), maker)


def test_a_batch_has_the_promised_shapes() -> None:
    batch = dataset().__getitems__([(0, 3), (1, 7)])
    assert batch["global"].shape == (2, 2, 1, 12, 12, 12)
    assert batch["local"].shape == (3, 2, 1, 8, 8, 8)
    assert batch["global"].dtype == torch.float32
    assert batch["labels"].tolist() == [0, 1]
    assert batch["rows"].tolist() == [3, 7]
    source = dataset().source
    views = made(MRI())(made().volume(source, 7), epoch=1, sample=7)
    np.testing.assert_array_equal(batch["global"][1, 1], views[1])
    np.testing.assert_array_equal(batch["local"][2, 1], views[4])


def test_regions_of_one_volume_differ() -> None:
    batch = dataset().__getitems__([(0, 0), (0, 1)])
    assert not torch.equal(batch["global"][:, 0], batch["global"][:, 1])


def test_any_number_of_workers_makes_identical_views() -> None:
    def batches(workers: int) -> list[dict[str, torch.Tensor]]:
        sampler = KeyedBatches(np.arange(12), batch_size=4, seed=1, steps=range(2))
        return list(
            DataLoader(dataset(), batch_sampler=sampler, collate_fn=whole, num_workers=workers)
        )

    for one, other in zip(batches(0), batches(2), strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_used_dataset_can_be_sent_to_another_process() -> None:
    used = dataset()
    batch = used.__getitems__([(0, 1)])
    again = pickle.loads(pickle.dumps(used)).__getitems__([(0, 1)])  # noqa: S301
    assert torch.equal(batch["global"], again["global"])


def test_the_spacing_is_the_median_geometric_mean() -> None:
    spacings = np.array([[8.0, 1.0, 1.0], [1.0, 1.0, 1.0], [3.0, 3.0, 3.0]])
    source = volumes(spacings=spacings)
    assert resolve_spacing(ViewsConfig(), source).spacing == 2.0
    assert resolve_spacing(ViewsConfig(spacing=0.7), source).spacing == 0.7
    assert grid_of(volumes(), 1.5) == (20, 20, 19)


def test_unresolved_sizes_are_refused() -> None:
    with pytest.raises(ConfigError, match="resolved"):
        made(views=ViewsConfig())


def test_views_are_drawn(tmp_path: Path) -> None:
    source = volumes(labels=np.zeros(3, np.int64), classes=("brain",))
    draw_views(source, [0, 2], ViewMaker(MRI(), SCALE, VIEWS, 0), tmp_path / "views.png")
    assert (tmp_path / "views.png").read_bytes().startswith(b"\x89PNG")


def test_a_volume_of_a_region_is_that_of_its_row() -> None:
    source = volumes()
    found: Volume = made().volume(in_regions(source, 4), 9)
    np.testing.assert_array_equal(found.read((0, 0, 0), (10, 30, 28)), SCALE(source[2]))
