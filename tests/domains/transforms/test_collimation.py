from __future__ import annotations

import numpy as np

from domainjepa.domains.transforms.collimation import Collimation
from tests.domains.seeding import seeded


def test_blades_black_out_margins_and_nothing_else() -> None:
    image = np.random.default_rng(0).uniform(0.1, 1, (100, 80, 3)).astype(np.float32)
    before = image.copy()
    for seed in range(20):
        seen = seeded(Collimation(0.2, p=1), seed)(image=image)["image"]
        lit = seen[..., 0] > 0
        rows, columns = np.flatnonzero(lit.any(axis=1)), np.flatnonzero(lit.any(axis=0))
        assert lit[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        assert rows[0] <= 20
        assert rows[-1] >= 79
        assert columns[0] <= 16
        assert columns[-1] >= 63
        np.testing.assert_array_equal(seen[lit], image[lit])
    np.testing.assert_array_equal(image, before)
