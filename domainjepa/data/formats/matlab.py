"""MATLAB files of version 5 to 7.2, by scipy: plain data, no code. Version 7.3 is HDF5.

MATLAB stores columns first, so an array (H, W, C, N) there lies in the file as (N, C, W, H); that
is how it is taken here, and turned as it is read. The last axis counts samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.files.damage import unreadable
from domainjepa.data.formats.arrays.members import MOST_DEFLATED, MOST_LOADED
from domainjepa.data.formats.named_arrays import NamedArraysSource, open_named, refuse_claim
from domainjepa.data.source import Loader, OpenOptions, Source
from domainjepa.data.storage.layout import Array

MAGIC = b"MATLAB 5.0 MAT-file"
CLASSES = {
    **{"double": "float64", "single": "float32", "logical": "bool", "char": "U1", "cell": "O"},
    **{f"{sign}int{bits}": f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}
"""MATLAB's classes that are read -> dtypes."""


@dataclass(kw_only=True)
class MatlabSource(NamedArraysSource):
    """Images in one array, loaded whole in each process: version 5 compresses each array."""

    def read_array(self, name: str) -> NDArray[Any]:
        from scipy.io import loadmat

        values: NDArray[Any] = loadmat(self.path, variable_names=[name])[name].T
        if values.dtype.kind == "O":  # cells of texts
            return np.array([str(np.ravel(cell)[0]) for cell in values.ravel()], dtype=object)
        return values.reshape(-1) if _is_column(values.shape) else values


class MatlabLoader(Loader):
    """Opens `.mat` files before version 7.3."""

    name = "matlab"
    title = "MATLAB before 7.3"
    suffixes = (".mat",)
    container = True

    def sniff(self, path: Path, head: bytes) -> bool:
        return head.startswith(MAGIC)

    def open(self, path: Path, options: OpenOptions) -> Source:
        from scipy.io import whosmat

        with unreadable((Exception,), path.name):  # scipy raises whatever comes to hand
            arrays = {
                name: _array(shape, np.dtype(CLASSES[kind]))
                for name, shape, kind in whosmat(path)
                if kind in CLASSES
            }
            held = path.stat().st_size
            for array in arrays.values():
                size = int(np.prod(array.shape, dtype=object)) * array.dtype.itemsize
                refuse_claim(path.name, size, min(MOST_LOADED, MOST_DEFLATED * held + 2**16))
            return open_named(MatlabSource, self.name, path, arrays, lambda _: None, options)


def _array(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    turned = tuple(reversed(shape))
    return Array((max(turned),) if _is_column(turned) else turned, dtype, turned=True)


def _is_column(shape: tuple[int, ...]) -> bool:
    return len(shape) == 2 and 1 in shape
