"""A file of named arrays that a library opens as a whole: classic netCDF, and MATLAB before 7.3."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.files.damage import unreadable
from domainjepa.data.files.identity import content_digest
from domainjepa.data.metadata.columns import find_columns
from domainjepa.data.source import Image, OpenOptions, Source
from domainjepa.data.storage.cost import Storage
from domainjepa.data.storage.declared import Declared
from domainjepa.data.storage.layout import Array, Layout, dimensions_of, pick_images
from domainjepa.data.storage.turned import check_samples_last
from domainjepa.errors import DataError


@dataclass(kw_only=True)
class NamedArraysSource(Source):
    """Images in one array of a file; opened lazily, once in each process."""

    path: Path = field(repr=False)
    images: str
    layout: Layout
    declared: Declared | None = None
    samples: int
    _opened: tuple[int, NDArray[Any]] | None = field(
        default=None, init=False, repr=False, compare=False
    )

    @abstractmethod
    def read_array(self, name: str) -> NDArray[Any]:
        """An array, samples first, mapped where it can be; raises what the library raises."""

    def __len__(self) -> int:
        return self.samples

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}

    def __getitems__(self, indices: Sequence[int]) -> list[Image]:
        return [self._read(int(index)) for index in indices]

    def region(self, index: int, start: Sequence[int], stop: Sequence[int]) -> Image:
        return self._read(int(index), tuple(map(slice, start, stop)))

    def _read(self, index: int, window: tuple[slice, ...] = ()) -> Image:
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of {self.name}, which has {len(self)}")
        with unreadable((Exception,), f"sample {index} of {self.path.name}"):
            if self._opened is None or self._opened[0] != os.getpid():
                self._opened = (os.getpid(), self.read_array(self.images))
            stored = self._opened[1][index]
            part = stored[self.layout.within(*window)] if window else stored
            native = np.array(part[None], part.dtype.newbyteorder("="))
            values = self.declared.values(native) if self.declared else native
            image: Image = self.layout.images(values)[0]
        return image

    def read_column(self, name: str) -> NDArray[Any]:
        if name not in self.keys:
            return super().read_column(name)
        with unreadable((Exception,), f"{name!r} in {self.path.name}"):
            values = np.array(self.read_array(name))
        return values.astype(values.dtype.newbyteorder("="), copy=False)

    def content_key(self) -> str:
        """The file's content, and the name of what is read."""
        return f"{content_digest(self.path)} {self.images}"


Made = TypeVar("Made", bound=NamedArraysSource)


def open_named(
    make: Callable[..., Made],
    loader: str,
    path: Path,
    arrays: Mapping[str, Array],
    declare: Callable[[str], Declared | None],
    options: OpenOptions,
) -> Made:
    """The source of one of these arrays, with the columns beside it.

    Args:
        make: the source's class.
        arrays: name -> array, samples first.
        declare: name -> what is declared of its values.

    Raises:
        DataError: none, or several, could be the images; or a sample is too large.
    """
    where = path.name
    dimensions = dimensions_of(arrays, options.images, options.dimensions)
    name, layout = pick_images(arrays, options.images, where, dimensions)
    check_samples_last(arrays, name, options.axis, where)
    array, declared = arrays[name], declare(name)
    Storage(name, where, array.shape, None, array.dtype.itemsize).check(options)
    source = make(
        name=path.stem,
        loader=loader,
        shape=layout.shape,
        dtype=(declared.dtype if declared else array.dtype).newbyteorder("="),
        keys=tuple(sorted(arrays)),
        path=path,
        images=name,
        layout=layout,
        declared=declared,
        samples=array.shape[0],
    )
    found = find_columns(arrays, source.read_column, name, options, where, layout)
    source.decisions.append(found.decisions[0])
    if declared and str(declared):
        source.decisions.append(f"values: {declared}")
    found.complete(source)
    return source


def refuse_claim(where: str, claimed: int, most: int) -> None:
    """Raises DataError where arrays claim more bytes than the file can hold."""
    if claimed > most:
        raise DataError(
            f"{where} claims {claimed:,} bytes of arrays, more than it can hold: it is damaged, or "
            "made to exhaust memory."
        )
