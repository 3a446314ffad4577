"""The LeJEPA objective: predict the centre of the global views, and be Gaussian (arXiv 2511.08544).

mu[n] = mean over the V_g global views of z[n, v]
loss  = lam * SIGReg + (1 - lam) * mean over n, v, K of (mu[n] - z[n, v])^2
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from domainjepa.distributed import sum_over_ranks
from domainjepa.objective.sigreg import SIGReg


class Terms(NamedTuple):
    """The loss and its two terms, scalars of the global batch, equal on every rank."""

    loss: Tensor
    prediction: Tensor
    sigreg: Tensor


class LeJEPALoss(nn.Module):
    """lam * SIGReg + (1 - lam) * prediction; lam in [0, 1].

    No teacher and no stop-gradient: every view predicts the centre, and gradients flow through it.
    """

    def __init__(self, lam: float = 0.05, sigreg: SIGReg | None = None) -> None:
        super().__init__()
        if not 0 <= lam <= 1:
            raise ValueError(f"lam is a weight between 0 and 1, not {lam}")
        self.lam = lam
        self.sigreg = SIGReg() if sigreg is None else sigreg

    def forward(
        self,
        z: Tensor,
        num_global: int = 2,
        step: int = 0,
        *,
        center: Tensor | None = None,
        predicted: Tensor | None = None,
    ) -> Terms:
        """The loss of embeddings z (V, N, K), the `num_global` global views first; `step` draws
        the slices.

        Two options exist for the paper's ablations only. `center` (N, K) replaces mu, for one that
        comes from averaged weights (compute it without gradient). `predicted` (V, N, K) replaces z
        in the prediction term, for a predictor applied to z; SIGReg still sees z.

        Raises:
            ValueError: another shape, or more global views than there are views.
        """
        if z.ndim != 3 or not 1 <= num_global <= len(z):
            raise ValueError(
                f"LeJEPALoss takes (V, N, K) with 1 <= num_global <= V, not "
                f"{tuple(z.shape)} with num_global={num_global}"
            )
        sigreg: Tensor = self.sigreg(z, step=step)
        with torch.autocast(z.device.type, enabled=False):
            mu = z[:num_global].to(sigreg.dtype).mean(0) if center is None else center
            prediction = prediction_error(mu, z if predicted is None else predicted)
            return Terms(self.lam * sigreg + (1 - self.lam) * prediction, prediction, sigreg)


def prediction_error(center: Tensor, z: Tensor) -> Tensor:
    """Mean over samples, views AND dimensions of (center - z)^2; center (N, K), z (V, N, K).

    The paper writes the squared norm, a sum over K; the published lambdas mean the average, which
    its released code takes. In a process group the mean is over the global batch. 0 if it is empty.
    """
    dtype = torch.float64 if z.dtype == torch.float64 else torch.float32
    error = (center.to(dtype) - z.to(dtype)).square().sum()
    total, count = sum_over_ranks(torch.stack([error, error.new_full((), z.numel())]))
    mean: Tensor = total / count.clamp(min=1)
    return mean
