"""How large views are: the sizes that are set, or those that suit the images and the backbone."""

from __future__ import annotations

import math

from domainjepa.config import ViewsConfig
from domainjepa.errors import ConfigError

LARGEST_IMAGE = 224
"""Pixels a side of a global view, at most, unless it is set."""


def resolve_sizes(
    views: ViewsConfig,
    image_shape: tuple[int, ...],
    stride: int,
    fixed_size: bool,
    multiple: int = 1,
    largest: int = LARGEST_IMAGE,
) -> ViewsConfig:
    """The settings with both sizes as numbers.

    Args:
        views: sizes that are set stay as they are.
        image_shape: (H, W, C) or (D, H, W, C) of a sample.
        stride: pixels of the image to one position of the backbone's last feature map.
        fixed_size: the backbone takes one size alone, so local views get the global size.
        multiple: the backbone takes only multiples of this; 1 where any size will do.
        largest: global size by default.

    Raises:
        ConfigError: a size that was set is none that the backbone takes.
    """
    smallest = math.ceil(8 / multiple) * multiple
    sides = image_shape[:-1]
    size = views.global_size
    if size is None:
        size = max(min(*sides, largest) // stride, 1) * stride
        size = max(size // multiple * multiple, smallest)
    local = views.local_size
    if local is None:
        local = size if fixed_size else max(round(size * 7 / 16 / multiple) * multiple, smallest)
    if fixed_size and local != size:
        raise ConfigError(
            f"views.local_size = {local}: this backbone takes images of {size} px alone. Leave "
            "local_size out: local views are then drawn at that size."
        )
    for name, value in (("global_size", size), ("local_size", local)):
        if value % multiple:
            raise ConfigError(
                f"views.{name} = {value}: this backbone takes multiples of {multiple}, such as "
                f"{max(value // multiple, 1) * multiple}."
            )
    return views.model_copy(update={"global_size": size, "local_size": local})
