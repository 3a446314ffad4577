"""What an HDF5 file of many objects holds, looked at once and kept for its next opening.

HDF5 has no list of its objects: to know them is to visit each.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.files.index import MANY
from domainjepa.data.files.sealed import kept
from domainjepa.data.formats.hdf5.tree import Place, Tree, look
from domainjepa.data.storage.layout import Array

VERSION = 1


def indexed(path: Path, follow_links: bool = False) -> Tree:
    """As `look`; kept where all of it lies in the file itself.

    Raises:
        DataError, OSError, RuntimeError, KeyError, ValueError: as `look`.
    """
    if follow_links:
        return look(path, follow_links)
    own = path.resolve()
    return kept(
        own, f"hdf5 {VERSION}", lambda: look(own), lambda tree: _packed(tree, own),
        lambda told: _unpacked(told, own),
    )  # fmt: skip


def indexed_column(
    places: Sequence[Place], where: str, read: Callable[[], NDArray[Any]]
) -> NDArray[Any]:
    """One value for each data set, as `read` reads them; kept where many lie in one file.

    Args:
        places: of the data sets.
        where: the value lies beside each.
        read: gives (N,) numbers, or text as objects.
    """
    if len(places) < MANY or any(place.file != places[0].file for place in places):
        return read()
    paths = hashlib.blake2b("\0".join(place.path for place in places).encode()).hexdigest()
    return kept(
        places[0].file.resolve(),
        f"hdf5 column {VERSION} {where} {paths}",
        read,
        lambda values: [values.dtype.str, values.tolist()],
        lambda told: np.array(told[1], dtype=np.dtype(told[0])),
    )


def _packed(tree: Tree, path: Path) -> dict[str, Any] | None:
    """Arrays as the kinds that there are of them, and for each its kind and where it lies."""
    plain = all(
        place == Place(path, f"/{name}") and type(array.same_as) is tuple
        for (name, place), array in zip(tree.places.items(), tree.arrays.values(), strict=True)
    )
    if len(tree.arrays) < MANY or not plain:
        return None
    kinds: dict[str, int] = {}
    specs: list[list[Any]] = []
    rows: list[tuple[str, int, int]] = []
    for name, array in tree.arrays.items():
        dtype = array.dtype
        if np.dtype(dtype.str) != dtype:
            return None  # of fields, which its name does not tell
        values = sorted(array.values.items()) if array.values else None
        spec = [array.shape, dtype.str, values, array.class_names, array.turned]
        kind = kinds.setdefault(repr(spec), len(specs))
        if kind == len(specs):
            specs.append(spec)
        rows.append((name, kind, array.same_as[1]))  # type: ignore[index]
    return {"kinds": specs, "arrays": rows, "refused": tree.refused}


def _unpacked(told: dict[str, Any], path: Path) -> Tree:
    kinds: list[dict[str, Any]] = [
        {
            "shape": tuple(shape),
            "dtype": np.dtype(dtype),
            "values": dict(values) if values else None,
            "class_names": None if names is None else tuple(names),
            "turned": turned,
        }
        for shape, dtype, values, names, turned in told["kinds"]
    ]
    tree = Tree(refused=told["refused"])
    for name, kind, at in told["arrays"]:
        tree.arrays[name] = Array(**kinds[kind], same_as=(0, at))
        tree.places[name] = Place(path, f"/{name}")
    return tree
