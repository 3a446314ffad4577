from __future__ import annotations

import numpy as np
import pytest

from domainjepa.evaluation.protocol import Protocol


@pytest.fixture
def protocol() -> Protocol:
    return Protocol(name="toy", probe="linear", shots=(1, 5, "all"), draws=4)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)
