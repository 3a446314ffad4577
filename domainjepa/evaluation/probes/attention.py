"""Gated attention pooling: which samples of a unit count is learned with the answer.

Ilse, Tomczak and Welling (2018), arXiv:1802.04712, eqs. 8 and 9, on frozen features: the weights of
the samples of a unit are a softmax of w'(tanh(V h) * sigmoid(U h)), their weighted mean goes
through one linear layer. It starts as the mean with the best linear layer for that, and leaves it
only as far as units that are set aside gain from it: trained from scratch on a few hundred units it
is far worse than the mean where every sample tells.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from domainjepa.data.metadata.targets import Kind
from domainjepa.data.sampling import key
from domainjepa.evaluation.probes.finetune import answer_of, as_tensor, loss_of
from domainjepa.evaluation.probes.pooling import Bags
from domainjepa.evaluation.probes.probes import REGULARISATION, UNTUNED, LayerNorm
from domainjepa.evaluation.results.scores import Answer
from domainjepa.evaluation.splits import Fold

HIDDEN = 32
RATE = 5e-3
STEPS = 200
LOOK = 10
"""Steps between two looks at the units set aside."""
DECAYS = (0.1, 1.0)
"""Weight decays of the attention to choose from."""
SAMPLES_A_STEP = 4096
"""A batch is as many units as have so many samples."""


class GatedAttention(nn.Module):
    """(n, D) samples of U units -> (U, outputs).

    Args:
        centre: (D,) taken off what is pooled.
        scale: it is divided by.
        outputs: of the linear layer.
    """

    def __init__(self, centre: Tensor, scale: float, outputs: int) -> None:
        super().__init__()
        width = len(centre)
        self.centre, self.scale = centre, scale
        self.value, self.gate = nn.Linear(width, HIDDEN), nn.Linear(width, HIDDEN)
        self.weigh = nn.Linear(HIDDEN, 1, bias=False)
        self.head = nn.Linear(width, outputs)
        for zero in (self.weigh.weight, self.head.weight, self.head.bias):
            nn.init.zeros_(zero)

    def weights(self, samples: Tensor, unit: Tensor, units: int) -> Tensor:
        """(n,) the share of each sample in its unit; those of a unit sum to 1."""
        score = self.weigh(torch.tanh(self.value(samples)) * torch.sigmoid(self.gate(samples)))
        score = score[:, 0]
        top = torch.full((units,), -torch.inf).scatter_reduce(0, unit, score.detach(), "amax")
        power = torch.exp(score - top[unit])
        return power / torch.zeros(units).index_add(0, unit, power)[unit]

    def forward(self, samples: Tensor, unit: Tensor, units: int) -> Tensor:
        weighted = samples * self.weights(samples, unit, units)[:, None]
        pooled = torch.zeros(units, samples.shape[1]).index_add(0, unit, weighted)
        return cast(Tensor, self.head((pooled - self.centre) / self.scale))


@dataclass(frozen=True)
class _Units:
    """Training units as tensors: samples (n, D) normalised, wanted (U, ...)."""

    kind: Kind
    bags: Bags
    samples: Tensor
    wanted: Tensor
    outputs: int

    def loss(self, model: GatedAttention, chosen: NDArray[Any]) -> Tensor:
        """The mean over some units."""
        sizes = self.bags.sizes[chosen]
        unit = torch.from_numpy(np.repeat(np.arange(len(chosen)), sizes))
        first = np.cumsum(sizes) - sizes
        places = np.arange(sizes.sum()) + np.repeat(self.bags.starts[chosen] - first, sizes)
        given = model(self.samples[places], unit, len(chosen))
        return loss_of(self.kind, given, self.wanted[chosen])

    def means(self) -> Tensor:
        """(U, D) of the samples of each unit."""
        unit = torch.from_numpy(self.bags.unit)
        sums = torch.zeros(len(self.bags), self.samples.shape[1]).index_add(0, unit, self.samples)
        return sums / torch.from_numpy(self.bags.sizes)[:, None]


def fit_attention(
    kind: Kind,
    bags: Bags,
    values: NDArray[Any],
    outputs: int,
    folds: Sequence[Fold] | None,
    seed: int,
) -> Callable[[Bags], Answer]:
    """Train an attention pool and its head on some units; what comes back answers for others.

    Args:
        bags: the training units.
        values: (U, ...) of them.
        outputs: classes or labels; 1 of numbers.
        folds: positions in `bags`; the first one chooses the penalties and when to stop. None
            where there are too few units to choose: then it stays the mean.
        seed: keys the weights and the batches.
    """
    norm = LayerNorm()
    samples = torch.from_numpy(norm.fit_transform(bags.features))
    wanted, shift = as_tensor(kind, values)
    units = _Units(kind, bags, samples, wanted, outputs)
    everything = np.arange(len(bags))
    c, decay, steps = UNTUNED, DECAYS[-1], 0
    if folds is not None:
        c, decay, steps = _tuned(units, folds[0], seed)
    model = _started(units, everything, c, seed)
    for _ in _trained(model, units, everything, c, decay, steps, seed):
        pass

    def answer(asked: Bags) -> Answer:
        given_samples = torch.from_numpy(norm.transform(asked.features))
        with torch.no_grad():
            given = model(given_samples, torch.from_numpy(asked.unit), len(asked))
        return answer_of(kind, given.double().numpy(), shift)

    return answer


def _tuned(units: _Units, fold: Fold, seed: int) -> tuple[float, float, int]:
    """`C` of the linear layer, decay of the attention, steps: the best on units set aside."""
    fit, aside = fold

    def lost(model: GatedAttention) -> float:
        with torch.no_grad():
            return float(units.loss(model, aside))

    starts = {c: lost(_started(units, fit, c, seed)) for c in REGULARISATION}
    c = min(starts, key=lambda one: starts[one])
    best, decay, steps = starts[c], DECAYS[-1], 0
    for one in DECAYS:
        model = _started(units, fit, c, seed)
        for step in _trained(model, units, fit, c, one, STEPS, seed):
            if step % LOOK == 0 and (now := lost(model)) < best:
                best, decay, steps = now, one, step
    return c, decay, steps


def _started(units: _Units, chosen: NDArray[Any], c: float, seed: int) -> GatedAttention:
    """The mean of the samples, and the linear layer that is best for it under a penalty."""
    means = units.means()[chosen]
    centre = means.mean(0)
    scale = float((means - centre).square().mean().sqrt()) or 1.0
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key(seed, "attention") % 2**63)
        model = GatedAttention(centre, scale, units.outputs)
    inputs, wanted = (means - centre) / scale, units.wanted[chosen]
    optimizer = torch.optim.LBFGS(
        model.head.parameters(), max_iter=200, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = loss_of(units.kind, model.head(inputs), wanted) + _penalty(model, c, len(chosen))
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return model


def _penalty(model: GatedAttention, c: float, units: int) -> Tensor:
    """That of scikit-learn's logistic regression, for a mean loss."""
    return model.head.weight.square().sum() / (2 * c * units)


def _trained(
    model: GatedAttention,
    units: _Units,
    chosen: NDArray[Any],
    c: float,
    decay: float,
    steps: int,
    seed: int,
) -> Iterator[int]:
    """Train all of a model in place, step by step from 1."""
    random = np.random.default_rng(key(seed, "attention", "batches"))
    attention = [one for name, one in model.named_parameters() if not name.startswith("head")]
    optimizer = torch.optim.AdamW(
        [
            {"params": attention, "weight_decay": decay},
            {"params": model.head.parameters(), "weight_decay": 0.0},
        ],
        lr=RATE,
    )
    of_batch = max(1, SAMPLES_A_STEP // max(1, int(units.bags.sizes[chosen].mean())))
    for step in range(1, steps + 1):
        batch = random.permutation(chosen)[:of_batch] if of_batch < len(chosen) else chosen
        loss = units.loss(model, batch) + _penalty(model, c, len(chosen))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        yield step
