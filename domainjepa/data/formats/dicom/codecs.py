"""One compressed frame of a DICOM file, decoded.

Which decoder is asked is decided here, by what it does with damage; and none is asked before the
frame's own header is found to tell the same size as the file's.
"""

from __future__ import annotations

import struct
from importlib import import_module
from typing import Any

from numpy.typing import NDArray

from domainjepa.data.formats.dicom.file import DICOM, BoundedFile
from domainjepa.data.formats.dicom.header import COLOUR
from domainjepa.errors import DataError, MissingExtra

Image = NDArray[Any]

TWELVE_BITS = f"{DICOM}.4.51"
"""JPEG Extended: of 8 bits in some files, of 12 in most."""
JPEG, JPEG_LS, JPEG_2000, RLE = "JPEG", "JPEG-LS", "JPEG 2000", "RLE"
CODECS = {
    f"{DICOM}.5": (RLE, "pydicom", "pydicom"),
    f"{DICOM}.4.50": (JPEG, "pillow", "PIL"),
    TWELVE_BITS: (JPEG, "imagecodecs", "imagecodecs"),
    f"{DICOM}.4.57": (JPEG, "imagecodecs", "imagecodecs"),
    f"{DICOM}.4.70": (JPEG, "imagecodecs", "imagecodecs"),
    f"{DICOM}.4.80": (JPEG_LS, "pyjpegls", "jpeg_ls"),
    f"{DICOM}.4.81": (JPEG_LS, "pyjpegls", "jpeg_ls"),
    f"{DICOM}.4.90": (JPEG_2000, "pylibjpeg", "openjpeg"),
    f"{DICOM}.4.91": (JPEG_2000, "pylibjpeg", "openjpeg"),
    f"{DICOM}.4.201": (JPEG_2000, "pylibjpeg", "openjpeg"),
    f"{DICOM}.4.202": (JPEG_2000, "pylibjpeg", "openjpeg"),
    f"{DICOM}.4.203": (JPEG_2000, "pylibjpeg", "openjpeg"),
}
"""Transfer syntax -> its kind, the decoder, and the module that has to be there. GDCM is not among
them: a few flipped bits in a JPEG make it end the whole process."""


def decoded(
    file: BoundedFile, found: Any, syntax: str, options: dict[str, Any], index: int
) -> Image:
    """One encapsulated frame."""
    from pydicom.encaps import encapsulate, get_frame
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.pixels.processing import convert_color_space

    kind, decoder, module = CODECS[syntax]
    rest = {name: value for name, value in options.items() if name != "extended_offsets"}
    rest["number_of_frames"] = 1
    frame = get_frame(
        file,
        index,
        number_of_frames=options["number_of_frames"],
        extended_offsets=options.get("extended_offsets"),
    )
    _check_coded(frame, kind, found)
    if syntax == TWELVE_BITS and _size_jpeg(frame)[0] == 8:
        decoder, module = "pillow", "PIL"
    try:
        codec = import_module(module)
    except ImportError as error:
        raise MissingExtra(decoder, "dicom", f"decoding {kind} in DICOM") from error
    if decoder != "imagecodecs":
        one = encapsulate([frame], has_bot=False)
        return get_decoder(syntax).as_array(one, index=0, decoding_plugin=decoder, **rest)[0]
    array: Image = codec.jpeg_decode(frame)
    if found.PhotometricInterpretation in COLOUR:
        return convert_color_space(array, found.PhotometricInterpretation, "RGB")
    word = int(found.BitsAllocated) // 8
    kind_of = "ui"[int(found.get("PixelRepresentation") or 0)]
    return own_bits(array.astype(f"u{word}", copy=False).view(f"{kind_of}{word}"), found)


def own_bits(array: Image, found: Any) -> Image:
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
