"""Channels that a view does without: those that its sample lacks, and others at random.

What meets studies without FLAIR or fields without a band has to know a sample by the channels that
are there. A channel left out is 0 after the intensity, as pixels are that hold no number.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.sampling import key


def left_out(chance: float, there: NDArray[np.bool_], draw: int) -> NDArray[np.bool_]:
    """Which channels of a view to leave out; one of those that are there always stays.

    Args:
        chance: of each channel.
        there: (C,), the channels that the sample has.
        draw: the key of the view.

    Returns:
        (C,), those that are there and are left out.
    """
    random = np.random.default_rng(key(draw, "channels"))
    out: NDArray[np.bool_] = there & (random.random(len(there)) < chance)
    if there.any() and (out == there).all():
        out[random.choice(np.flatnonzero(there))] = False
    return out
