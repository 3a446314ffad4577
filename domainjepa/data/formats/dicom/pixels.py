"""The pixels of a DICOM file as values: decoded, rescaled, the right way up in brightness.

The order is that of PS3.3 C.11 and PS3.4 N.2: stored values, modality rescale (or table), and then,
instead of a window for one display, the values themselves; of MONOCHROME1, where low is bright, the
complement within the range that the file can store. Pixels that only fill the frame up
(PixelPaddingValue) become NaN: missing, and not the air of a CT. A window (VOI) belongs to a reader
and a question, not to the data: it is left to the domain.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.formats.dicom import mosaic
from domainjepa.data.formats.dicom.codecs import CODECS, decoded, own_bits
from domainjepa.data.formats.dicom.file import (
    NATIVE,
    PIXELS,
    BoundedFile,
    begins_like_dicom,
    parse,
    pixel_tag,
)
from domainjepa.data.formats.dicom.frames import GREY, PADDING, padding_of
from domainjepa.data.formats.dicom.header import PALETTE, stored_range
from domainjepa.errors import DataError, MissingExtra

Image = NDArray[Any]

TAGS: list[str | int] = [
    "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames", "Rows",
    "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
    "ModalityLUTSequence", "PixelPresentation", "RedPaletteColorLookupTableDescriptor",
    "GreenPaletteColorLookupTableDescriptor", "BluePaletteColorLookupTableDescriptor",
    "RedPaletteColorLookupTableData", "GreenPaletteColorLookupTableData",
    "BluePaletteColorLookupTableData", "SegmentedRedPaletteColorLookupTableData",
    "SegmentedGreenPaletteColorLookupTableData", "SegmentedBluePaletteColorLookupTableData",
    "ExtendedOffsetTable", "ExtendedOffsetTableLengths", *PADDING, *mosaic.TAGS,
]  # fmt: skip


def read_frames(
    path: Path, frames: Sequence[int], scales: Sequence[Sequence[float]], most: int
) -> Iterator[Image]:
    """Frames of one file as values, each (H, W, C): integers where they are exact, else float64.

    Args:
        path: of the file.
        frames: their numbers, from 0.
        scales: slope and intercept of each of these frames; empty where a table takes their place.
        most: bytes that one frame may take in memory.

    Raises:
        DataError: it is damaged, truncated, of no known encoding, or larger than `most`.
        MissingExtra: the decoder of its encoding is not installed.
    """
    with BoundedFile(path) as file:
        preamble = begins_like_dicom(file.peek(132))
        found = parse(file, TAGS, preamble)
        tag = pixel_tag(file, found)
        if tag not in PIXELS:
            raise DataError("it has no pixel data, or ends before it")
        try:
            _refuse_large(found, most)
            tiles = mosaic.slices_of(found)
            stored = _stored(file, found, tag, [0] if tiles else frames)
            if tiles:
                whole = next(stored)
                stored = (mosaic.tile(whole, number, tiles) for number in frames)
            for image, scale in zip(stored, scales, strict=True):
                yield _values(image, found, scale)
        except (DataError, MissingExtra):
            raise
        except MemoryError as error:
            raise DataError("there is not enough memory for it") from error
        except Exception as error:  # decoders raise anything, and may repeat what they read
            raise DataError(
                f"its pixel data is damaged and cannot be decoded ({type(error).__name__}). "
                "Copy or export it again"
            ) from error


def _refuse_large(found: Any, most: int) -> None:
    size = int(found.Rows) * int(found.Columns) * int(found.get("SamplesPerPixel") or 1)
    size = size * max(int(found.BitsAllocated), 8) // 8
    if size > most:
        raise DataError(
            f"one frame would take {size:,} bytes, more than {most:,}; "
            f"if that is meant: --set data.max_sample_bytes={size}"
        )


def _stored(file: BoundedFile, found: Any, tag: int, frames: Sequence[int]) -> Iterator[Image]:
    """Stored values of frames, (H, W) or (H, W, 3); colours as RGB."""
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.pixels.utils import as_pixel_options

    syntax = found.file_meta.get("TransferSyntaxUID") or NATIVE[found.original_encoding]
    kind = file.read(8)[4:6]
    explicit = kind in (b"OB", b"OW", b"OF", b"OD", b"UN")  # else a length; some files mix both
    if explicit:
        file.seek(4, 1)
    options = as_pixel_options(
        found, pixel_keyword=_keyword(tag), pixel_vr=kind.decode("ascii") if explicit else None
    )
    if syntax in CODECS:
        start = file.tell()
        for frame in frames:
            file.seek(start)
            yield decoded(file, found, syntax, options, frame)
        return
    if syntax not in NATIVE.values():
        known = getattr(syntax, "name", syntax)
        name = known if known != str(syntax) else "a private one"
        raise DataError(
            f"its transfer syntax, {name}, is not read. Convert it to an uncompressed one, for "
            "example with dcmtk: dcmconv, dcmdjpeg; frames of a video with ffmpeg"
        )
    bits = int(found.BitsAllocated) * math.prod(
        int(found.get(side) or 1) for side in ("Rows", "Columns", "SamplesPerPixel")
    )
    if found.PhotometricInterpretation == "YBR_FULL_422":
        bits = bits * 2 // 3
    held = file.length - file.tell()
    needed = -(-bits * (max(frames) + 1) // 8)
    if held < needed:
        raise DataError(f"it is truncated: {held:,} bytes of pixel data, not {needed:,}")
    decoder = get_decoder(syntax)
    start = file.tell()
    for frame in frames:
        file.seek(start)
        options["correct_unused_bits"] = False
        array, _ = decoder.as_array(file, index=frame, **options)
        yield own_bits(array, found) if tag == PIXELS[2] else array


def _keyword(tag: int) -> str:
    return ("FloatPixelData", "DoubleFloatPixelData", "PixelData")[PIXELS.index(tag)]


def _values(stored: Image, found: Any, scale: Sequence[float]) -> Image:
    """Stored values as what they mean, (H, W, C)."""
    from pydicom.pixels.processing import apply_color_lut, apply_rescale

    photometric = found.PhotometricInterpretation
    if photometric == PALETTE:
        _check_segments(found)
        colours: Image = apply_color_lut(stored, found)[..., :3]
        if int(found.RedPaletteColorLookupTableDescriptor[2]) <= 8 < 8 * colours.itemsize:
            colours = colours if colours.max() < 256 else colours >> 8
        return colours
    if photometric not in GREY:
        return stored >> 16 if stored.itemsize > 2 else stored
    if not scale:
        depth = int(found.ModalityLUTSequence[0].LUTDescriptor[2])
        values = apply_rescale(stored.astype(np.int64), found)
        low, high = 0, 2**depth - 1
    else:
        values = stored
        low, high = stored_range(int(found.get("BitsStored") or 1), _signed(found))
    if photometric == "MONOCHROME1":
        # Before a linear rescale or after it is the same: s(l + h - x) + i.
        values = low + high - values.astype(np.int64)
    if scale and tuple(scale) != (1.0, 0.0):
        values = values.astype(np.float64) * scale[0] + scale[1]
    padding = padding_of(found)
    if padding:
        values = values.astype(np.float64)
        values[(padding[0] <= stored) & (stored <= padding[1])] = np.nan
    return values[..., None]


def _check_segments(found: Any) -> None:
    """Raises DataError where the segments of a palette come to more than any palette can hold.

    A linear segment of six bytes stands for up to 65,535 entries, an indirect one for others again
    (PS3.3 C.7.9.2); the latter are refused.
    """
    width = int(found.RedPaletteColorLookupTableDescriptor[2]) // 8
    order = "<" if found.original_encoding[1] else ">"
    for colour in ("Red", "Green", "Blue"):
        coded = found.get(f"Segmented{colour}PaletteColorLookupTableData") or b""
        words = np.frombuffer(coded[: len(coded) // width * width], f"{order}u{width}").tolist()
        place = entries = 0
        while place + 1 < len(words):
            code, length = words[place : place + 2]
            place += 2 + (length if code == 0 else 1)
            entries += length
            if code > 1 or entries > 2**16:
                raise DataError("its palette is damaged, or made of indirect segments")


def _signed(found: Any) -> int:
    return int(found.get("PixelRepresentation") or 0)
