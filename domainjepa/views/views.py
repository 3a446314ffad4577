"""Views: source -> intensity -> V random views, each a pure function of its key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from domainjepa.config import ViewsConfig
from domainjepa.data.source import Image, Source
from domainjepa.domains.domain import Domain
from domainjepa.domains.intensity import Intensity
from domainjepa.domains.masks import channels_there, masked_view
from domainjepa.domains.view_spec import ViewSpec, ViewTransform
from domainjepa.errors import ConfigError
from domainjepa.views.channels import left_out
from domainjepa.views.keys import ApartCrop, seed_randomness, view_key
from domainjepa.views.related import Siblings, read_related

if TYPE_CHECKING:
    import albumentations as A

MOST_CHANNELS = 512
"""Of an image that OpenCV warps and filters."""


class ViewMaker:
    """Makes the views of one image.

    Args:
        domain: its transforms.
        intensity: what every image goes through first.
        views: with both sizes resolved.
        seed: of the run.
        siblings: of whom other views than the first are; by default of the image itself.
    """

    def __init__(
        self,
        domain: Domain,
        intensity: Intensity,
        views: ViewsConfig,
        seed: int,
        siblings: Siblings | None = None,
    ) -> None:
        self.domain = domain
        self.intensity = intensity
        self.views = views
        self.seed = seed
        self.siblings = siblings
        self._chains: dict[ViewSpec, A.Compose] = {}
        self._apart: dict[ViewSpec, ApartCrop] = {}

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

    def read(self, source: Source, draws: Sequence[tuple[int, int]]) -> list[list[Image]]:
        """For each draw (epoch, row) what its views are made of: its image, then its siblings'."""
        others = self.views.num_global + self.views.num_local - 1
        return read_related(source, self.siblings, self.seed, draws, others)

    def __call__(
        self, image: Image, *, epoch: int, sample: int, siblings: Sequence[Image] = ()
    ) -> list[Image]:
        """The views of one image, global ones first; all but the first of its siblings in turn,
        where there are some.

        Args:
            image: (H, W, C) in the source's dtype.
            epoch: every epoch has other views.
            sample: the row in the source.
            siblings: images like it.

        Returns:
            num_global (S, S, C) and num_local (s, s, C) arrays, uint8 or float32.
        """
        every = (image, *siblings)
        seen = [(self.intensity(one), self.domain.missing(one), one.shape[2]) for one in every]
        together = bool(siblings) and self.views.related_crops == "together"
        made = []
        for view in range(self.views.num_global + self.views.num_local):
            shown, missing, stored = seen[
                1 + (view - 1) % len(siblings) if view and siblings else 0
            ]
            spec = self.spec(shown, local=view >= self.views.num_global)
            own = view_key(self.seed, epoch, sample, view)
            chain: A.Compose | ApartCrop
            if view and together and not spec.local:
                chain = self._cropped_apart(spec)
                chain.seed(view_key(self.seed, epoch, sample, 0), own)
            else:
                chain = self._chain(spec)
                seed_randomness(chain, own)
            shows = masked_view(chain, shown, missing)
            if self.views.channel_dropout:
                there = channels_there(missing, stored)
                out = left_out(self.views.channel_dropout, there, own)
                # The intensity may make several channels of a stored one.
                shows[..., np.repeat(out, shows.shape[2] // stored)] = 0
            made.append(shows)
        return made

    def _chain(self, spec: ViewSpec) -> A.Compose:
        if spec not in self._chains:
            self._chains[spec] = self.domain.chain(spec)
        return self._chains[spec]

    def _cropped_apart(self, spec: ViewSpec) -> ApartCrop:
        if spec not in self._apart:
            self._apart[spec] = ApartCrop(self.domain.chain(spec))
        return self._apart[spec]
