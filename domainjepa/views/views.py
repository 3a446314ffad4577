"""Views: source -> intensity -> V random views, each a pure function of its key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from domainjepa.config import ViewsConfig
from domainjepa.data.source import Image
from domainjepa.domains.domain import Domain
from domainjepa.domains.intensity import Intensity
from domainjepa.domains.masks import masked_view, missing_pixels
from domainjepa.domains.view_spec import ViewSpec, ViewTransform
from domainjepa.errors import ConfigError
from domainjepa.views.keys import seed_randomness, view_key

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
            seed_randomness(chain, view_key(self.seed, epoch, sample, view))
            made.append(masked_view(chain, image, missing))
        return made
