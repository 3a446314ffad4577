"""Which HDUs of a FITS file make the channels of a sample, and how their axes lie.

Axes are written in numpy's order, a letter each: N samples, C bands, D, H, W. A FITS cube of bands
is NAXIS3 = bands, so CHW; a colour picture that was written without a thought is HWC.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

from domainjepa.data.formats.fits.images import ImageHDU
from domainjepa.data.storage.layout import MOST_CHANNELS, SMALLEST_SIDE, leaf
from domainjepa.data.storage.layout import USUAL_NAMES as IMAGE_NAMES
from domainjepa.errors import DataError, did_you_mean

if TYPE_CHECKING:
    from domainjepa.data.source import OpenOptions

USUAL_NAMES = ("sci", *IMAGE_NAMES)
"""Of several image HDUs, the one that alone bears such a name is taken."""


@dataclass(frozen=True)
class Stack:
    """HDUs of one file whose planes, one after the other, are the channels.

    Attributes:
        hdus: one, or one for each band.
        axes: of each of them.
        planes: of the one cube, or None for all.
    """

    hdus: tuple[ImageHDU, ...]
    axes: str
    planes: tuple[int, ...] | None = None
    decisions: tuple[str, ...] = field(default=(), compare=False)

    @property
    def shape(self) -> tuple[int, ...]:
        """(H, W, C) or (D, H, W, C) of a sample."""
        of = dict(zip(self.axes, self.hdus[0].shape, strict=True))
        channels = len(self.planes) if self.planes is not None else of.get("C", 1)
        sides = tuple(of[axis] for axis in "DHW" if axis in of)
        return (*sides, channels * len(self.hdus))

    @cached_property
    def make(self) -> tuple[str, int]:
        """What all samples of a source share: how the axes lie, and how many channels there are."""
        return self.axes, self.shape[-1]


def choose(hdus: Sequence[ImageHDU], hdu: str | None, options: OpenOptions) -> Stack:
    """The stack of one file.

    Args:
        hdus: every image of the file.
        hdu: the name or number that the user gives, or None.
        options: `bands` names HDUs, or numbers the planes of the one cube from 0; `axis` is "bands"
            or "samples" where the shape of a cube does not tell; `dimensions` 3 reads volumes.

    Raises:
        DataError: no image, several, or none that these options fit; the choices are listed.
    """
    if not hdus:
        raise DataError("it has no image: no HDU with two or more axes")
    if options.axis not in (None, "bands", "samples", "hdus"):
        raise DataError(
            f"data.axis={options.axis!r}: of FITS it is 'bands' or 'samples', what the planes of a "
            "cube are, or 'hdus' where each HDU is a sample"
        )
    planes_meant = len(hdus) == 1 and all(band.isdigit() for band in options.bands)
    if options.bands and hdu is None and not planes_meant:
        return _stacked(hdus, options)
    picked, decision = (find(hdus, hdu, "images"), "") if hdu else _only(hdus)
    axes = axes_of(picked, options)
    decisions = [f"images: HDU {picked}{decision}"]
    planes: tuple[int, ...] | None = None
    cube = dict(zip(axes, picked.shape, strict=True))
    if options.bands:
        planes = tuple(_plane(band, cube.get("C", 1)) for band in options.bands)
        told = ", ".join(map(str, planes))
        decisions.append(f"bands: planes {told} of {cube.get('C', 1)}, counted from 0")
    elif "C" in axes:
        where = "first" if axes.index("C") < axes.index("H") else "last"
        decisions.append(f"bands: the {cube['C']} planes along the {where} axis of a sample")
    if "N" in axes:
        decisions.append(f"samples: the {cube['N']:,} planes of a cube, in their order")
    return Stack((picked,), axes, planes, (*decisions, *values(picked)))


def find(hdus: Sequence[ImageHDU], wanted: str, role: str) -> ImageHDU:
    """The HDU of a name (as in EXTNAME, or EXTNAME,EXTVER) or a number; case does not count.

    Raises:
        DataError: there is none, or several.
    """
    name = wanted.strip().lower()
    hits = [hdu for hdu in hdus if hdu.name.lower() == name]
    hits = hits or [hdu for hdu in hdus if hdu.name.lower().partition(",")[0] == name]
    hits = hits or [hdu for hdu in hdus if str(hdu.number) == name]
    if len(hits) == 1:
        return hits[0]
    if hits:
        raise DataError(f"data.{role}={wanted}: there are {listed(hits)}; give the number")
    hint = did_you_mean(wanted, [hdu.name for hdu in hdus if hdu.name])
    raise DataError(f"data.{role}={wanted}: the images are {listed(hdus)}.{hint}")


def listed(hdus: Sequence[ImageHDU]) -> str:
    """At most twenty HDUs by number, name, shape and dtype."""
    return ", ".join(map(str, hdus[:20])) + (", …" if len(hdus) > 20 else "")


def axes_of(hdu: ImageHDU, options: OpenOptions) -> str:
    """How the axes of an image lie.

    Raises:
        DataError: they can be neither an image nor a cube of bands, samples or slices.
    """
    shape = hdu.shape
    if len(shape) == 2 and options.dimensions == 2:
        return "HW"
    if len(shape) == 3 and options.dimensions == 3:
        return "DHW"
    if len(shape) == 3:
        numbered = bool(options.bands)
        bands = _bands(shape, MOST_CHANNELS if not numbered and options.axis is None else 2**31)
        return "NHW" if options.axis == "samples" or bands is None else bands
    if len(shape) == 4 and options.dimensions == 2:
        bands = _bands(shape[1:], MOST_CHANNELS if options.axis is None else 2**31)
        if bands:
            return f"N{bands}"
    what = "volumes" if options.dimensions == 3 else "images"
    raise DataError(f"HDU {hdu} holds no {what}; data.dimensions is {options.dimensions}")


def _bands(shape: Sequence[int], most: int) -> str | None:
    """CHW or HWC: bands are few, leave square images, or are the shorter axis; else the first.

    Bands last are no FITS custom, so the image has to be twice as wide as they are many.
    """
    layouts = {"CHW": (shape[0], *shape[1:]), "HWC": (shape[2], *shape[:2])}

    def oddity(layout: str) -> tuple[bool, bool, int]:
        channels, height, width = layouts[layout]
        return channels > MOST_CHANNELS, height != width, channels

    for layout in sorted(layouts, key=oddity):
        channels, *sides = layouts[layout]
        smallest = max(SMALLEST_SIDE, 2 * channels if layout == "HWC" else 0)
        if channels <= most and min(sides) >= smallest:
            return layout
    return None


def _only(hdus: Sequence[ImageHDU]) -> tuple[ImageHDU, str]:
    """The one image, or the one among several that alone has a usual name; and what to add."""
    usual = [hdu for hdu in hdus if leaf(hdu.name.partition(",")[0]) in USUAL_NAMES]
    picked = usual if len(usual) == 1 else list(hdus)
    if len(picked) == 1:
        rest = [hdu.name or str(hdu.number) for hdu in hdus if hdu is not picked[0]]
        more = ", …" if len(rest) > 10 else ""
        return picked[0], f"; not read: {', '.join(rest[:10])}{more}" if rest else ""
    bands = ",".join(f'"{hdu.name or hdu.number}"' for hdu in hdus[:3])
    raise DataError(
        f"it holds {len(hdus)} images: {listed(hdus)}. Pick one: --set data.images="
        f"{hdus[0].name or hdus[0].number}; several as bands: --set 'data.bands=[{bands}]'; each "
        "as a sample: --set data.axis=hdus"
    )


def _plane(band: str, planes: int) -> int:
    if not band.isdigit() or int(band) >= planes:
        raise DataError(f"data.bands: {band!r} is none of the planes 0 to {planes - 1}")
    return int(band)


def _stacked(hdus: Sequence[ImageHDU], options: OpenOptions) -> Stack:
    """One HDU a band."""
    found = [find(hdus, band, "bands") for band in options.bands]
    check_sides(found, options.bands)
    axes = axes_of(found[0], replace(options, bands=()))
    names = ", ".join(
        f"{band} is HDU {hdu}" for band, hdu in zip(options.bands, found, strict=True)
    )
    return Stack(tuple(found), axes, None, (f"bands: {names}", *values(found[0])))


def check_sides(hdus: Sequence[ImageHDU], bands: Sequence[str]) -> None:
    """Raises DataError where bands differ in shape."""
    for hdu, band in zip(hdus, bands, strict=True):
        if hdu.shape != hdus[0].shape:
            sizes = ["x".join(map(str, one.shape)) for one in (hdus[0], hdu)]
            raise DataError(
                f"the bands {bands[0]} ({sizes[0]}) and {band} ({sizes[1]}) differ in shape; bring "
                "them to one grid (astropy's reproject does)"
            )


def values(hdu: ImageHDU) -> list[str]:
    """What is done to the stored numbers, as one line; none where nothing is."""
    stored, became = hdu.stored.newbyteorder("=").name, hdu.dtype.name
    told = [f"BSCALE {hdu.scale:g}"] if hdu.scale != 1 else []
    told += [f"BZERO {hdu.zero:g}"] if hdu.zero != 0 else []
    told += [f"BLANK {hdu.blank} as NaN"] if hdu.blank is not None else []
    return [f"values: {stored} with {', '.join(told)} become {became}"] if told else []
