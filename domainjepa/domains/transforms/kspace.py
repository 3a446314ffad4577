"""What an MR scanner leaves of the frequencies of a picture."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.fft import dctn, idctn

from domainjepa.domains.transforms.unit import Floats, UnitTransform


class Gibbs(UnitTransform):
    """Cut k-space to a rectangle: less resolution, and ringing beside every edge.

    The scanner measures a rectangle of frequencies; the sharp cut at its border is a convolution
    with a sinc (Gibbs' phenomenon). The cosine transform is the Fourier transform of the picture
    and its mirror image, so that the picture's own border, which is no edge of the object, does not
    ring. The mean is the zero frequency and stays.

    Args:
        kept: share of the frequencies that is left, drawn for each axis uniformly from this range.
        p: probability.
    """

    def __init__(self, kept: tuple[float, float] = (0.4, 1.0), p: float = 0.3) -> None:
        super().__init__(p=p)
        self.kept = kept

    def get_params(self) -> dict[str, Any]:
        return {"kept": (self.py_random.uniform(*self.kept), self.py_random.uniform(*self.kept))}

    def change(self, image: Floats, kept: tuple[float, float], **params: Any) -> Floats:
        frequencies = dctn(image, axes=(0, 1), norm="ortho")
        frequencies[max(1, round(kept[0] * image.shape[0])) :] = 0
        frequencies[:, max(1, round(kept[1] * image.shape[1])) :] = 0
        cut: Floats = idctn(frequencies, axes=(0, 1), norm="ortho")
        return cut.astype(np.float32, copy=False)
