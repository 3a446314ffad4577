"""Classic netCDF (versions 1 and 2), by scipy; netCDF-4 is HDF5, and read as such."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from domainjepa.data.files.damage import unreadable
from domainjepa.data.formats.named_arrays import NamedArraysSource, open_named
from domainjepa.data.source import Loader, OpenOptions, Source
from domainjepa.data.storage.declared import Declared, declared
from domainjepa.data.storage.layout import Array
from domainjepa.errors import DataError

MAGIC = (b"CDF\x01", b"CDF\x02")
LARGE = b"CDF\x05"


@dataclass(kw_only=True)
class NetCDFSource(NamedArraysSource):
    """Images in one variable, mapped."""

    def read_array(self, name: str) -> NDArray[Any]:
        values: NDArray[Any] = _variables(self.path)[name].data
        return values


class NetCDFLoader(Loader):
    """Opens classic netCDF files."""

    name = "netcdf"
    title = "classic netCDF"
    suffixes = (".cdf", ".nc3")
    container = True

    def sniff(self, path: Path, head: bytes) -> bool:
        return head.startswith((*MAGIC, LARGE))

    def open(self, path: Path, options: OpenOptions) -> Source:
        with path.open("rb") as file:
            if file.read(4) == LARGE:
                raise DataError(
                    f"{path.name} is netCDF of 64-bit data (CDF-5), which is not read: convert it "
                    "by nccopy -k nc4."
                )
        with unreadable((Exception,), path.name):  # scipy raises whatever comes to hand
            variables = _variables(path)
            arrays = {
                name: Array(tuple(one.shape), one.data.dtype) for name, one in variables.items()
            }

            def declare(name: str) -> Declared | None:
                told = variables[name]._attributes
                where = f"{name!r} in {path.name}"
                return declared(set(told), told.__getitem__, arrays[name].dtype, where)

            return open_named(NetCDFSource, self.name, path, arrays, declare, options)


def _variables(path: Path) -> dict[str, Any]:
    """Name -> variable, its data mapped: the map lives as long as an array of it."""
    from scipy.io import netcdf_file

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of maps that outlive the file, which is meant
        file = netcdf_file(path, "r", mmap=True, maskandscale=False)
        found = {name: one for name, one in file.variables.items() if one.data.dtype.kind in "iufS"}
        file.variables = {}
        return found
