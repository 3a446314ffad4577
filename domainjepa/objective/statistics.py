"""The univariate tests by name."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

STATISTICS: dict[str, Callable[[Tensor], Tensor]] = {}
