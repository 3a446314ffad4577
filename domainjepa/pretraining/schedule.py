"""The learning rate of each step."""

from __future__ import annotations

import math


def learning_rate(step: int, steps: int, peak: float, warmup: float, final: float) -> float:
    """Linear warm-up over a share of the steps, then a cosine to `final` times the peak.

    A pure function of the step, so that a resumed run goes on as if it had never stopped.
    """
    rising = math.ceil(warmup * steps)
    if step < rising:
        return peak * (step + 1) / rising
    progress = (step - rising) / max(steps - rising - 1, 1)
    return peak * (final + (1 - final) * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0))))
