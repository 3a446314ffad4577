"""Masks in files of their own, read when they are asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.files.damage import reason
from domainjepa.data.masks.masks import Mask, Masks
from domainjepa.data.source import Loader, OpenOptions, Source
from domainjepa.errors import DataError, UserError

MOST_JSON = 2**24
"""Bytes of a dataset.json."""


@dataclass(kw_only=True)
class FileMasks(Masks):
    """One file a mask, or several that are laid over each other.

    Attributes:
        samples: whose masks they are; tells their sizes.
        root: the folder.
        files: of each sample, below the root; empty where it has no mask.
        loader: reads them.
    """

    samples: Source = field(repr=False)
    root: Path = field(repr=False)
    files: list[tuple[str, ...]] = field(repr=False)
    loader: Loader = field(repr=False)
    options: OpenOptions = field(repr=False)

    def read(self, index: int) -> Mask:
        sides = self.samples.sides(index)
        masks = [self._read(index, name, sides) for name in self.files[index]]
        return masks[0] if len(masks) == 1 else np.maximum.reduce(masks)

    def _read(self, index: int, name: str, sides: tuple[int, ...]) -> Mask:
        try:
            mask = self.loader.read_mask(self.root, name, self.options)
        except Exception as error:  # decoders raise whatever comes to hand on damaged files
            said = str(error) if isinstance(error, UserError) else reason(error)
            raise DataError(
                f"the mask of sample {index}, {name}, cannot be read: {said}"
            ) from error
        if mask.shape != sides:
            sizes = ["x".join(map(str, size)) for size in (mask.shape, sides)]
            raise DataError(
                f"the mask of sample {index}, {name}, is {sizes[0]}, and the image is {sizes[1]}: "
                "bring them to one grid."
            )
        return _whole(mask, index, name)


def _whole(mask: NDArray[Any], index: int, name: str) -> Mask:
    """Integers; floats where they are whole numbers."""
    if mask.dtype.kind in "iu":
        return mask
    values = mask.astype(np.int32)
    if not np.isfinite(mask).all() or (values != mask).any():
        raise DataError(
            f"the mask of sample {index}, {name}, holds values that are no whole numbers, so no "
            "classes."
        )
    return values


def file_masks(
    source: Source,
    root: Path,
    files: Sequence[tuple[str, ...]],
    loader: Loader,
    options: OpenOptions,
) -> Masks | None:
    """The masks of a source, where any sample has one.

    Args:
        files: of each sample.
    """
    known = np.array([bool(one) for one in files])
    if not known.any():
        return None
    return FileMasks(
        known=known,
        classes=_classes(root),
        samples=source,
        root=root,
        files=list(files),
        loader=loader,
        options=options,
    )


def _classes(root: Path) -> dict[int, str] | None:
    """Value -> name by the dataset.json of the Medical Segmentation Decathlon ("0": "background")
    or of nnU-Net ("background": 0); None where there is none that tells."""
    path = root / "dataset.json"
    try:
        if path.is_symlink() or path.stat().st_size > MOST_JSON:
            return None
        labels = json.loads(path.read_bytes())["labels"]
        return dict(sorted(_numbered(labels).items())) or None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # absent, or of another make


def _numbered(labels: Mapping[str, Any]) -> dict[int, str]:
    found: dict[int, str] = {}
    for one, other in labels.items():
        if isinstance(other, str):
            found[int(one)] = other
        elif isinstance(other, int) and not isinstance(other, bool):
            found[other] = one  # a list of numbers is a region, made of classes
    return found
