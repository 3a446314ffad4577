"""AdamW over the weights of a run, each group with its own peak of the learning rate."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from domainjepa import devices
from domainjepa.config import PretrainConfig
from domainjepa.pretraining.network import Network

PROBE_LR = 1e-2


def build_optimizer(network: Network, config: PretrainConfig) -> torch.optim.Optimizer:
    """AdamW. The probe has its own lr.

    What does not decay: biases and norms (one-dimensional), and what timm exempts, such as the
    position embedding and the CLS token of a ViT.

    With `optimizer.layer_decay` d < 1 the last of L layers of the backbone has the peak lr, layer l
    lr * d^(L-1-l) (BEiT, Bao et al. 2021, arXiv:2106.08254, appendix). The first group has the
    highest peak. Frozen weights are in no group.
    """
    chosen = config.optimizer
    assert chosen.lr is not None
    probe = set() if network.probe is None else set(network.probe.parameters())
    exempt = {f"backbone.net.{name}" for name in network.backbone.exempt_from_decay()}
    depth = _depth(network) if chosen.layer_decay < 1 else {}
    groups: dict[tuple[int, bool], list[nn.Parameter]] = {(0, True): [], (0, False): []}
    for name, weight in network.named_parameters():
        if weight not in probe and weight.requires_grad:
            kind = (depth.get(name, 0), weight.ndim > 1 and name not in exempt)
            groups.setdefault(kind, []).append(weight)
    found: list[dict[str, Any]] = [
        {
            "params": groups[below, decays],
            "weight_decay": chosen.weight_decay if decays else 0.0,
            "peak": chosen.lr * chosen.layer_decay**below,
        }
        for below, decays in sorted(groups, key=lambda kind: (kind[0], not kind[1]))
    ]
    if probe:
        found.append({"params": list(probe), "weight_decay": 0.0, "peak": PROBE_LR})
    fused = devices.fuses_adamw(next(network.parameters()).device)
    return torch.optim.AdamW(found, lr=chosen.lr, fused=fused)


def _depth(network: Network) -> dict[str, int]:
    """Name of each weight of the backbone -> how many layers lie above its own."""
    layer_of = network.backbone.layers()
    last = max(layer_of.values())
    return {f"backbone.{name}": last - layer for name, layer in layer_of.items()}
