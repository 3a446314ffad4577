"""What the attributes of an OME-Zarr store say, versions 0.4 (Zarr v2) and 0.5 (Zarr v3).

After the specification of OME-NGFF 0.4 and 0.5, sections "multiscales", "plate", "well" and
"bioformats2raw.layout" (ngff.openmicroscopy.org). Plain dictionaries in, plain data out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from domainjepa.errors import DataError, did_you_mean

MILLIMETRES = {
    "angstrom": 1e-7,
    "nanometer": 1e-6,
    "micrometer": 1e-3,
    "millimeter": 1.0,
    "centimeter": 10.0,
    "decimeter": 100.0,
    "meter": 1000.0,
    "picometer": 1e-9,
    "inch": 25.4,
}
"""Units of length by their UDUNITS-2 names, as the specification demands."""

Attributes = Mapping[str, Any]


@dataclass(frozen=True)
class Level:
    """One resolution of an image.

    Attributes:
        path: of its array, below the image.
        axes: one letter for each axis of the array: t, c, z, y, x.
        spacing: millimetres a pixel along z, y, x (those that are there); None where not told.
        levels: how many resolutions there are.
        lower: paths of the coarser ones, from fine to coarse.
    """

    path: str
    axes: str
    spacing: tuple[float, ...] | None
    levels: int
    lower: tuple[str, ...] = ()


def metadata(attributes: Attributes) -> Attributes:
    """The OME part of a node's attributes: under `ome` since 0.5, at the top before."""
    ome = attributes.get("ome")
    return ome if isinstance(ome, Mapping) else attributes


def wells(attributes: Attributes) -> list[str] | None:
    """Paths of the wells of a plate, or None where this is no plate."""
    plate = metadata(attributes).get("plate")
    return [str(well["path"]) for well in plate["wells"]] if plate else None


def fields(attributes: Attributes) -> list[str]:
    """Paths of the fields of view of a well, below it."""
    return [str(image["path"]) for image in metadata(attributes)["well"]["images"]]


def is_series(attributes: Attributes) -> bool:
    """Whether images lie in "0", "1", …, as bioformats2raw writes them."""
    return "bioformats2raw.layout" in metadata(attributes)


def level(attributes: Attributes, chosen: str | None, where: str) -> Level | None:
    """A resolution of an image, the first and finest by default; None where this is no image.

    Args:
        attributes: of the image's group.
        chosen: the path of a resolution, such as "1".
        where: what to call the store in a message.

    Raises:
        DataError: no such resolution, or axes that are not understood.
        Others, such as KeyError: damaged.
    """
    found = metadata(attributes).get("multiscales")
    if not found:
        return None
    multiscale = found[0]
    paths = {str(dataset["path"]): dataset for dataset in multiscale["datasets"]}
    path = next(iter(paths)) if chosen is None else chosen.strip("/")
    if path not in paths:
        raise DataError(
            f"data.images={chosen}: {where} has no such resolution.{did_you_mean(path, paths)}"
        )
    axes = multiscale.get("axes", list("tczyx"))  # 0.1 and 0.2 have these five
    letters = _letters(axes, where)
    scales = [_scale(each, len(letters)) for each in (paths[path], multiscale)]
    spacing = []
    for number, (axis, letter) in enumerate(zip(axes, letters, strict=True)):
        unit = MILLIMETRES.get(axis.get("unit", "")) if isinstance(axis, Mapping) else None
        if letter in "zyx":
            length = (unit or 0.0) * scales[0][number] * scales[1][number]
            spacing.append(length)
    told = all(length > 0 for length in spacing) and "coordinateTransformations" in paths[path]
    lower = tuple(list(paths)[list(paths).index(path) + 1 :])
    return Level(path, letters, tuple(spacing) if told else None, len(paths), lower)


def _letters(axes: list[Any], where: str) -> str:
    """One letter an axis: by its type, and the axes of space in the order z, y, x."""
    kinds = {"time": "t", "channel": "c"}
    told = [axis if isinstance(axis, Mapping) else {"name": axis} for axis in axes]
    names = [str(axis["name"]).lower() for axis in told]
    letters = [
        kinds.get(str(axis.get("type")), "s" if axis.get("type") == "space" else name)
        for axis, name in zip(told, names, strict=True)
    ]
    letters = ["s" if letter in ("z", "y", "x") else letter for letter in letters]
    space = letters.count("s")
    order = iter("zyx"[3 - space :] if 2 <= space <= 3 else "")
    letters = [next(order, "s") if letter == "s" else letter for letter in letters]
    joined = "".join(letters)
    if not set(joined) <= set("tczyx") or len(set(joined)) != len(letters) or space < 2:
        raise DataError(f"the axes of {where} are {', '.join(names)}; t, c, z, y, x are read.")
    return joined


def _scale(part: Mapping[str, Any], axes: int) -> list[float]:
    """The product of the scales of a part's transformations, one an axis."""
    product = [1.0] * axes
    for transformation in part.get("coordinateTransformations", ()):
        if transformation.get("type") == "scale":
            for number, factor in enumerate(transformation["scale"][:axes]):
                product[number] *= float(factor)
    return product
