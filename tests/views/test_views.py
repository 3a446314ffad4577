from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import albumentations as A
import numpy as np
import pytest
import torch
from scipy.stats import chisquare, kstest
from torch.utils.data import DataLoader

from domainjepa.config import ViewsConfig
from domainjepa.data.sampling import KeyedBatches
from domainjepa.data.source import Source
from domainjepa.domains.astronomy import Astronomy
from domainjepa.domains.domain import Domain
from domainjepa.domains.intensity import Identity
from domainjepa.domains.natural import Natural
from domainjepa.domains.proposal import propose_domain
from domainjepa.errors import ConfigError
from domainjepa.views.dataset import ViewDataset, whole
from domainjepa.views.drawing import draw_views
from domainjepa.views.keys import OneStream, seed_randomness
from domainjepa.views.sizes import resolve_sizes
from domainjepa.views.views import ViewMaker

SIZES = ViewsConfig(num_global=2, num_local=3, global_size=24, local_size=12)


@dataclass(kw_only=True)
class Memory(Source):
    images: Sequence[np.ndarray] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.images)

    def __getitems__(self, indices: Sequence[int]) -> list[np.ndarray]:
        return [self.images[index] for index in indices]

    def content_key(self) -> str:
        return "memory"


def memory(count: int = 12, name: str = "galaxies", **settings: Any) -> Memory:
    images = np.random.default_rng(0).integers(0, 256, (count, 30, 30, 3), dtype=np.uint8)
    return Memory(
        name=name, loader="memory", shape=(30, 30, 3), dtype=images.dtype, images=images, **settings
    )


def maker(domain: Domain | None = None, views: ViewsConfig = SIZES, seed: int = 0) -> ViewMaker:
    return ViewMaker(domain or Astronomy(), Identity(), views, seed)


@pytest.mark.parametrize(
    ("shape", "stride", "fixed", "multiple", "expected"),
    [
        ((48, 48, 3), 32, False, 1, (32, 14)),
        ((64, 64, 3), 32, False, 1, (64, 28)),
        ((69, 69, 3), 32, False, 1, (64, 28)),
        ((256, 256, 3), 32, False, 1, (224, 98)),
        ((256, 256, 3), 16, False, 16, (224, 96)),
        ((300, 100, 1), 32, False, 1, (96, 42)),
        ((28, 28, 1), 32, False, 1, (32, 14)),
        ((28, 28, 1), 8, False, 8, (24, 8)),
        ((28, 28, 1), 14, False, 14, (28, 14)),
        ((256, 256, 3), 32, True, 1, (224, 224)),
        ((3, 3, 1), 1, False, 1, (8, 8)),
    ],
)
def test_sizes_follow_from_data_and_backbone(
    shape: tuple[int, int, int], stride: int, fixed: bool, multiple: int, expected: tuple[int, int]
) -> None:
    sizes = resolve_sizes(ViewsConfig(), shape, stride, fixed, multiple)
    assert (sizes.global_size, sizes.local_size) == expected


def test_sizes_that_are_set_stay() -> None:
    sizes = resolve_sizes(ViewsConfig(global_size=50), (256, 256, 3), 32, False)
    assert (sizes.global_size, sizes.local_size) == (50, 22)
    sizes = resolve_sizes(ViewsConfig(local_size=64, num_local=4), (256, 256, 3), 32, False, 16)
    assert (sizes.global_size, sizes.local_size, sizes.num_local) == (224, 64, 4)


@pytest.mark.parametrize(
    ("views", "fixed", "message"),
    [
        (ViewsConfig(global_size=50), False, r"global_size = 50.*multiples of 16.*48"),
        (ViewsConfig(local_size=50), False, r"local_size = 50.*multiples of 16.*48"),
        (ViewsConfig(local_size=96), True, r"local_size = 96.*224 px alone"),
    ],
)
def test_sizes_that_no_backbone_takes_are_refused(
    views: ViewsConfig, fixed: bool, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve_sizes(views, (256, 256, 3), 32, fixed, 16)


def test_more_channels_than_can_be_warped_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"512 channels, and there are 600.*data\.bands"):
        maker()(np.zeros((40, 40, 600), np.uint8), epoch=0, sample=0)


