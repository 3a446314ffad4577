"""Whether views are burnt out: what they newly clip, and how much local contrast they keep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import albumentations as A
import cv2
import numpy as np

from domainjepa.data.sampling import key
from domainjepa.data.source import Image
from domainjepa.domains.domain import Domain
from domainjepa.domains.view_spec import ViewSpec
from domainjepa.views.keys import seed_randomness
from domainjepa.views.views import ViewMaker

MOST_CLIPPED, LEAST_CONTRAST = 0.05, 0.5
"""What 99 of 100 views stay below, and above."""
NEIGHBOURHOOD = 8
"""Sides of the squares that local contrast is measured in, in shares of the view's side."""
FLAT = 0.01
"""Crops of less contrast, on the scale on which 1 is white, have none to keep."""


@dataclass(frozen=True)
class Tones:
    """Of some views.

    Attributes:
        clipped: share of values at black or white, beyond the crop's; the 99th percentile.
        contrast: mean local standard deviation over the crop's; the first percentile.
    """

    clipped: float
    contrast: float

    @property
    def well(self) -> bool:
        """No view is burnt out."""
        return self.clipped <= MOST_CLIPPED and self.contrast >= LEAST_CONTRAST


def tones(domain: Domain, images: Sequence[Image], spec: ViewSpec, draws: int = 200) -> Tones:
    """Views against their crops, drawn by key; what covers a part on purpose is left out.

    Args:
        domain: of the views.
        images: (H, W, C) after the intensity, uint8 or float32; views are made of them in turn.
        spec: of the views.
        draws: how many.
    """
    steps = domain.transforms(replace(spec, local=False))
    covering = [step.name for step in steps if step.covers]
    without = sorted({*domain.without, *covering})
    bare = type(domain)(keep_colour=domain.keep_colour, without=without, settings=domain.settings)
    chain = bare.chain(spec)
    crop = A.Compose([bare.kept(spec)[0].transform], is_check_shapes=False)
    clipped, contrast = [], []
    for draw in range(draws):
        image = images[draw % len(images)]
        made = []
        for steps_of in (chain, crop):  # the crop is drawn first, so it is the same
            seed_randomness(steps_of, key("tones", draw))
            made.append(steps_of(image=image)["image"])
        view, cut = made
        clipped.append(at_the_ends(view) - at_the_ends(cut))
        if (there := local_contrast(cut)) >= FLAT:
            contrast.append(local_contrast(view) / there)
    return Tones(
        float(np.quantile(clipped, 0.99)),
        float(np.quantile(contrast, 0.01)) if contrast else 1.0,
    )


def tones_of(maker: ViewMaker, samples: Sequence[Image]) -> str:
    """In words, of stored samples."""
    images = [maker.intensity(sample) for sample in samples]
    kinds = [False] if maker.views.num_local == 0 else [False, True]
    found = [tones(maker.domain, images, maker.spec(images[0], local=local)) for local in kinds]
    clipped, contrast = max(one.clipped for one in found), min(one.contrast for one in found)
    told = (
        f"of 99 in 100 views at most {clipped:.1%} of the pixels are newly black or white, and at "
        f"least {contrast:.0%} of the local contrast is kept"
    )
    if all(one.well for one in found):
        return told
    return f"{told}: look whether the picture is still there, or leave a change out (views.without)"


def at_the_ends(image: Image) -> float:
    """Share of the values of an 8-bit image that are black or white; floats have no ends."""
    if image.dtype != np.uint8:
        return 0.0
    return float(np.mean((image == 0) | (image == 255)))


def local_contrast(image: Image) -> float:
    """Mean standard deviation in small squares of the mean over bands, 1 for white."""
    white = 255 if image.dtype == np.uint8 else 1
    grey = image.mean(axis=2, dtype=np.float64) / white
    side = max(3, len(image) // NEIGHBOURHOOD) | 1
    mean, square = (cv2.blur(one, (side, side)) for one in (grey, grey * grey))
    return float(np.sqrt(np.clip(square - mean * mean, 0, None)).mean())
