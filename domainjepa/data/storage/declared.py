"""What the attributes of an array declare of its values: scale, offset, and what is missing.

netCDF's conventions, which HDF5 files follow, too: values = stored * scale_factor + add_offset,
and what equals _FillValue or missing_value, or lies beyond valid_range (valid_min, valid_max), is
missing; all of these are of the stored numbers (NetCDF Users Guide, "Attribute Conventions"; CF
conventions 1.11, sections 2.5.1 and 8.1). Missing values become NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.storage.precision import LEAST, MOST
from domainjepa.errors import DataError

NAMES = (
    *("scale_factor", "add_offset", "_FillValue", "missing_value"),
    *("valid_range", "valid_min", "valid_max", "_Unsigned"),
)
_MOST = 100
"""Missing values, at most."""


@dataclass(frozen=True)
class Declared:
    """How stored numbers become values.

    Attributes:
        held: the native dtype of the file.
        stored: what its bits stand for: `_Unsigned` makes signed numbers unsigned.
        dtype: of the values: floats where anything is scaled or may be missing.
        scale, offset: 1 and 0 where nothing is scaled.
        missing: stored numbers that stand for none.
        low, high: the first and the last that is valid.
    """

    held: np.dtype[Any]
    stored: np.dtype[Any]
    dtype: np.dtype[Any]
    scale: float = 1.0
    offset: float = 0.0
    missing: tuple[float, ...] = ()
    low: float = -np.inf
    high: float = np.inf

    def values(self, stored: NDArray[Any]) -> NDArray[Any]:
        """Numbers as they are held, in native byte order -> values, of the same shape."""
        stored = stored.view(self.stored)
        if stored.dtype == self.dtype and not self._changes():
            return stored
        wide = stored.astype(np.float64)
        lost = np.isin(stored, self.missing) if self.missing else np.zeros(stored.shape, bool)
        lost |= (wide < self.low) | (wide > self.high)
        values: NDArray[Any] = (wide * self.scale + self.offset).astype(self.dtype)
        values[lost] = np.nan
        return values

    def _changes(self) -> bool:
        plain = (self.scale, self.offset) == (1, 0) and np.isinf([self.low, self.high]).all()
        return not (plain and not self.missing)

    def __str__(self) -> str:
        told = []
        if (self.scale, self.offset) != (1, 0):
            told.append(f"stored * {self.scale:g} + {self.offset:g}")
        if self.missing:
            told.append(f"{', '.join(f'{value:g}' for value in self.missing)} is missing")
        if not np.isinf([self.low, self.high]).all():
            told.append(f"beyond {self.low:g} to {self.high:g} is missing")
        return "; ".join(told)


def declared(
    names: set[str], read: Callable[[str], Any], dtype: np.dtype[Any], where: str
) -> Declared | None:
    """What the attributes of an array declare; None where its numbers are its values.

    Args:
        names: of the attributes.
        read: name -> value.
        dtype: of the stored numbers.
        where: what to call the array in a message.

    Raises:
        DataError: one of the attributes is no number.
    """
    if dtype.kind not in "iuf" or not names & set(NAMES):
        return None
    told = {name: read(name) for name in NAMES if name in names}
    held = stored = dtype.newbyteorder("=")
    if str(_text(told.pop("_Unsigned", ""))).lower() == "true" and stored.kind == "i":
        stored = np.dtype(f"u{stored.itemsize}")
    numbers = {name: _numbers(name, value, where) for name, value in told.items()}
    missing = [*numbers.get("_FillValue", ()), *numbers.get("missing_value", ())]
    span = numbers.get("valid_range", ())
    low, high = (span[0], span[1]) if len(span) == 2 else (-np.inf, np.inf)
    scales = [abs(one) for name in NAMES[:2] for one in numbers.get(name, ()) if one]
    reach = [size * 2.0 ** (8 * stored.itemsize) for size in scales]
    far = max(reach, default=1.0) > MOST or min(scales, default=1.0) < LEAST
    found = Declared(
        held,
        stored,
        np.dtype("float64") if far else _values_dtype(stored, told),
        scale=float(numbers.get("scale_factor", [1.0])[0]),
        offset=float(numbers.get("add_offset", [0.0])[0]),
        missing=tuple(dict.fromkeys(_as_stored(one, stored) for one in missing if one == one)),
        low=float(numbers.get("valid_min", [low])[0]),
        high=float(numbers.get("valid_max", [high])[0]),
    )
    if not found._changes():
        return None if stored == held else Declared(held, stored, stored)
    return found


def _values_dtype(stored: np.dtype[Any], told: Mapping[str, Any]) -> np.dtype[Any]:
    """That of the scale (CF conventions 8.1); else floats that hold every stored number."""
    if stored.kind == "f":
        return stored
    scales = [np.asarray(told[name]).dtype for name in NAMES[:2] if name in told]
    floats = [dtype for dtype in scales if dtype.kind == "f"]
    if floats:
        return np.result_type(*floats).newbyteorder("=")
    return np.dtype("float32" if stored.itemsize <= 2 else "float64")


def _numbers(name: str, value: Any, where: str) -> list[float]:
    numbers = np.ravel(np.asarray(value))
    if numbers.dtype.kind not in "iuf" or not 0 < len(numbers) <= _MOST:
        raise DataError(f"{name} of {where} is {_text(value)!r:.80}, and is to be a number.")
    return [float(one) for one in numbers.tolist()]


def _as_stored(number: float, stored: np.dtype[Any]) -> float:
    """A missing value as the stored numbers hold it: -1 is 255 of unsigned bytes."""
    if stored.kind == "u" and number < 0:
        return number + 2.0 ** (8 * stored.itemsize)
    return float(np.float32(number)) if stored == np.float32 else number


def _text(value: Any) -> Any:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