def test_unresolved_sizes_are_refused() -> None:
    with pytest.raises(ConfigError, match="resolve"):
        maker(views=ViewsConfig())(memory()[0], epoch=0, sample=0)


@pytest.mark.parametrize("domain", [Astronomy(), Natural()], ids=lambda one: one.name)
def test_a_view_is_a_function_of_its_key(domain: Domain) -> None:
    image = memory()[0]
    first = maker(domain)(image, epoch=3, sample=5)
    assert [view.shape for view in first] == [(24, 24, 3)] * 2 + [(12, 12, 3)] * 3
    other = maker(domain)
    other(image, epoch=0, sample=0)
    other(memory()[1], epoch=3, sample=4)
    for one, again in zip(first, other(image, epoch=3, sample=5), strict=True):
        np.testing.assert_array_equal(one, again)
    for changed in (
        other(image, epoch=4, sample=5),
        other(image, epoch=3, sample=6),
        maker(domain, seed=1)(image, epoch=3, sample=5),
    ):
        assert all((one != two).any() for one, two in zip(first, changed, strict=True))
    assert (first[0] != first[1]).any()


def test_transforms_are_drawn_independently() -> None:
    """albumentations' own seeding starts every transform on the same numbers."""
    made = maker()
    chain = made.domain.chain(made.spec(memory()[0], local=False))
    blur, noise = chain.transforms[1].steps[:2]
    drawn = []
    for seed in range(400):
        seed_randomness(chain, seed)
        chain(image=memory(1)[0])
        drawn.append((bool(blur.params), bool(noise.params)))
    both = np.mean([one and other for one, other in drawn])
    assert both == pytest.approx(0.25, abs=0.07)
    np.testing.assert_allclose(np.mean(drawn, axis=0), 0.5, atol=0.08)


def test_a_batch_has_the_promised_shapes() -> None:
    source = memory(labels=np.arange(12, dtype=np.int64) % 4)
    made = maker()
    batch = ViewDataset(source, made).__getitems__([(0, 3), (1, 7)])
    assert batch["global"].shape == (2, 2, 3, 24, 24)
    assert batch["local"].shape == (3, 2, 3, 12, 12)
    assert batch["global"].dtype == torch.uint8
    assert batch["global"].flatten(0, 1).is_contiguous(memory_format=torch.channels_last)
    assert batch["labels"].tolist() == [3, 3]
    assert batch["rows"].tolist() == [3, 7]
    views = made(source[7], epoch=1, sample=7)
    for number, view in enumerate(views):
        stored = batch["global"][number, 1] if number < 2 else batch["local"][number - 2, 1]
        np.testing.assert_array_equal(stored.permute(1, 2, 0), view)


def test_what_is_not_there_is_absent() -> None:
    views = SIZES.model_copy(update={"num_local": 0})
    batch = ViewDataset(memory(), maker(views=views)).__getitems__([(0, 0)])
    assert set(batch) == {"global", "rows"}


def test_images_of_any_size_make_views_of_one_size() -> None:
    rng = np.random.default_rng(0)
    source = memory()
    source.images = [
        rng.random((h, w, 3), dtype=np.float32) - 0.5 for h, w in ((9, 9), (24, 70), (400, 90))
    ]
    batch = ViewDataset(source, maker()).__getitems__([(0, 0), (0, 1), (0, 2)])
    assert batch["global"].shape == (2, 3, 3, 24, 24)
    assert batch["global"].dtype == torch.float32
    assert torch.isfinite(batch["global"]).all()


def batches(dataset: ViewDataset, workers: int) -> list[dict[str, torch.Tensor]]:
    sampler = KeyedBatches(np.arange(12), batch_size=4, seed=1, steps=range(4))
    loader = DataLoader(
        dataset, batch_sampler=sampler, collate_fn=whole, num_workers=workers, prefetch_factor=None
    )
    return list(loader)


