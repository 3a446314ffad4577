"""The layers of a network, from the image on: what layer-wise rates and frozen blocks count in."""

from __future__ import annotations

from collections.abc import Iterator

from timm.models import group_parameters
from torch import nn


def layers(net: nn.Module) -> dict[str, int]:
    """Name of each weight -> its layer, 0 for the stem.

    timm says of its networks which weights make a layer: the stem, then each block, with what
    follows the last one in its layer. Of others every part is a layer, in the order in which it was
    made: sequences are opened, and so is a part that is all of the network; a norm belongs to the
    part before it.
    """
    matcher = getattr(net, "group_matcher", None)
    if matcher is not None:
        return dict(group_parameters(net, matcher(coarse=False), reverse=True))
    found: dict[str, int] = {}
    layer = -1
    for prefix, part in _parts(net, "", whole=True):
        weights = dict(part.named_parameters(prefix))
        layer += layer < 0 or any(weight.ndim > 1 for weight in weights.values())
        found |= dict.fromkeys(weights, layer)
    return {name: found.get(name, 0) for name, _ in net.named_parameters()}


def _parts(net: nn.Module, prefix: str, *, whole: bool) -> Iterator[tuple[str, nn.Module]]:
    """The parts that have weights, by their names."""
    inner = [
        (n, part) for n, part in net.named_children() if next(part.parameters(), None) is not None
    ]
    for name, part in inner:
        alone = whole and len(inner) == 1
        opened = alone or isinstance(part, nn.Sequential | nn.ModuleList)
        within = list(_parts(part, f"{prefix}{name}.", whole=alone)) if opened else []
        yield from within or [(f"{prefix}{name}", part)]
