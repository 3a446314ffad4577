"""The pixels of a DICOM file as values: decoded, rescaled, the right way up in brightness.

The order is that of PS3.3 C.11 and PS3.4 N.2: stored values, modality rescale (or table), and then,
instead of a window for one display, the values themselves; of MONOCHROME1, where low is bright, the
complement within the range that the file can store. A window (VOI) belongs to a reader and a
question, not to the data: it is left to the domain.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.dicom_file import (
    PIXELS,
    BoundedFile,
    begins_like_dicom,
    parse,
    pixel_tag,
)
from domainjepa.data.dicom_header import COLOUR, GREY, PALETTE, stored_range
from domainjepa.errors import DataError, MissingExtra

Image = NDArray[Any]

_1_2 = "1.2.840.10008.1.2"
NATIVE = {(True, True): _1_2, (False, True): f"{_1_2}.1", (False, False): f"{_1_2}.2"}
"""(implicit, little endian) -> transfer syntax, where the file names none."""

JPEG, JPEG_LS, JPEG_2000, RLE = "JPEG", "JPEG-LS", "JPEG 2000", "RLE"
CODECS = {
    f"{_1_2}.5": (RLE, "pydicom", ""),
    f"{_1_2}.4.50": (JPEG, "pillow", "PIL"),
    f"{_1_2}.4.51": (JPEG, "imagecodecs", "imagecodecs"),
    f"{_1_2}.4.57": (JPEG, "imagecodecs", "imagecodecs"),
    f"{_1_2}.4.70": (JPEG, "imagecodecs", "imagecodecs"),
    f"{_1_2}.4.80": (JPEG_LS, "pyjpegls", "jpeg_ls"),
    f"{_1_2}.4.81": (JPEG_LS, "pyjpegls", "jpeg_ls"),
    f"{_1_2}.4.90": (JPEG_2000, "pylibjpeg", "openjpeg"),
    f"{_1_2}.4.91": (JPEG_2000, "pylibjpeg", "openjpeg"),
    f"{_1_2}.4.201": (JPEG_2000, "pylibjpeg", "openjpeg"),
    f"{_1_2}.4.202": (JPEG_2000, "pylibjpeg", "openjpeg"),
    f"{_1_2}.4.203": (JPEG_2000, "pylibjpeg", "openjpeg"),
}
"""Transfer syntax -> its kind, the decoder, and the module that has to be there. GDCM is not among
them: a few flipped bits in a JPEG make it end the whole process."""

TAGS = [
    "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames", "Rows",
    "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
    "ModalityLUTSequence", "PixelPresentation", "RedPaletteColorLookupTableDescriptor",
    "GreenPaletteColorLookupTableDescriptor", "BluePaletteColorLookupTableDescriptor",
    "RedPaletteColorLookupTableData", "GreenPaletteColorLookupTableData",
    "BluePaletteColorLookupTableData", "SegmentedRedPaletteColorLookupTableData",
    "SegmentedGreenPaletteColorLookupTableData", "SegmentedBluePaletteColorLookupTableData",
    "ExtendedOffsetTable", "ExtendedOffsetTableLengths",
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
            stored = _stored(file, found, tag, frames)
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
            yield _decoded(file, found, syntax, options, frame)
        return
    if syntax not in NATIVE.values():
        name = getattr(syntax, "name", "") if getattr(syntax, "is_transfer_syntax", False) else ""
        raise DataError(
            f"its transfer syntax {name or syntax} is not read. Convert it to an uncompressed one, "
            "for example with dcmtk: dcmconv, dcmdjpeg; frames of a video with ffmpeg"
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
        yield _own_bits(array, found) if tag == PIXELS[2] else array


def _keyword(tag: int) -> str:
    return ("FloatPixelData", "DoubleFloatPixelData", "PixelData")[PIXELS.index(tag)]


def _own_bits(array: Image, found: Any) -> Image:
    """The stored bits alone, from the high bit down, with their sign.

    What lies above may be an overlay or anything (PS3.5 8.1.1), and files of before 2014 may have
    the high bit anywhere.
    """
    allocated, stored = int(found.BitsAllocated), int(found.BitsStored)
    high = int(found.get("HighBit") or stored - 1)
    if stored >= allocated or allocated not in (8, 16, 32):
        return array
    if not stored - 1 <= high < allocated:
        raise DataError("its header is damaged: HighBit and BitsStored do not fit")
    return (array << (allocated - 1 - high)) >> (allocated - stored)


def _decoded(
    file: BoundedFile, found: Any, syntax: str, options: dict[str, Any], index: int
) -> Image:
    """One encapsulated frame."""
    from pydicom.encaps import encapsulate, get_frame
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.pixels.processing import convert_color_space

    kind, decoder, module = CODECS[syntax]
    offsets = options.pop("extended_offsets", None)
    frame = get_frame(
        file, index, number_of_frames=options["number_of_frames"], extended_offsets=offsets
    )
    _check_coded(frame, kind, found)
    if kind == JPEG and decoder != "pillow" and _precision(frame) == 8 and syntax.endswith(".51"):
        decoder, module = "pillow", "PIL"
    try:
        codec = import_module(module) if module else None
    except ImportError as error:
        raise MissingExtra(decoder, "dicom", f"decoding {kind} in DICOM") from error
    if decoder != "imagecodecs":
        one = encapsulate([frame], has_bot=False)
        array, _ = get_decoder(syntax).as_array(
            one, index=0, decoding_plugin=decoder, **{**options, "number_of_frames": 1}
        )
        return array
    assert codec is not None
    array = codec.jpeg_decode(frame)
    if found.PhotometricInterpretation in COLOUR:
        return convert_color_space(array, found.PhotometricInterpretation, "RGB")
    if array.dtype.itemsize != int(found.BitsAllocated) // 8:
        array = array.astype(f"u{int(found.BitsAllocated) // 8}")
    return _own_bits(array.view("ui"[int(found.PixelRepresentation)] + str(array.itemsize)), found)


def _values(stored: Image, found: Any, scale: Sequence[float]) -> Image:
    """Stored values as what they mean, (H, W, C)."""
    from pydicom.pixels.processing import apply_color_lut, apply_rescale

    photometric = found.PhotometricInterpretation
    if photometric == PALETTE:
        colours: Image = apply_color_lut(stored, found)[..., :3]
        if int(found.RedPaletteColorLookupTableDescriptor[2]) <= 8 < 8 * colours.itemsize:
            colours = colours if colours.max() < 256 else colours >> 8
        return colours
    if photometric not in GREY:
        return stored >> 16 if stored.itemsize > 2 else stored
    values = stored.astype(stored.dtype.newbyteorder("="), copy=False)
    if values.dtype.kind in "ui":
        values = values.astype(np.int32 if values.itemsize < 4 else np.int64)
    inverted = photometric == "MONOCHROME1"
    if not scale:
        values = apply_rescale(values, found)
        low, high = 0, 2 ** int(found.ModalityLUTSequence[0].LUTDescriptor[2]) - 1
    elif inverted:
        low, high = stored_range(int(found.BitsStored), int(found.PixelRepresentation))
    if inverted:
        # Before a linear rescale or after it is the same: s(l + h - x) + i.
        values = low + high - values.astype(np.int64)
    if scale and tuple(scale) != (1.0, 0.0):
        values = values.astype(np.float64) * scale[0] + scale[1]
    return values[..., None]


def _check_coded(frame: bytes, kind: str, found: Any) -> None:
    """Raises DataError where a coded frame would come to another size than the header tells.

    Decoders allocate, and take time, by what the frame says of itself.
    """
    rows, columns = int(found.Rows), int(found.Columns)
    samples = int(found.get("SamplesPerPixel") or 1)
    if kind == RLE:
        # PackBits is at worst 129/128 of what it packs; one byte of a longer segment could still
        # come to 64. One segment for each byte of a pixel (PS3.5 G.2).
        most = 64 + (rows * columns * 129 // 128 + 64) * samples * (int(found.BitsAllocated) // 8)
        if len(frame) > most:
            raise DataError(f"its RLE frame of {len(frame):,} bytes is longer than any can be")
        return
    coded = _size_2000(frame) if kind == JPEG_2000 else _size_jpeg(frame)[1:]
    if coded != (rows, columns, samples):
        raise DataError(
            f"its {kind} frame is damaged: it is {' x '.join(map(str, coded)) or 'none'}, and "
            f"{rows} x {columns} x {samples} in the header"
        )


def _precision(frame: bytes) -> int:
    return _size_jpeg(frame)[0] if _size_jpeg(frame) else 0


def _size_jpeg(frame: bytes) -> tuple[int, ...]:
    """(bits, rows, columns, components) of a JPEG or JPEG-LS, or (): ISO 10918-1 B.2.2."""
    place = 2
    while place + 10 <= len(frame) and frame[place] == 0xFF:
        marker = frame[place + 1]
        if marker == 0xFF:  # a fill byte
            place += 1
            continue
        if (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)) or marker == 0xF7:
            return struct.unpack(">BHHB", frame[place + 4 : place + 10])
        place += 2 + struct.unpack(">H", frame[place + 2 : place + 4])[0]
    return ()


def _size_2000(frame: bytes) -> tuple[int, ...]:
    """(rows, columns, components) of a JPEG 2000, or (): ISO 15444-1 A.5.1; some are boxed."""
    place = frame.find(b"\xff\x4f\xff\x51", 0, 4096)
    if place < 0 or len(frame) < place + 42:
        return ()
    width, height, left, top = struct.unpack(">4I", frame[place + 8 : place + 24])
    return height - top, width - left, struct.unpack(">H", frame[place + 40 : place + 42])[0]
