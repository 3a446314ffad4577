"""Where in its file a part of a data set lies, so that all of it can be fetched at once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice, product

import h5py

MOST = 10_000
"""Chunks of one request; further ones are fetched as they are read."""


def extents(dataset: h5py.Dataset, sides: Sequence[slice]) -> list[tuple[int, int]]:
    """(start, stop) of the bytes that a part of a data set lies in.

    Args:
        dataset: whose bytes lie in its own file.
        sides: start to stop along the first axes; all of the others.
    """
    bounds = [(side.start, side.stop) for side in sides]
    bounds += [(0, side) for side in dataset.shape[len(bounds) :]]
    if any(start >= stop for start, stop in bounds):
        return []
    if dataset.chunks is None:
        return _contiguous(dataset, bounds)
    places = (
        range(start - start % chunk, stop, chunk)
        for (start, stop), chunk in zip(bounds, dataset.chunks, strict=True)
    )
    found = []
    for place in islice(product(*places), MOST):
        told = dataset.id.get_chunk_info_by_coord(place)
        if told.byte_offset is not None and told.size:
            found.append((told.byte_offset, told.byte_offset + told.size))
    return found


def _contiguous(dataset: h5py.Dataset, bounds: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """From the first row to the last: what lies between them along further axes comes along."""
    offset = dataset.id.get_offset()
    if offset is None:  # compact, or never written
        return []
    row = dataset.dtype.itemsize
    for side in dataset.shape[1:]:
        row *= side
    (start, stop), *_ = bounds
    return [(offset + start * row, offset + stop * row)]
