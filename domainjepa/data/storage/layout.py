"""Which array of a container holds the images, and how they lie in it.

HDF5 files and `.npz` archives are both named arrays: a loader lists them as `Array`s, from their
headers alone, and the images are found by shape, or by the name that the user gives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.masks.words import word_in
from domainjepa.errors import DataError, did_you_mean

USUAL_NAMES = ("images", "image", "x", "data", "img", "imgs", "pixels", "cutouts")
"""Lower case, the most telling first."""
MOST_CHANNELS = 16
"""An axis that is longer is taken for a side of the image, unless the user names the array."""
SMALLEST_SIDE = 4
MOST_LISTED = 20
"""Names in a message."""
_SEPARATORS = str.maketrans("", "", " _-")


@dataclass(frozen=True)
class Array:
    """A named array, before anything is read.

    Attributes:
        shape, dtype: as the header tells.
        values: integer -> name, where the container names its values (an HDF5 enum), or None.
        class_names: names of the classes in the order of their indices, where they are told.
        same_as: equal for two names of one array.
        turned: whether W lies before H, as MATLAB stores arrays.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    values: Mapping[int, str] | None = None
    class_names: tuple[str, ...] | None = None
    same_as: object = None
    turned: bool = False

    def __str__(self) -> str:
        return f"{'x'.join(map(str, self.shape)) or 'scalar'} {self.dtype}"


@dataclass(frozen=True)
class Layout:
    """How samples lie in an array: axis 0 counts them, `channels` tells where the channels are.

    Attributes:
        channels: last: (N, H, W, C); first: (N, C, H, W); none: (N, H, W). Volumes: D before H.
        shape: (H, W, C) of one sample, (D, H, W, C) of a volume.
        turned: whether W lies before H.
    """

    channels: Literal["last", "first", "none"]
    shape: tuple[int, ...]
    turned: bool = False

    @property
    def volumetric(self) -> bool:
        """Whether the samples are volumes."""
        return len(self.shape) == 4

    @property
    def sides(self) -> tuple[int, ...]:
        """Which axes of the array are [D,] H, W."""
        first = 2 if self.channels == "first" else 1
        axes = [*range(first, first + len(self.shape) - 1)]
        return (*axes[:-2], *(axes[:-3:-1] if self.turned else axes[-2:]))

    def images(self, stored: NDArray[Any]) -> NDArray[Any]:
        """(n, …) as stored, whole samples or parts of them -> (n, [D,] H, W, C), C-contiguous."""
        if self.channels == "first":
            stored = np.moveaxis(stored, 1, -1)
        elif self.channels == "none":
            stored = stored[..., None]
        return np.ascontiguousarray(np.swapaxes(stored, -3, -2) if self.turned else stored)

    def within(self, *sides: slice) -> tuple[slice, ...]:
        """What selects a part of a stored sample: these slices along [D,] H, W, all channels."""
        if self.turned:
            sides = (*sides[:-2], sides[-1], sides[-2])
        return (slice(None), *sides) if self.channels == "first" else sides

    def __str__(self) -> str:
        told = {
            "last": "channels last",
            "first": "channels first, moved last",
            "none": "one channel",
        }[self.channels]
        return f"{told}; MATLAB's order of axes turned" if self.turned else told


def layout_of(
    array: Array, most_channels: int = MOST_CHANNELS, dimensions: int = 2
) -> Layout | None:
    """The layout that makes an array one of images, or None where it can be none.

    Of the second and the last of four axes that one holds the channels which is short (at most 16),
    leaves square images, or is the shorter one: what tells them apart first, else the last.

    Args:
        dimensions: 3 for volumes, which have one axis more.
    """
    if array.dtype.kind not in "uif":
        return None
    sides = array.shape[1:]
    if array.turned:
        return _turned(array, most_channels, dimensions)
    if len(sides) == dimensions and min(sides[-2:]) >= 2 * SMALLEST_SIDE and min(sides) > 0:
        return Layout("none", (*sides, 1))
    if len(sides) != dimensions + 1:
        return None
    last, first = Layout("last", sides), Layout("first", (*sides[1:], sides[0]))
    for layout in sorted((last, first), key=_oddity):
        *depth, height, width, channels = layout.shape
        if min(height, width) >= SMALLEST_SIDE and all(depth) and 0 < channels <= most_channels:
            return layout
    return None


def _turned(array: Array, most_channels: int, dimensions: int) -> Layout | None:
    """The layout of an array that MATLAB calls (H, W[, D][, C], N), stored the other way round."""
    count, *sides = array.shape
    swapped = Array((count, *sides[:-2], *sides[:-3:-1]), array.dtype)
    layout = layout_of(swapped, most_channels, dimensions)
    if layout is None or layout.channels == "last":
        return None
    return Layout(layout.channels, layout.shape, turned=True)


