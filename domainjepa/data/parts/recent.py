"""The arrays that were read last, kept for the reads that follow."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Protocol, TypeVar

MOST_BYTES = 2**28


class _Sized(Protocol):
    @property
    def nbytes(self) -> int: ...


Held = TypeVar("Held", bound=_Sized)
"""An array of NumPy, or of Arrow."""


class Recent:
    """The arrays read last, up to so many bytes, and the very last one whatever it takes.

    For formats that can only be read whole: the second slice of a volume then costs nothing. It
    travels empty to other processes. The arrays are shared: a caller copies what it gives away.
    """

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self.most_bytes = most_bytes
        self._arrays: OrderedDict[Hashable, Any] = OrderedDict()
        self._bytes = 0

    def __reduce__(self) -> tuple[type[Recent], tuple[int]]:
        return Recent, (self.most_bytes,)

    def get(self, name: Hashable, read: Callable[[], Held]) -> Held:
        """The array of this name, read if it is not there."""
        array: Held | None = self._arrays.get(name)
        if array is None:
            array = read()
            self._arrays[name] = array
            self._bytes += array.nbytes
            while len(self._arrays) > 1 and self._bytes > self.most_bytes:
                self._bytes -= self._arrays.popitem(last=False)[1].nbytes
        self._arrays.move_to_end(name)
        return array
