"""TIFF beyond the plain 8-bit picture: deep, floating, of many bands or many pages; by tifffile.

The axes of a file are called by tifffile's letters: Y and X are the sides, S (samples of a pixel)
and C are channels, all others count pages: T, Z, and I or Q where nothing says what they mean.
OME and ImageJ metadata name them. References: TIFF 6.0 (Adobe, 1992); BigTIFF.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.formats.images.orientation import TAG, TURNS
from domainjepa.data.formats.images.window import read_window, segment_of
from domainjepa.data.source import Image, OpenOptions
from domainjepa.data.storage.large import lines
from domainjepa.data.storage.uncompressed import Stored
from domainjepa.errors import DataError, MissingExtra

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""TIFF and BigTIFF in either byte order."""
NODATA = 42113
"""GDAL_NODATA: the value, as text, of pixels that hold no measurement."""
WHITE_IS_ZERO, ALPHA = 0, (1, 2)
PHOTOMETRIC = (WHITE_IS_ZERO, 1, 2, 6)
"""Grey either way, RGB, and the YCbCr of JPEG, which its decoder turns into RGB."""


class Series:
    """An open TIFF file, one of its series, and what becomes of the axes.

    Attributes:
        axes, sizes: of the series, such as TZCYX.
        counted: places of the axes that count samples; none where the file is one sample.
        samples: how many.
        shape: (H, W, C) of a sample, or (D, H, W, C).
        dtype: native.
    """

    def __init__(self, file: TiffFile, options: OpenOptions, whole: bool) -> None:
        """Reads headers alone.

        Args:
            whole: the file is one sample, else each of its pages is.

        Raises:
            DataError: several series, an unknown meaning of the values, or too large a sample.
        """
        self._series = series = _pick(file, options.images, whole)
        self._keyframe = keyframe = series.keyframe
        self.axes, self.sizes = series.axes, series.shape
        if options.axis not in (None, "bands", "samples"):
            raise DataError(f"data.axis={options.axis}: for TIFF it is 'bands' or 'samples'")
        if not {"Y", "X"} <= set(self.axes):
            raise DataError(f"its axes are {self.axes}, and an image has Y and X")
        if keyframe.photometric not in PHOTOMETRIC:
            raise DataError(
                f"its values are {getattr(keyframe.photometric, 'name', keyframe.photometric)}; "
                "save it as grey or RGB"
            )
        pages = [place for place, axis in enumerate(self.axes) if axis not in "YXSC"]
        depth = self._depth(pages) if options.dimensions == 3 else []
        pages = [place for place in pages if place not in depth]
        bands = pages if options.axis == "bands" else []
        self.counted = [place for place in pages if place not in bands]
        if whole and np.prod([self.sizes[place] for place in self.counted]) > 1:
            raise DataError(
                f"it has several pages (axes {self.axes}, {'x'.join(map(str, self.sizes))}): "
                "--set data.axis=bands makes them channels, --set data.dimensions=3 a volume; "
                "a stack whose pages are samples is given by itself as --data"
            )
        self.samples = int(np.prod([self.sizes[place] for place in self.counted]))
        named = [place for place, axis in enumerate(self.axes) if axis in "SC"]
        self._channels = sorted(named + bands)
        sides = [self.axes.index("Y"), self.axes.index("X")]
        self._order = [*depth, *sides, *self._channels]
        self._alpha = self._transparency()
        count = int(np.prod([self.sizes[place] for place in self._channels])) - len(self._alpha)
        self._sides = (self.sizes[sides[0]], self.sizes[sides[1]])
        self._turn = TURNS.get(int(getattr(keyframe.tags.get(TAG), "value", 1)), TURNS[1])
        deep = (self.sizes[place] for place in depth)
        self.shape = (*deep, *self._turn.sides(self._sides), count)
        self._nodata = _nodata(keyframe, _native(series.dtype))
        self._native = _native(series.dtype)
        integers = self._native.kind != "f"
        # Where pixels can be missing, values are floats: nothing else knows NaN.
        self.dtype = _float_of(self._native) if self._nodata and integers else self._native
        self._stored = self._uncompressed(file)
        self._check_size(options)

    def _depth(self, pages: list[int]) -> list[int]:
        named = [place for place in pages if self.axes[place] == "Z"]
        return named or (pages if len(pages) == 1 else [])

    def _transparency(self) -> list[int]:
        """Which samples of a pixel are alpha."""
        extra = self._keyframe.extrasamples
        if "S" not in self.axes or "C" in self.axes:
            return []
        first = self.sizes[self.axes.index("S")] - len(extra)
        return [first + place for place, kind in enumerate(extra) if int(kind) in ALPHA]

    def _uncompressed(self, file: TiffFile) -> Stored | None:
        """The series as it lies in the file, where its pages follow each other uncompressed."""
        if self._series.dataoffset is None or not file.filehandle.is_file:
            return None
        dtype = self._series.dtype.newbyteorder(file.byteorder)
        return Stored(Path(file.filehandle.path), dtype, self.sizes, self._series.dataoffset)

    def _check_size(self, options: OpenOptions) -> None:
        """Raises DataError before anything is allocated that only the header asks for.

        What is read in parts may be of any size.
        """
        height, width = segment_of(self._keyframe)
        asked: list[tuple[str, tuple[int, ...]]] = [
            ("a tile or strip of it", (height, width, self._keyframe.samplesperpixel))
        ]
        if options.read_whole(len(self.shape) == 4):
            asked += [("it", self.shape), ("a page of it", self._keyframe.shape)]
        for what, sides in asked:
            size = int(np.prod(sides, dtype=object)) * self.dtype.itemsize
            if size > options.max_sample_bytes:
                raise DataError(
                    f"{what} would take {size:,} bytes, more than {options.max_sample_bytes:,}; "
                    f"if that is meant: --set data.max_sample_bytes={size}"
                )

    @property
    def chunks(self) -> tuple[int, ...]:
        """What is read and unpacked at once, along [D,] H, W: a tile or strip of a page, or what a
        disk gives at once."""
        down, across = segment_of(self._keyframe)
        if self._stored is not None:
            down, across = lines(self._sides, self.dtype.itemsize * self._keyframe.samplesperpixel)
        turned = self._turn.sides((down, across))
        return (*(1 for _ in self.shape[:-3]), *turned)

    def read(self, sample: int = 0, window: tuple[slice, ...] = ()) -> Image:
        """One sample, (H, W, C) or (D, H, W, C), or a window of it along (D), H, W."""
        at = np.unravel_index(sample, [self.sizes[place] for place in self.counted])
        index: list[Any] = [slice(None)] * len(self.axes)
        for place, number in zip(self.counted, at, strict=True):
            index[place] = int(number)
        if window:
            *deep, rows, columns = window
            window = (*deep, *self._turn.window((rows, columns), self._sides))
        for place, part in zip(self._order, window, strict=False):
            index[place] = part
        stored = self._pages(index) if self._stored is None else self._stored[tuple(index)]
        left = [place for place in range(len(self.axes)) if place not in self.counted]
        image = np.transpose(stored, [left.index(place) for place in self._order])
        image = image.reshape(*image.shape[: len(self.shape) - 1], -1)
        if self._alpha:
            image = np.delete(image, self._alpha, axis=-1)
        return self._turn(self._as_brightness(image))

    def _pages(self, index: list[Any]) -> NDArray[Any]:
        """What an index says of the series, from the pages that it needs."""
        series, keyframe = self._series, self._keyframe
        leading = len(self.axes) - keyframe.ndim
        if self.sizes[leading:] != keyframe.shape:
            raise DataError(f"its pages are {keyframe.shape}, which the axes do not tell")
        numbers = np.arange(len(series)).reshape(self.sizes[:leading])[tuple(index[:leading])]
        pages = []
        for number in np.ravel(numbers).tolist():
            page = series[number]
            if page is None:
                raise DataError(f"page {number} is missing")
            pages.append(self._page(page, index[leading:]))
        return np.reshape(pages, (*np.shape(numbers), *pages[0].shape))

    def _page(self, page: TiffPage, index: list[Any]) -> NDArray[Any]:
        """A page, or what is asked of its rows and columns."""
        axes = self.axes[-len(index) :]
        rows, columns = index[axes.index("Y")], index[axes.index("X")]
        if axes not in ("YX", "YXS", "SYX") or (rows, columns) == (slice(None), slice(None)):
            part: NDArray[Any] = page.asarray(maxworkers=1)[tuple(index)]
            return part
        return read_window(page, rows, columns)

    def _as_brightness(self, image: NDArray[Any]) -> Image:
        """Native, bits as 0 and 255, the larger the brighter, and NaN where there is no data."""
        missing = image == self._nodata[0] if self._nodata else None
        image = np.where(image, 255, 0) if image.dtype.kind == "b" else image
        image = np.array(image, dtype=self._native, order="C")
        if self._keyframe.photometric == WHITE_IS_ZERO and self._native.kind == "u":
            image = np.asarray(np.iinfo(self._native).max - image, dtype=self._native)
        image = image.astype(self.dtype, copy=False)
        if missing is not None:
            image[missing] = np.nan
        return image

    def __str__(self) -> str:
        """What the axes became, where there is something to say."""
        depth = self.axes[self._order[0]] if len(self.shape) == 4 else ""
        channels = "".join(self.axes[place] for place in self._channels)
        roles = (
            ("".join(self.axes[place] for place in self.counted), "counts samples"),
            (depth, "is the depth"),
            (channels if channels not in ("", "S") else "", "makes the channels"),
        )
        told = [f"{axes} {role}" for axes, role in roles if axes]
        told = [f"axes {self.axes}", *told] if told else []
        told += [f"the value {one:g} is missing, as the file says" for one in self._nodata]
        return ", ".join(told)


