"""SIGReg: sketched isotropic Gaussian regularisation (LeJEPA, arXiv 2511.08544, eq. 6 and alg. 1).

Embeddings are projected on random unit directions, and each one-dimensional projection is tested
against the standard normal: by Cramer and Wold, all projections are if and only if the embeddings
are an isotropic Gaussian.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from domainjepa.distributed import gather_over_ranks, rank, sum_over_ranks, world_size
from domainjepa.objective.directions import DIRECTIONS, draw
from domainjepa.objective.epps_pulley import epps_pulley
from domainjepa.objective.projection import project
from domainjepa.objective.statistics import STATISTICS

NAMES = ("epps-pulley", *STATISTICS)
"""The names of statistics."""


class SIGReg(nn.Module):
    """Mean over `num_slices` directions of a test for N(0, 1), per view, averaged over views.

    num_slices: M, the directions; knots, t_max: the Epps-Pulley quadrature on [0, t_max].
    statistic: "epps-pulley", another of NAMES, or a function of projections (..., N, M) ->
    (..., M) that tests a whole sample along N.
    directions: "gaussian" (new at each step), "sobol" or "fixed".
    debias: the U-statistic of Epps-Pulley, whose expectation for Gaussian samples is 0.
    seed: the directions are a pure function of (seed, step), the same on every rank and device.

    Raises ValueError for a name or number that is none of these.
    """

    def __init__(
        self,
        num_slices: int = 1024,
        knots: int = 17,
        t_max: float = 5.0,
        statistic: str | Callable[[Tensor], Tensor] = "epps-pulley",
        directions: str = "gaussian",
        debias: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if isinstance(statistic, str) and statistic not in NAMES:
            raise ValueError(f"statistic {statistic!r} is none of {', '.join(NAMES)}")
        if directions not in DIRECTIONS:
            raise ValueError(f"directions {directions!r} is none of {', '.join(DIRECTIONS)}")
        if num_slices < 1 or knots < 2 or not t_max > 0:
            raise ValueError(
                f"SIGReg needs num_slices >= 1, knots >= 2 and t_max > 0, not "
                f"num_slices={num_slices}, knots={knots}, t_max={t_max}"
            )
        if debias and statistic != "epps-pulley":
            raise ValueError(f"debias is for epps-pulley, not for {statistic!r}")
        self.num_slices, self.knots, self.t_max = num_slices, knots, t_max
        self.statistic, self.directions = statistic, directions
        self.debias, self.seed = debias, seed

    def forward(self, z: Tensor, step: int = 0) -> Tensor:
        """Embeddings z (V, N, K) or (N, K) of any float dtype -> scalar, float32 (float64 for
        float64), whatever autocast says; `step` draws the slices.

        In a process group N is this rank's share and the value is that of the global batch.

        Raises:
            ValueError: another shape.
        """
        if z.ndim not in (2, 3):
            raise ValueError(f"SIGReg takes (V, N, K) or (N, K), not {tuple(z.shape)}")
        with torch.autocast(z.device.type, enabled=False):
            z = z if z.dtype == torch.float64 else z.float()
            slices = self.slices(z, step)
            if self.statistic == "epps-pulley":
                return self._epps_pulley(project(z, slices), over_ranks=True).mean()
            # The other tests need the whole sample; every rank tests its share of the slices.
            z = gather_over_ranks(z, dim=-2)
            share = self.statistic_of(project(z, slices[:, rank() :: world_size()]))
            return sum_over_ranks(share.sum()) / (share.shape[:-1].numel() * self.num_slices)

    def slices(self, z: Tensor, step: int = 0) -> Tensor:
        """The unit directions (K, M) of a step, in the dtype of z (..., K) and on its device."""
        return draw(self.directions, z, self.num_slices, self.seed, step)

    def statistic_of(self, projections: Tensor) -> Tensor:
        """The test alone, on given samples of this process: projections (..., N, M) -> (..., M).

        Half precision is computed in float32. An empty sample says nothing: 0, with gradient 0.
        """
        with torch.autocast(projections.device.type, enabled=False):
            if projections.dtype != torch.float64:
                projections = projections.float()
            if self.statistic == "epps-pulley":
                return self._epps_pulley(projections, over_ranks=False)
            if projections.shape[-2] == 0:
                return projections.sum(-2)
            test = STATISTICS[self.statistic] if isinstance(self.statistic, str) else self.statistic
            return test(projections)

    def _epps_pulley(self, projections: Tensor, over_ranks: bool) -> Tensor:
        return epps_pulley(projections, self.knots, self.t_max, self.debias, over_ranks)

    def extra_repr(self) -> str:
        return f"{self.num_slices} {self.directions} slices, {self.statistic}"
