"""A `.npy` file in memory, as it comes out of a tar or a ZIP: one image, or one volume."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from domainjepa.data.formats.arrays.members import MAGIC as MAGIC
from domainjepa.data.formats.arrays.members import npy_header, size_of
from domainjepa.data.formats.images.picture import Header
from domainjepa.data.source import Image, OpenOptions
from domainjepa.data.storage.layout import Array, Layout, dimensions_of, pick_images
from domainjepa.errors import DataError


def header(content: bytes, options: OpenOptions) -> Header:
    """What the array is as an image; raises DataError, and what NumPy raises on damaged bytes."""
    _, dtype, layout, _ = _looked(content, options)
    return Header(layout.shape, dtype.newbyteorder("=").name, "")


def decode(content: bytes, options: OpenOptions) -> Image:
    """(H, W, C), or (D, H, W, C), in native byte order."""
    shape, dtype, layout, (fortran, begin) = _looked(content, options)
    values = np.ndarray(shape, dtype, content, begin, order="F" if fortran else "C")
    native = np.array(values[None], dtype.newbyteorder("="))
    image: Image = layout.images(native)[0]
    return image


def _looked(
    content: bytes, options: OpenOptions
) -> tuple[tuple[int, ...], np.dtype[Any], Layout, tuple[bool, int]]:
    """Shape, dtype and layout, whether in Fortran's order, and where the values begin."""
    file = io.BytesIO(content)
    shape, fortran, dtype = npy_header(file)
    if dtype.hasobject:
        raise DataError("it holds pickled Python objects, which are never loaded")
    size = size_of(shape, dtype)
    if file.tell() + size > len(content):
        raise DataError("it is shorter than its header says")
    if size > options.max_sample_bytes:
        raise DataError(
            f"it would take {size:,} bytes, more than {options.max_sample_bytes:,}; if that is "
            f"meant: --set data.max_sample_bytes={size}"
        )
    arrays = {"array": Array((1, *shape), dtype)}
    dimensions = dimensions_of(arrays, None, options.dimensions)
    _, layout = pick_images(arrays, None, "it", dimensions)
    return shape, dtype, layout, (fortran, file.tell())
