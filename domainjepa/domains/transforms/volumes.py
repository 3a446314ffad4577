"""What varies in volumes: the nuisances of each kind, and how a view of a volume is turned.

Values after the intensity lie around 0..1, as for images; transforms of values are MONAI's, which
know the physics of MR and CT. A domain of one's own overrides `Domain.volume_transforms`.

Left out on purpose: mirrors of bodies, which have a left and a right; elastic deformation, which
changes shapes that a radiologist measures.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from domainjepa.domains.view_spec import ViewSpec
from domainjepa.errors import MissingExtra

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Turn:
    """Rotation by angles from -degrees to degrees about all three axes; 180 for any orientation."""

    degrees: float

    def draw(self, random: np.random.Generator) -> Matrix:
        """(3, 3) orthonormal."""
        if self.degrees >= 180:
            any_turn = Rotation.from_quat(random.normal(size=4))  # uniform on the sphere of S^3
            return np.asarray(any_turn.as_matrix())
        angles = random.uniform(-self.degrees, self.degrees, 3)
        return np.asarray(Rotation.from_euler("xyz", angles, degrees=True).as_matrix())


@dataclass(frozen=True)
class Mirror:
    """Each of these axes (of D, H, W) reversed in half of the views."""

    axes: tuple[int, ...]

    def draw(self, random: np.random.Generator) -> Matrix:
        """(3, 3) diagonal, 1 or -1."""
        signs = np.ones(3)
        signs[list(self.axes)] = random.choice((-1.0, 1.0), len(self.axes))
        return np.diag(signs)


@dataclass(frozen=True)
class VolumeTransform:
    """One random change of a view of a volume.

    Attributes:
        name: a word or two.
        nuisance: the physical reason.
        transform: `Turn` or `Mirror`, which the one interpolation of the view makes; or MONAI's
            random transform of values, (C, D, H, W) to the same. None for the crop.
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
    "microscopy": _free,
    "astronomy": _free,
    "radio": _free,
}
