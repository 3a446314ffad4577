"""The network of a run: backbone, projector, and the probe and ablations that ride beside them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from domainjepa.backbones import Backbone
from domainjepa.config import ProjectorConfig


def projector(inputs: int, config: ProjectorConfig) -> nn.Sequential:
    """MLP of 1 to 3 layers, BatchNorm and ReLU between them: (N, inputs) -> (N, config.out)."""
    widths = [inputs, *[config.hidden] * (config.layers - 1)]
    layers: list[nn.Module] = []
    for width, following in pairwise(widths):
        layers += [nn.Linear(width, following, bias=False), nn.BatchNorm1d(following), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], config.out))


class Outputs(NamedTuple):
    """What one forward pass yields for V views of N samples, the global ones first.

    Attributes:
        features: (V, N, D), what the backbone yields.
        embeddings: (V, N, K), what the objective sees.
        predicted: (V, N, K) from the predictor, or None without one.
        logits: (V_g, N, classes) of the online probe, or None without labels.
    """

    features: Tensor
    embeddings: Tensor
    predicted: Tensor | None
    logits: Tensor | None


class Network(nn.Module):
    """Backbone and projector; a predictor and a linear probe where the run asks for them."""

    def __init__(
        self,
        backbone: Backbone,
        config: ProjectorConfig,
        *,
        predictor: bool = False,
        classes: int = 0,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.projector = projector(backbone.dim, config)
        # The ablation of the paper: an MLP on the side that predicts, none on the centre's.
        self.predictor = projector(config.out, config) if predictor else None
        self.probe = nn.Linear(backbone.dim, classes) if classes else None

    def forward(self, groups: Sequence[Tensor]) -> Outputs:
        """Groups of views of one size each, (V_i, N, C, H_i, W_i) or (V_i, N, C, D_i, H_i, W_i),
        the global group first.

        All views of a step share one batch of the projector's BatchNorm.
        """
        return self.heads(self.features(groups), len(groups[0]))

    def features(self, groups: Sequence[Tensor]) -> Tensor:
        """What the backbone yields for groups of views: (V, N, D)."""
        samples = groups[0].shape[1]
        flat = torch.cat([self.backbone(views.flatten(0, 1)) for views in groups])
        return flat.reshape(-1, samples, flat.shape[-1])

    def heads(self, features: Tensor, num_global: int) -> Outputs:
        """Everything after the backbone, from features (V, N, D), the global views first."""
        samples = features.shape[1]
        embeddings = self.projector(features.flatten(0, 1))
        predicted = self.predictor(embeddings) if self.predictor is not None else None

        def by_view(flat: Tensor) -> Tensor:
            return flat.reshape(-1, samples, flat.shape[-1])

        return Outputs(
            features,
            by_view(embeddings),
            None if predicted is None else by_view(predicted),
            self._probe(features[:num_global]),
        )

    def learning(self) -> list[nn.Parameter]:
        """The weights that the objective moves: all but the probe's."""
        return [
            weight
            for name, weight in self.named_parameters()
            if not name.startswith("probe.") and weight.requires_grad
        ]

    def _probe(self, features: Tensor) -> Tensor | None:
        if self.probe is None:
            return None
        # Detached: the probe watches the encoder and never moves it.
        still = functional.layer_norm(features.detach().float(), features.shape[-1:])
        logits: Tensor = self.probe(still)
        return logits
