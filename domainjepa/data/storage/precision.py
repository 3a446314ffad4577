"""float32, and what lies beyond it: refused, where nothing brings it into range first."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from domainjepa.errors import DataError

MOST = float(np.finfo(np.float32).max)
LEAST = float(np.finfo(np.float32).tiny)
"""The smallest with all of its digits."""


def as_float32(values: NDArray[Any]) -> NDArray[np.float32]:
    """Values as float32.

    Raises:
        DataError: some are too large for it, or all that are not zero too small.
    """
    if values.dtype.kind != "f" or values.dtype.itemsize <= 4:
        return values.astype(np.float32, copy=False)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        narrow = values.astype(np.float32)
        sizes = np.abs(values[np.isfinite(values)])
    largest = float(sizes.max(initial=0.0))
    if largest > MOST or 0 < largest < LEAST:
        unit = 10.0 ** np.floor(np.log10(largest))
        raise DataError(
            f"its values, up to {largest:.3g}, are beyond the range of float32 ({LEAST:.1g} to "
            f"{MOST:.1g}): store them in other units, such as of {unit:g}"
        )
    return narrow
