"""Pictures as masks: the numbers of classes that they hold, not their colours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.formats.images import tiff
from domainjepa.data.formats.images.orientation import turn_of
from domainjepa.data.formats.images.plain import plain
from domainjepa.data.source import OpenOptions
from domainjepa.errors import DataError


def read_mask(path: Path, options: OpenOptions) -> NDArray[Any]:
    """(H, W) or (D, H, W) of one file.

    Of a palette the indices are the classes, as in PASCAL VOC. Colours that are all grey count as
    grey.

    Raises:
        DataError: its pixels are colours; and whatever the decoder raises on damaged bytes.
    """
    with path.open("rb") as file:
        image = plain(file, options)
        if image is None:
            with tiff.opened(file, options) as series:
                return _grey(series.read(0))
        if image.width * image.height > options.max_sample_bytes:
            raise DataError(f"it would take more than {options.max_sample_bytes:,} bytes")
        stored = np.asarray(image)
        if image.mode in ("LA", "PA"):
            stored = stored[..., 0]
        stored = stored.astype(np.uint8) if stored.dtype.kind == "b" else stored
        grey = stored if stored.ndim == 2 else _grey(stored[..., :3])
        return turn_of(image)(grey[..., None])[..., 0]


def _grey(stored: NDArray[Any]) -> NDArray[Any]:
    first: NDArray[Any] = stored[..., 0]
    if (stored != first[..., None]).any():
        raise DataError(
            "its pixels are colours; a mask holds a number for each class: save it as grey, or "
            "with a palette"
        )
    return first
