"""What varies in volumes: the nuisances of each kind, and how a view of a volume is turned.

Values after the intensity lie around 0..1, as for images; transforms of values are MONAI's, which
know the physics of MR and CT, and our own of what MONAI does not know. A domain of one's own
overrides `Domain.volume_transforms`.

Left out on purpose: mirrors of bodies, which have a left and a right; elastic deformation, which
changes shapes that a radiologist measures.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

from domainjepa.domains.transforms.sections import MissingSections, SectionDrift
from domainjepa.domains.transforms.tomography import VolumeCupping, VolumeRings
from domainjepa.domains.transforms.volume_change import VolumePhotonNoise
from domainjepa.domains.view_spec import ViewSpec
from domainjepa.errors import MissingExtra

Matrix = NDArray[np.float64]


class Pose(ABC):
    """How the cube of a view is turned, or mirrored."""

    @abstractmethod
    def draw(self, random: np.random.Generator, spacing: ArrayLike = (1.0, 1.0, 1.0)) -> Matrix:
        """(3, 3) orthonormal, from the view's axes D, H, W to the volume's.

        Args:
            random: of the view.
            spacing: millimetres from voxel to voxel of the volume, along D, H and W.
        """


@dataclass(frozen=True)
class Turn(Pose):
    """Rotation by angles from -degrees to degrees about all three axes; 180 for any orientation."""

    degrees: float

    def draw(self, random: np.random.Generator, spacing: ArrayLike = (1.0, 1.0, 1.0)) -> Matrix:
        if self.degrees >= 180:
            any_turn = Rotation.from_quat(random.normal(size=4))  # uniform on the sphere of S^3
            return np.asarray(any_turn.as_matrix())
        angles = random.uniform(-self.degrees, self.degrees, 3)
        return np.asarray(Rotation.from_euler("xyz", angles, degrees=True).as_matrix())


@dataclass(frozen=True)
class Mirror(Pose):
    """Each of these axes (of D, H, W) reversed in half of the views."""

    axes: tuple[int, ...]

    def draw(self, random: np.random.Generator, spacing: ArrayLike = (1.0, 1.0, 1.0)) -> Matrix:
        signs = np.ones(3)
        signs[list(self.axes)] = random.choice((-1.0, 1.0), len(self.axes))
        return np.diag(signs)


@dataclass(frozen=True)
class Symmetries(Pose):
    """One of the 48 rotations and reflections of a cube, of those that take each axis to one of
    like resolution: all of them for cubic voxels; the 16 that keep sections in their plane where
    sections lie farther apart than pixels; 8 where all spacings differ.

    Args:
        alike: spacings whose ratio is at most this are of like resolution.
    """

    alike: float = 1.25

    def draw(self, random: np.random.Generator, spacing: ArrayLike = (1.0, 1.0, 1.0)) -> Matrix:
        ratios = np.abs(np.subtract.outer(*[np.log(np.asarray(spacing, np.float64))] * 2))
        like = ratios <= np.log(self.alike) + 1e-9
        orders = [order for order in permutations(range(3)) if like[range(3), order].all()]
        matrix = np.zeros((3, 3))
        matrix[range(3), orders[random.integers(len(orders))]] = random.choice((-1.0, 1.0), 3)
        return matrix


@dataclass(frozen=True)
class VolumeTransform:
    """One random change of a view of a volume.

    Attributes:
        name: a word or two.
        nuisance: the physical reason.
        transform: a `Pose`, which the one interpolation of the view makes; or a random change of
            values, (C, D, H, W) to the same: MONAI's, or a `VolumeChange`. None for the crop.
    """

    name: str
    nuisance: str
    transform: Any


def volume_transforms(domain: str, spec: ViewSpec) -> list[VolumeTransform]:
    """The changes that make a view of a volume of this domain; the first one is the crop.

    Raises:
        MissingExtra: without MONAI.
    """
    try:
        import monai.transforms as monai
    except ImportError as error:
        raise MissingExtra("monai", "volumes", "views of volumes") from error
    crop = VolumeTransform("crop", "framing and distance, in millimetres", None)
    return [crop, *_OF_DOMAIN.get(domain, _any)(spec, monai)]


def _blur(spec: ViewSpec, monai: Any, why: str) -> VolumeTransform:
    # As much of the object in a small view as in a large one.
    sigma = (0.2, max(0.5, spec.size / 64))
    smooth = monai.RandGaussianSmooth(sigma, sigma, sigma, prob=0.5)
    return VolumeTransform("blur", why, smooth)


def _noise(std: float, monai: Any, why: str) -> VolumeTransform:
    return VolumeTransform("noise", why, monai.RandGaussianNoise(prob=0.5, std=std))


def _levels(gain: float, offset: float, monai: Any, why: str) -> list[VolumeTransform]:
    scale = monai.RandScaleIntensity(factors=gain, prob=0.8, channel_wise=True)
    shift = monai.RandShiftIntensity(offsets=offset, prob=0.8, channel_wise=True)
    return [VolumeTransform("gain", why, scale), VolumeTransform("offset", why, shift)]


def _mri(spec: ViewSpec, monai: Any) -> list[VolumeTransform]:
    bias = monai.RandBiasField(degree=3, coeff_range=(-0.3, 0.3), prob=0.8)
    return [
        VolumeTransform("rotation", "how the patient lies", Turn(15.0)),
        VolumeTransform("bias field", "sensitivity of the coil", bias),
        VolumeTransform(
            "gamma",
            "echo and repetition time",
            monai.RandAdjustContrast(prob=0.5, gamma=(0.7, 1.5)),
        ),
        *_levels(0.3, 0.05, monai, "receiver gain, arbitrary units"),
        _blur(spec, monai, "resolution"),
        VolumeTransform(
            "Gibbs", "truncated k-space", monai.RandGibbsNoise(prob=0.3, alpha=(0.0, 0.6))
        ),
        _noise(0.08, monai, "thermal noise"),
    ]


def _ct(spec: ViewSpec, monai: Any) -> list[VolumeTransform]:
    return [
        VolumeTransform("rotation", "how the patient lies", Turn(15.0)),
        # Hounsfield units are calibrated: little is left to vary but contrast agent and tube.
        *_levels(0.15, 0.05, monai, "tube voltage, contrast agent, calibration"),
        _blur(spec, monai, "reconstruction kernel, slice thickness"),
        _noise(0.1, monai, "dose"),
    ]


def _electron(spec: ViewSpec, monai: Any) -> list[VolumeTransform]:
    return [
        VolumeTransform("rotation", "orientation and parity of the block", Symmetries()),
        _blur(spec, monai, "defocus, thickness of the sections, spot of the tube"),
        VolumeTransform("cupping", "hardening of the beam", VolumeCupping()),
        VolumeTransform("drift", "stain, beam and detector, section by section", SectionDrift()),
        *_levels(0.25, 0.06, monai, "stain, beam current, detector"),
        VolumeTransform("shot noise", "counted electrons, or photons", VolumePhotonNoise()),
        VolumeTransform("rings", "pixels of the detector that are off", VolumeRings()),
        VolumeTransform("missing sections", "sections that were lost", MissingSections()),
    ]


def _free(spec: ViewSpec, monai: Any) -> list[VolumeTransform]:
    """Of what has no up, no left and no right."""
    turns = [
        VolumeTransform("rotation", "orientation is arbitrary", Turn(180.0)),
        VolumeTransform("mirror", "parity is arbitrary", Mirror((2,))),
    ]
    return [*turns, *_any(spec, monai)[2:]]


def _any(spec: ViewSpec, monai: Any) -> list[VolumeTransform]:
    return [
        VolumeTransform("rotation", "how the object lies", Turn(15.0)),
        VolumeTransform("mirror", "the other side", Mirror((2,))),
        *_levels(0.4, 0.1, monai, "exposure, calibration"),
        _blur(spec, monai, "resolution"),
        _noise(0.08, monai, "noise"),
    ]


_OF_DOMAIN: dict[str, Callable[[ViewSpec, Any], list[VolumeTransform]]] = {
    "mri": _mri,
    "ct": _ct,
    "electron": _electron,
    "microscopy": _free,
    "astronomy": _free,
    "radio": _free,
}
