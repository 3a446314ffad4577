"""Networks of other packages, which register them in the entry points `domainjepa.backbones`.

Each is a function (channels, size) -> module that maps (N, C, size, size) to (N, features); it may
carry `stride`, pixels of the image to one position of its last feature map, and `dimensions`, 3 for
volumes. A bare `module:attribute` is not taken: an encoder file names its backbone, and a name in a
file must not decide which code runs.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from domainjepa.backbones.stem import Traits
from domainjepa.config import BackboneConfig
from domainjepa.errors import ConfigError
from domainjepa.registry import BACKBONES


def names() -> list[str]:
    """Those of the packages that are installed."""
    return BACKBONES.names()


def traits(name: str) -> Traits:
    """What the function says of its network."""
    made = BACKBONES.load(name)
    return Traits(
        stride=int(getattr(made, "stride", 1)),
        transformer=False,
        patch=1,
        dimensions=int(getattr(made, "dimensions", 2)),
        stem=1,
    )


def build(config: BackboneConfig, channels: int, size: int) -> nn.Module:
    """The network; its stem is its author's.

    Raises:
        ConfigError: a setting that only networks known here take, or something else than a module.
    """
    if config.stem_reduction not in ("auto", 1) or config.drop_path:
        raise ConfigError(
            f"backbone.stem_reduction and backbone.drop_path are not known to {config.name!r}, "
            "which another package brings: leave them out."
        )
    net: Any = BACKBONES.load(config.name)(channels, size)
    if not isinstance(net, nn.Module):
        raise ConfigError(f"the backbone {config.name!r} gave a {type(net).__name__}, no module.")
    return net
