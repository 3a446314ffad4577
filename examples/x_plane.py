"""The controlled experiment of LeJEPA (arXiv 2511.08544): a Gaussian in 1,024 dimensions but for
one plane, in which the samples form an X.

Mean and covariance are those of a standard Gaussian, and a random direction barely meets the plane.
The samples themselves are moved down the gradient of SIGReg. 16 slices, redrawn at every step, are
enough to unfold the X; the same 16 at every step are not, nor are mean and covariance (VICReg).

    python examples/x_plane.py            # about 20 seconds on one core; writes x_plane.png
"""

from __future__ import annotations

import sys

import torch
from torch import Tensor

from domainjepa.objective import SIGReg
from domainjepa.objective.diagnostics import bhep


def x_plane(num_samples: int, dimension: int, seed: int = 0) -> Tensor:
    """Samples (N, K): standard Gaussian, but coordinates 0 and 1 lie on two crossing lines."""
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(num_samples, dimension, generator=generator)
    along = 3**0.5 * (2 * torch.rand(num_samples, generator=generator) - 1)  # variance 1
    z[:, 0] = along
    z[:, 1] = torch.where(torch.arange(num_samples) % 2 == 0, along, -along)
    return z


def unfold(z: Tensor, sigreg: SIGReg, steps: int, lr: float = 0.03) -> Tensor:
    """The samples after `steps` of Adam on SIGReg, the learning rate falling to 0."""
    z = z.clone().requires_grad_()
    optimizer = torch.optim.Adam([z], lr=lr)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = lr * (1 - step / steps)
        optimizer.zero_grad()
        sigreg(z, step=step).backward()
        optimizer.step()
    return z.detach()


def distance(z: Tensor) -> float:
    """BHEP test of the plane over its mean for Gaussian samples, 1 - 1/3: 1 is Gaussian."""
    return float(bhep(z[:, :2]) / (1 - 1 / 3))


def main(path: str = "x_plane.png", num_samples: int = 512, steps: int = 2000) -> None:
    import matplotlib.pyplot as plt

    start = x_plane(num_samples, 1024)
    panels = {
        "start": start,
        "Epps-Pulley, 16 slices, redrawn": unfold(start, SIGReg(16), steps),
        "Epps-Pulley, 16 slices, fixed": unfold(start, SIGReg(16, directions="fixed"), steps),
        "mean and variance, 16 slices, redrawn": unfold(
            start, SIGReg(16, statistic="vicreg"), steps
        ),
    }
    figure, axes = plt.subplots(1, 4, figsize=(13, 3.7), sharex=True, sharey=True)
    for axis, (title, z) in zip(axes, panels.items(), strict=True):
        axis.scatter(*z[:, :2].T, s=5, color="#1f4e79", alpha=0.7, linewidths=0)
        axis.set_title(title, fontsize=10)
        axis.set_xlabel(f"distance from Gaussian {distance(z):.1f}", fontsize=9)
        axis.set(aspect="equal", xlim=(-3.5, 3.5), ylim=(-3.5, 3.5), xticks=[], yticks=[])
        sys.stdout.write(f"{title}: {distance(z):.2f}\n")
    figure.suptitle("One plane of 1,024 dimensions", fontsize=11)
    figure.tight_layout()
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main(*sys.argv[1:])