def _oddity(layout: Layout) -> tuple[bool, bool, int]:
    height, width, channels = layout.shape[-3:]
    return channels > MOST_CHANNELS, height != width, channels


def dimensions_of(arrays: Mapping[str, Array], chosen: str | None, asked: int) -> int:
    """3 where volumes are asked for, or where no array can be images and one can be volumes."""
    named = [array for name, array in arrays.items() if chosen and name.endswith(chosen.strip("/"))]
    most = 2**31 if chosen else MOST_CHANNELS
    candidates = named or list(arrays.values())
    if asked == 3 or any(layout_of(array, most) for array in candidates):
        return asked
    return 3 if any(layout_of(array, most, 3) for array in candidates) else 2


def pick_images(
    arrays: Mapping[str, Array], chosen: str | None, where: str, dimensions: int = 2
) -> tuple[str, Layout]:
    """The array of images: the one that the user names, else the only one of a fitting shape.

    Among several of a fitting shape, one that alone has a usual name is taken.

    Args:
        arrays: name -> array, of the whole file.
        chosen: the user's `data.images`, or None.
        where: what to call the file in a message.
        dimensions: 3 for volumes.

    Raises:
        DataError: none, or several; the choices are listed.
    """
    if chosen is not None:
        name = full_name(arrays, chosen, "images", where)
        layout = layout_of(arrays[name], 2**31, dimensions)
        if layout is None:
            raise DataError(
                f"{name!r} in {where} is {arrays[name]}, not {_kind(dimensions)} of integers or "
                "floats."
            )
        return name, layout
    # The most usual name speaks for an array that has several.
    ranked = sorted(arrays, key=lambda name: rank(name, USUAL_NAMES))
    found: dict[object, str] = {}
    for name in ranked:
        if layout_of(arrays[name], dimensions=dimensions):
            found.setdefault(arrays[name].same_as or name, name)
    usual = [name for name in found.values() if leaf(name) in USUAL_NAMES]
    every = list(found.values())
    # Whole numbers that are called masks are masks of the images beside them.
    images = [
        name for name in every
        if arrays[name].dtype.kind == "f" or word_in(leaf(name), "mask") is None
    ]  # fmt: skip
    candidates = usual if len(usual) == 1 else images or every
    if len(candidates) == 1:
        layout = layout_of(arrays[candidates[0]], dimensions=dimensions)
        if layout is not None:
            return candidates[0], layout
    if candidates:
        listed = ", ".join(f"{name} ({arrays[name]})" for name in sorted(candidates)[:20])
        raise DataError(
            f"{where} holds {len(candidates)} arrays that could be the images: {listed}. "
            f"Pick one: --set data.images={candidates[0]}"
        )
    listed = ", ".join(f"{name} ({arrays[name]})" for name in sorted(arrays)[:20]) or "nothing"
    raise DataError(
        f"{where} has no array of {_kind(dimensions)} with at most {MOST_CHANNELS} channels. It "
        f"holds {listed}. If one of these is it: --set data.images=NAME"
    )


def _kind(dimensions: int) -> str:
    if dimensions == 3:
        return "volumes: (N, D, H, W), or (N, D, H, W, C) or (N, C, D, H, W)"
    return "images: (N, H, W), or (N, H, W, C) or (N, C, H, W)"


def full_name(names: Mapping[str, Any], chosen: str, role: str, where: str) -> str:
    """The full name of what the user calls by its full name or by its last part.

    Raises:
        DataError: no such name, or several.
    """
    wanted = chosen.strip("/")
    if wanted in names:
        return wanted
    ends = [name for name in names if name.rpartition("/")[2] == wanted]
    if len(ends) == 1:
        return ends[0]
    if ends:
        more = f" and {len(ends) - MOST_LISTED:,} more" if len(ends) > MOST_LISTED else ""
        listed = ", ".join(sorted(ends)[:MOST_LISTED])
        raise DataError(f"data.{role}={chosen}: {where} has {listed}{more}. Name one.")
    raise DataError(f"data.{role}={chosen}: {where} has none.{did_you_mean(wanted, names)}")


def leaf(name: str) -> str:
    """The last part of a name in lower case."""
    return name.rpartition("/")[2].lower()


def bare(name: str) -> str:
    """The last part of a name as people mean it: Patient ID, PatientID and patient_id are one."""
    return leaf(name).translate(_SEPARATORS)


def is_usual(name: str, usual: Sequence[str]) -> bool:
    """Whether a name is one of the usual ones."""
    return bare(name) in map(bare, usual)


def rank(name: str, usual: Sequence[str]) -> tuple[int, str]:
    """A sort key: the place of a name's last part among usual ones, then the name."""
    known = [*map(bare, usual)]
    return (known.index(bare(name)) if bare(name) in known else len(known), name)
