"""Arrays of MATLAB, whose samples are taken to come last: whether they do.

(H, W, N) and (N, H, W) look alike. Told apart they are by a column of as many values as there are
samples; without one by images that are square the one way and not the other, or that would be none
the other way. What none of them tells is asked for, since to guess is to slice samples
across.
"""

from __future__ import annotations

from collections.abc import Mapping

from domainjepa.data.storage.layout import Array, layout_of
from domainjepa.errors import DataError

LAST = "last"
"""What `data.axis` says where samples do come last."""


def check_samples_last(
    arrays: Mapping[str, Array], name: str, axis: str | None, where: str
) -> None:
    """Raises DataError where an array's samples come first in MATLAB, or may as well.

    Args:
        arrays: name -> array, of the whole file.
        name: of the images.
        axis: `data.axis`.
        where: what to call the file in a message.
    """
    array = arrays[name]
    if not array.turned or axis == LAST:
        return
    sides = array.shape[::-1]  # in MATLAB's order
    last, first = sides[-1], sides[0]
    columns = {
        one: found.shape[0]
        for one, found in arrays.items()
        if len(found.shape) == 1 and found.shape[0] > 1 and one != name
    }
    if last != first and last in columns.values():
        return
    told = next((one for one, length in columns.items() if length == first), None)
    shape = "x".join(map(str, sides))
    if told and last != first:
        why = f"{told!r} has {first:,} values, so its samples come first"
    elif not any(layout_of(Array(sides, array.dtype), dimensions=axes) for axes in (2, 3)):
        return  # no images, were samples first
    elif sides[0] == sides[1] != sides[2]:
        return
    elif sides[0] != sides[1] == sides[2]:
        why = "its images are square where its samples come first"
    else:
        why = "nothing tells whether its samples come first or last"
    order = " ".join(map(str, [*range(2, len(sides) + 1), 1]))
    raise DataError(
        f"{name!r} in {where} is {shape} in MATLAB, and {why}. Samples come last: move them there "
        f"in MATLAB, X = permute(X, [{order}]); where they are last: --set data.axis={LAST}"
    )
