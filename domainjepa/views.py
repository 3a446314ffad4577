"""Views: source -> intensity -> V random views, each a pure function of its key."""

from __future__ import annotations

import hashlib
import math
import os
import random
from collections.abc import Iterator, Sequence
from typing import Any

import albumentations as A
import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from domainjepa.config import ViewsConfig
from domainjepa.data.sampling import key
from domainjepa.data.source import Source
from domainjepa.domains.domain import Domain, ViewSpec, ViewTransform
from domainjepa.domains.intensity import Intensity
from domainjepa.domains.masks import masked_view, missing_pixels
from domainjepa.errors import ConfigError
from domainjepa.volume_views import VolumeViews, draw_volume_views

Image = NDArray[Any]

MOST_CHANNELS = 512
"""Of an image that OpenCV warps and filters."""


def resolve_sizes(
    views: ViewsConfig,
    image_shape: tuple[int, ...],
    stride: int,
    fixed_size: bool,
    multiple: int = 1,
    largest: int = 224,
) -> ViewsConfig:
    """The settings with both sizes as numbers.

    Args:
        views: sizes that are set stay as they are.
        image_shape: (H, W, C) or (D, H, W, C) of a sample.
        stride: pixels of the image to one position of the backbone's last feature map.
        fixed_size: the backbone takes one size alone, so local views get the global size.
        multiple: the backbone takes only multiples of this; 1 where any size will do.
        largest: global size by default.

    Raises:
        ConfigError: a size that was set is none that the backbone takes.
    """
    smallest = math.ceil(8 / multiple) * multiple
    sides = image_shape[:-1]
    size = views.global_size
    if size is None:
        size = max(min(*sides, largest) // stride, 1) * stride
        size = max(size // multiple * multiple, smallest)
    local = views.local_size
    if local is None:
        local = size if fixed_size else max(round(size * 7 / 16 / multiple) * multiple, smallest)
    if fixed_size and local != size:
        raise ConfigError(
            f"views.local_size = {local}: this backbone takes images of {size} px alone. Leave "
            "local_size out: local views are then drawn at that size."
        )
    for name, value in (("global_size", size), ("local_size", local)):
        if value % multiple:
            raise ConfigError(
                f"views.{name} = {value}: this backbone takes multiples of {multiple}, such as "
                f"{max(value // multiple, 1) * multiple}."
            )
    return views.model_copy(update={"global_size": size, "local_size": local})


class ViewMaker:
    """Makes the views of one image.

    Args:
        domain: its transforms.
        intensity: what every image goes through first.
        views: with both sizes resolved.
        seed: of the run.
    """

    def __init__(self, domain: Domain, intensity: Intensity, views: ViewsConfig, seed: int) -> None:
        self.domain = domain
        self.intensity = intensity
        self.views = views
        self.seed = seed
        self._chains: dict[ViewSpec, A.Compose] = {}

    def spec(self, image: Image, *, local: bool) -> ViewSpec:
        """What a view of this image, after the intensity, has to be."""
        size = self.views.local_size if local else self.views.global_size
        if size is None:
            raise ConfigError("the sizes of the views are not resolved yet: see resolve_sizes")
        if image.shape[2] > MOST_CHANNELS:
            raise ConfigError(
                f"views are made of at most {MOST_CHANNELS} channels, and there are "
                f"{image.shape[2]}: choose some by data.bands, or fewer data.neighbours or "
                "intensity.windows."
            )
        scale = self.views.local_scale if local else self.views.global_scale
        return ViewSpec(size, scale, image.shape[2], image.dtype, local)

    def transforms(self, image: Image, *, local: bool = False) -> list[ViewTransform]:
        """The transforms that make a view of this image, in order, each with its reason."""
        return self.domain.kept(self.spec(image, local=local))

    def __call__(self, image: Image, *, epoch: int, sample: int) -> list[Image]:
        """The views of one image, global ones first.

        Args:
            image: (H, W, C) in the source's dtype.
            epoch: every epoch has other views.
            sample: the row in the source.

        Returns:
            num_global (S, S, C) and num_local (s, s, C) arrays, uint8 or float32.
        """
        missing = missing_pixels(image)
        image = self.intensity(image)
        made = []
        for view in range(self.views.num_global + self.views.num_local):
            spec = self.spec(image, local=view >= self.views.num_global)
            chain = self._chains.get(spec)
            if chain is None:
                chain = self._chains[spec] = self.domain.chain(spec)
            seed_randomness(chain, key(self.seed, "views", epoch, sample, view))
            made.append(masked_view(chain, image, missing))
        return made


class OneStream(random.Random):
    """Python's and numpy's random numbers from one generator, which a key sets anew.

    A state that is written into a generator takes a tenth of the time of a new generator and of
    Python's own seeding together, which is a third of a small view.
    """

    def __init__(self) -> None:
        self.generator = np.random.Generator(np.random.PCG64(0))
        super().__init__()

    def start(self, draw_key: int) -> None:
        """From here on, the numbers are those of this key."""
        words = hashlib.blake2b(draw_key.to_bytes(8, "little"), digest_size=32).digest()
        state = {
            "state": int.from_bytes(words[:16], "little"),
            "inc": int.from_bytes(words[16:], "little") | 1,  # PCG64 wants it odd
        }
        self.generator.bit_generator.state = {
            "bit_generator": "PCG64",
            "state": state,
            "has_uint32": 0,
            "uinteger": 0,
        }
        self.gauss_next = None  # Python draws normal numbers in pairs, and keeps the second

    def random(self) -> float:
        return self.generator.random()

    def getrandbits(self, k: int, /) -> int:
        return int.from_bytes(self.generator.bytes(-(-k // 8)), "little") >> -k % 8

    def __reduce__(self) -> tuple[type[OneStream], tuple[()]]:
        return OneStream, ()  # its state is written before each use


def seed_randomness(chain: A.Compose | A.BasicTransform, draw_key: int) -> None:
    """Make the next call a pure function of the key.

    One stream runs through the whole chain. `set_random_seed` would start every transform on the
    same numbers, and "noise" would be drawn exactly when "blur" is.
    """
    stream = chain.py_random
    # A copy of a chain has a copy of the generator, which is not the one of its copied stream.
    if not isinstance(stream, OneStream) or chain.random_generator is not stream.generator:
        stream = OneStream()
        chain.set_random_state(stream.generator, stream)
    stream.start(draw_key)


class ViewDataset(Dataset[dict[str, torch.Tensor]]):
    """Batches of views: DataLoader(dataset, batch_sampler=KeyedBatches(…), collate_fn=whole)."""

    def __init__(self, source: Source, maker: ViewMaker) -> None:
        self.source = source
        self.maker = maker
        self.volumes = VolumeViews(maker) if source.volumetric else None

    def __len__(self) -> int:
        return len(self.source)

    def __getitems__(self, draws: Sequence[tuple[int, int]]) -> dict[str, torch.Tensor]:
        """One batch.

        Args:
            draws: N pairs (epoch, row).

        Returns:
            "global": (V_g, N, C, H, W) uint8 or float32, channels last in memory, or (V_g, N, C, D,
            H, W) float32; "local": likewise with V_l smaller views, absent without local views;
            "labels": (N,) int64, absent where the source has none; "rows": (N,) int64;
            "unreadable": those rows that others stand in for, absent where there are none.
        """
        cv2.setNumThreads(0)  # workers run beside each other; a pool in each would only fight
        rows = [row for _, row in draws]
        num_global = self.maker.views.num_global
        batch: dict[str, torch.Tensor] = {"rows": torch.tensor(rows)}
        parts: dict[str, NDArray[Any]] = {}
        for position, made in enumerate(self._made(draws)):
            for name, views in (("global", made[:num_global]), ("local", made[num_global:])):
                for number, view in enumerate(views):
                    if name not in parts:
                        parts[name] = np.empty((len(views), len(draws), *view.shape), view.dtype)
                    parts[name][number, position] = view
        for name, part in parts.items():
            stacked = torch.from_numpy(part)
            batch[name] = stacked if self.volumes else stacked.permute(0, 1, 4, 2, 3)
        lost = self.source.unreadable(rows)
        if lost:
            batch["unreadable"] = torch.tensor(lost)
        if self.source.labels is not None:
            # A stand-in has another label than the row that it stands for: it counts as unlabelled.
            labels = np.where(np.isin(rows, lost), -1, self.source.labels[rows])
            batch["labels"] = torch.from_numpy(labels)
        return batch

    def _made(self, draws: Sequence[tuple[int, int]]) -> Iterator[list[Image]]:
        """The views of each draw; of volumes only what a draw shows is read."""
        if self.volumes is not None:
            for epoch, row in draws:
                yield self.volumes(self.volumes.volume(self.source, row), epoch=epoch, sample=row)
            return
        images = self.source.__getitems__([row for _, row in draws])
        for (epoch, row), image in zip(draws, images, strict=True):
            yield self.maker(image, epoch=epoch, sample=row)


def whole(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The collate function: a `ViewDataset` gives whole batches already."""
    return batch


def draw_views(
    source: Source, rows: Sequence[int], maker: ViewMaker, path: str | os.PathLike[str]
) -> None:
    """A picture for the specialist: for each sample the original, the intensity, each transform
    alone, and whole views.

    Args:
        source: of the samples.
        rows: which samples.
        maker: of the views.
        path: of the PNG to write.
    """
    from domainjepa.pictures import montage

    if source.volumetric:
        draw_volume_views(source, rows, VolumeViews(maker), path)
        return
    pictures: list[list[Image | None]] = []
    titles: list[str] = []
    for row, original in zip(rows, source.__getitems__(list(rows)), strict=True):
        image = maker.intensity(original)
        line: list[Image | None] = [original, _shown(image)]
        titles = ["original", "intensity"]
        for step in maker.transforms(image):
            seed_randomness(step.transform, key(maker.seed, "draw", step.name, row))
            line.append(_shown(step.transform(image=image, force_apply=True)["image"]))
            titles.append(step.name)
        line += [_shown(view) for view in maker(original, epoch=0, sample=row)]
        titles += ["global view"] * maker.views.num_global + ["local view"] * maker.views.num_local
        pictures.append(line)
    montage(
        pictures,
        path,
        row_titles=source.class_names(rows),
        column_titles=titles,
        title=maker.domain.name,
    )


def _shown(image: Image) -> NDArray[np.uint8]:
    """One scale, -0.1 to 1.1, for all of a row, or a change of brightness would not show."""
    if image.dtype == np.uint8:
        return image
    return np.clip((image + 0.1) * (255 / 1.2), 0, 255).astype(np.uint8)
