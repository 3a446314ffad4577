"""What differs from section to section of a block: drift of the intensity, and sections lost.

Sections lie along D; poses are drawn before, so a block of cubic voxels is cut in every direction.
"""

from __future__ import annotations

import numpy as np

from domainjepa.domains.transforms.unit import Floats
from domainjepa.domains.transforms.volume_change import VolumeChange


class SectionDrift(VolumeChange):
    """Each section by a gain and an offset that wander from section to section.

    Stain, section thickness, beam current and detector change slowly while a block is cut: the
    logarithm of the gain, and the offset, are random walks about their mean along the view, which
    changes by the given standard deviation from end to end.

    Args:
        gain: of the logarithm of the gain.
        offset: on the 0..1 scale.
        prob: probability.
    """

    def __init__(self, gain: float = 0.2, offset: float = 0.05, prob: float = 0.5) -> None:
        super().__init__(prob)
        self.gain = gain
        self.offset = offset

    def walk(self, sections: int) -> Floats:
        """(sections,) a random walk of mean 0 whose ends differ by 1 in the mean square."""
        steps = self.random.standard_normal(max(sections - 1, 1), dtype=np.float32)
        walked = np.concatenate([[0], np.cumsum(steps / np.sqrt(len(steps)))])[:sections]
        centred: Floats = (walked - walked.mean()).astype(np.float32)
        return centred

    def change(self, values: Floats) -> Floats:
        sections = values.shape[1]
        gains = np.exp(np.float32(self.gain) * self.walk(sections))
        offsets = np.float32(self.offset) * self.walk(sections)
        drifted: Floats = values * gains[:, None, None] + offsets[:, None, None]
        return drifted


class MissingSections(VolumeChange):
    """A few sections are lost, and the block has black ones in their place, or the one before.

    Both are found in published volumes: what was lost is left empty, or the neighbour stands in.
    A quarter of the sections at most; not the first, which has none before.

    Args:
        share: chance of each section, at most; in one view it is drawn uniformly from 0 to this.
        prob: probability.
    """

    def __init__(self, share: float = 0.06, prob: float = 0.3) -> None:
        super().__init__(prob)
        self.share = share

    def change(self, values: Floats) -> Floats:
        changed, sections = values.copy(), values.shape[1]
        if sections < 4:
            return changed
        lost = 1 + np.flatnonzero(
            self.random.random(sections - 1) < self.random.uniform(0, self.share)
        )
        if not lost.size:
            lost = self.random.integers(1, sections, 1)
        stands_in = self.random.random() < 0.5
        for section in lost[: sections // 4]:
            changed[:, section] = changed[:, section - 1] if stands_in else 0
        return changed