@pytest.mark.parametrize("domain", [Astronomy(), Natural()], ids=lambda one: one.name)
def test_any_number_of_workers_makes_identical_views(domain: Domain) -> None:
    dataset = ViewDataset(memory(labels=np.zeros(12, np.int64)), maker(domain))
    expected = batches(dataset, 0)
    assert len(expected) == 4
    for workers in (1, 2):
        for one, other in zip(expected, batches(dataset, workers), strict=True):
            assert one.keys() == other.keys()
            for name in one:
                assert torch.equal(one[name], other[name])


def test_a_used_dataset_can_be_sent_to_another_process() -> None:
    dataset = ViewDataset(memory(), maker())
    batch = dataset.__getitems__([(0, 1)])
    again = pickle.loads(pickle.dumps(dataset)).__getitems__([(0, 1)])  # noqa: S301
    assert torch.equal(batch["global"], again["global"])


def test_the_card_says_which_domain() -> None:
    source = memory(name="galaxies", card={"name": "holidays", "domain": "natural"})
    assert propose_domain(source) == ("natural", "the card 'holidays' says so")


@pytest.mark.parametrize(
    ("settings", "expected", "reason"),
    [
        ({"name": "galaxyzoo1"}, "astronomy", "galax"),
        ({"name": "survey", "classes": ("edge-on", "elliptical")}, "astronomy", "elliptical"),
        ({"name": "survey", "keys": ("images", "objid")}, "astronomy", "objid"),
        ({"name": "holidays"}, "natural", "8-bit RGB"),
    ],
)
def test_a_domain_is_proposed_with_its_reason(
    settings: dict[str, Any], expected: str, reason: str
) -> None:
    domain, why = propose_domain(memory(**settings))
    assert domain == expected
    assert reason in why


@pytest.mark.parametrize("floats", [False, True])
def test_views_are_drawn(floats: bool, tmp_path: Any) -> None:
    source = memory(labels=np.zeros(12, np.int64), classes=("spiral",))
    if floats:
        source.images = [image.astype(np.float32) / 255 for image in source.images]
    draw_views(source, [0, 5], maker(), tmp_path / "views.png")
    assert (tmp_path / "views.png").read_bytes().startswith(b"\x89PNG")


def test_one_key_sets_python_and_numpy_alike() -> None:
    stream = OneStream()

    def drawn() -> list[object]:
        numbers: list[object] = [stream.random(), stream.generator.normal(), stream.randint(0, 9)]
        return [*numbers, stream.choice("abc"), stream.getrandbits(70), stream.gauss(0, 1)]

    stream.start(5)
    first = drawn()
    assert drawn() != first
    stream.start(5)
    assert drawn() == first
    stream.start(6)
    assert drawn() != first


def test_the_stream_is_uniform_and_keys_are_independent() -> None:
    stream = OneStream()
    numbers = np.empty((2000, 2))
    bits = np.empty(2000, int)
    for key_ in range(2000):
        stream.start(key_)
        numbers[key_] = stream.random(), stream.random()
        bits[key_] = stream.getrandbits(3)
    assert kstest(numbers[:, 0], "uniform").pvalue > 1e-3
    assert kstest(numbers[:, 1], "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(numbers[:-1, 0], numbers[1:, 0])[0, 1]) < 0.08
    assert abs(np.corrcoef(numbers.T)[0, 1]) < 0.08
    assert chisquare(np.bincount(bits, minlength=8)).pvalue > 1e-3


def test_a_chain_that_was_copied_keeps_its_views() -> None:
    image = np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8)
    chain = A.Compose([A.RandomResizedCrop((16, 16)), A.ColorJitter(p=0.5), A.GaussNoise(p=1)])
    seed_randomness(chain, 11)
    expected = chain(image=image)["image"]
    copy = pickle.loads(pickle.dumps(chain))  # noqa: S301
    for one in (copy, chain):
        seed_randomness(one, 11)
        np.testing.assert_array_equal(one(image=image)["image"], expected)
