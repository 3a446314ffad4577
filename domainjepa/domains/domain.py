"""What a domain is: an intensity (deterministic) and views (random, each a physical nuisance)."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import albumentations as A
import numpy as np
from numpy.typing import NDArray

from domainjepa.config import IntensityConfig
from domainjepa.data.source import MEDICAL
from domainjepa.domains.intensity import Intensity
from domainjepa.domains.masks import missing_pixels
from domainjepa.domains.transforms.bands import fuse
from domainjepa.domains.transforms.latitude import Latitude
from domainjepa.domains.transforms.volumes import VolumeTransform, volume_transforms
from domainjepa.domains.view_spec import ViewSpec, ViewTransform
from domainjepa.errors import ConfigError, did_you_mean

Image = NDArray[Any]


MEDICAL_FORMATS = MEDICAL
OF_PATIENTS = frozenset({"radiography", "ct", "mri", "ultrasound", "histopathology"})
"""Domains whose pictures are of persons, whatever the file says."""


@dataclass(frozen=True)
class Evidence:
    """What a data set says of itself, for domains to judge by.

    Attributes:
        dtype: of the source.
        channels: of the source.
        words: names that came with the data (file, keys, classes); see `mentioned`.
        loader: the format's name, such as fits.
        modality: DICOM's word for what made the images, such as CT, where the format tells.
        low, high: least and greatest value of a few samples; 0 where none was looked at.
        zeros: share of their values that is exactly zero.
        volumetric: whether the samples are volumes.
    """

    dtype: np.dtype[Any]
    channels: int
    words: str = ""
    loader: str = ""
    modality: str | None = None
    low: float = 0.0
    high: float = 0.0
    zeros: float = 0.0
    volumetric: bool = False


class Domain(ABC):
    """One kind of image.

    Attributes:
        name: as in the registry.
        summary: one line for `domainjepa list domains`.
        registered_slices: whether slices of a volume lie on one grid, and up is up in all of them.

    Args:
        keep_colour: leave the ratios of the bands alone.
        without: names of transforms to leave out.
        settings: how stored values are stretched, where the user says so.
    """

    name: str
    summary: str
    registered_slices = False

    def __init__(
        self,
        *,
        keep_colour: bool = False,
        without: Sequence[str] = (),
        settings: IntensityConfig | None = None,
    ) -> None:
        self.keep_colour = keep_colour
        self.without = tuple(without)
        self.settings = settings or IntensityConfig()

    @classmethod
    @abstractmethod
    def suits(cls, evidence: Evidence) -> tuple[float, str]:
        """How well this domain suits the data, 0 to 1, and the reason in a phrase.

        The format's own word for the modality gives 1, names give 0.9 (0.95 those of a kind within
        another's, as micro-CT is CT), values less.
        """

    @abstractmethod
    def fit_intensity(self, samples: Iterable[Image]) -> Intensity:
        """The intensity for this data set, from a keyed selection of its training samples."""

    def missing(self, image: Image) -> NDArray[np.uint8] | None:
        """1 where the stored image (H, W, C) holds nothing; None where that is nowhere.

        What is not finite, unless a domain knows more; views are 0 there.
        """
        return missing_pixels(image)

    @abstractmethod
    def transforms(self, spec: ViewSpec) -> list[ViewTransform]:
        """The changes that make a view, in order; the first one crops to (size, size, C)."""

    def kept(self, spec: ViewSpec) -> list[ViewTransform]:
        """The transforms without those that the user leaves out.

        Raises:
            ConfigError: there is none of that name, or it is the crop.
        """
        # Some are of global views alone: local views must not refuse to leave them out.
        whole = self.transforms(replace(spec, local=False))
        steps = self.transforms(spec)
        self._check_without(list(dict.fromkeys(step.name for step in [*whole[1:], *steps[1:]])))
        return [step for step in steps if step.name not in self.without]

    def volume_transforms(self, spec: ViewSpec) -> list[VolumeTransform]:
        """The changes that make a view of a volume, in order; the first one is the crop."""
        return volume_transforms(self.name, spec)

    def kept_of_volumes(self, spec: ViewSpec) -> list[VolumeTransform]:
        """`kept`, of the transforms of volumes."""
        steps = self.volume_transforms(spec)
        self._check_without([step.name for step in steps[1:]])
        return [step for step in steps if step.name not in self.without]

    def _check_without(self, names: list[str]) -> None:
        for name in self.without:
            if name not in names:
                raise ConfigError(
                    f"views.without: the domain {self.name} has no transform {name!r} to leave out."
                    f"{did_you_mean(name, names)}"
                )

    def chain(self, spec: ViewSpec) -> A.Compose:
        """The transforms as one pipeline; give it its randomness with `set_random_state`."""
        crop, *steps = fuse([step.transform for step in self.kept(spec)])
        if spec.dtype == np.uint8:
            files = [step for step in steps if isinstance(step, A.ImageCompression)]
            tones = [step for step in steps if step not in files]
            steps = [*([Latitude(tones)] if tones else []), *files]
        return A.Compose([crop, *steps], is_check_shapes=False)


def named(
    evidence: Evidence, modalities: Sequence[str], stems: Iterable[str]
) -> tuple[float, str] | None:
    """The judgement where the format, or a name that came with the data, says what it is.

    Args:
        evidence: of the data.
        modalities: DICOM's words (PS3.3 C.7.3.1.1.1) for this kind of image.
        stems: see `mentioned`.
    """
    if evidence.modality in modalities:
        return 1.0, f"the data gives its modality as {evidence.modality}"
    found = mentioned(stems, evidence.words)
    return (0.9, f"the names that came with the data say {found}") if found else None


def mentioned(stems: Iterable[str], words: str) -> str:
    """Those of the stems with which a word begins, for a reason; at most four.

    Args:
        stems: of letters, lower case; a space stands for whatever separates two words.
            A stem that ends in a space is a whole word.
        words: of any spelling: `Galaxy10_DECaLS.h5` has the words galaxy, decals and h.
    """
    text = " " + re.sub(r"[^a-z]+", " ", words.lower()) + " "
    return ", ".join([stem for stem in stems if f" {stem}" in text][:4]).strip()