def _native(dtype: np.dtype[Any]) -> np.dtype[Any]:
    if dtype.kind == "b":
        return np.dtype("uint8")
    if dtype.kind not in "uif":
        raise DataError(f"its values are {dtype}; integers and floats are read")
    return dtype.newbyteorder("=")


def _nodata(page: TiffPage, dtype: np.dtype[Any]) -> list[float]:
    """The value of pixels without a measurement (GDAL_NODATA), or []."""
    told = getattr(page.tags.get(NODATA), "value", None)
    try:
        value = float(str(told).strip("\0 ")) if told is not None else np.nan
    except ValueError:
        return []  # nothing that a pixel could be
    if dtype.kind == "f":
        value = float(dtype.type(value))  # as the pixels hold it: written with more or fewer digits
    return [value] if np.isfinite(value) else []


def _float_of(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The smallest float from 32 bits on that holds every one of these integers."""
    return np.result_type(dtype, np.float32)


def _pick(file: TiffFile, chosen: str | None, whole: bool) -> Any:
    """The series that the user names by its number, else the only one."""
    every = file.series
    # Beside the pyramid of a whole slide lie a thumbnail and a photograph of the glass's label.
    candidates = [series for series in every if series.is_pyramidal] or every
    if len(candidates) == 1 and (whole or chosen is None):
        return candidates[0]
    if not whole and chosen is not None and chosen.isdigit() and int(chosen) < len(every):
        return every[int(chosen)]
    listed = ", ".join(
        f"{number} ({series.axes} {'x'.join(map(str, series.shape))} {series.dtype})"
        for number, series in enumerate(every[:20])
    )
    what = "store one a file" if whole else "pick one: --set data.images=0"
    raise DataError(f"it holds {len(every)} images of different kinds, {listed}; {what}")


@contextlib.contextmanager
def opened(place: Path | IO[bytes], options: OpenOptions, whole: bool = True) -> Iterator[Series]:
    """A TIFF file for as long as the context lasts.

    Raises:
        DataError: as `Series`.
        MissingExtra: tifffile is not installed.
        Others: whatever the decoder raises on damaged bytes.
    """
    with open_file(place) as file:
        yield Series(file, options, whole)


def open_file(place: Path | IO[bytes]) -> TiffFile:
    """A path or an open file, opened such that no other file is read, whatever the metadata say."""
    try:
        from tifffile import TiffFile
    except ImportError as error:
        purpose = "TIFF of 16-bit colour, many pages or many bands"
        raise MissingExtra("tifffile", "tiff", purpose) from error
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # damage is told by exceptions
    if not isinstance(place, Path):
        place.seek(0)
    return TiffFile(place, mode="r", _multifile=False, is_mmstack=False, is_ndtiff=False)
