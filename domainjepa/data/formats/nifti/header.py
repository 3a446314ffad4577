"""The headers of NIfTI-1 and NIfTI-2 files: what is stored, where, and how it lies in the patient.

NIfTI-1: https://nifti.nimh.nih.gov/nifti-1; NIfTI-2: https://nifti.nimh.nih.gov/nifti-2. A header
is checked against the size of its file before anything is read that it alone asks for.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from domainjepa.errors import DataError, MissingExtra

MAGIC = {348: (344, (b"n+1\0", b"ni1\0")), 540: (4, (b"n+2\0\r\n\x1a\n", b"ni2\0\r\n\x1a\n"))}
"""Size of the header -> where its magic is, and what it may be: with the data, or beside it."""
MOST_CHANNELS = 16
"""Of a fourth axis; a longer one is a series of volumes."""
MOST_PACKED = 1100
"""Times its size that a deflated file can hold: 1032 (RFC 1951), and some."""
_COLOUR = [("R", "u1"), ("G", "u1"), ("B", "u1")]
KINDS: dict[int, Any] = {
    2: "u1",
    4: "i2",
    8: "i4",
    16: "f4",
    64: "f8",
    128: _COLOUR,
    256: "i1",
    512: "u2",
    768: "u4",
    1024: "i8",
    1280: "u8",
    2304: [*_COLOUR, ("A", "u1")],
}
"""NIfTI's numbers of data types -> NumPy's; no bits, no complex values. Of RGBA, A is left out."""
MILLIMETRES = {1: 1000.0, 2: 1.0, 3: 0.001}
"""The unit of the spacing by its number: metres, millimetres, micrometres."""


@dataclass(frozen=True)
class Header:
    """What is needed to read a volume. Plain numbers, so that an index can keep them.

    Attributes:
        shape: as stored, three axes or more.
        code: NIfTI's number of the data type.
        swapped: whether the bytes are in the other order than this machine's.
        offset: where the values begin, in bytes after any decompression.
        slope, inter: value = slope * stored + inter; 1 and 0 where there is no scaling.
        order: the stored axes that become D, H, W.
        flipped: which of D, H, W run against the stored axis.
        spacing: millimetres along D, H, W, or None where the header has none.
        oriented: whether the header tells how the axes lie in the patient.
        packed: whether the file is gzipped.
        affine: voxel (d, h, w, 1) -> millimetres to the right, anterior and superior, three rows
            of four numbers; empty where the header does not tell.
    """

    shape: tuple[int, ...]
    code: int
    swapped: bool
    offset: int
    slope: float
    inter: float
    order: tuple[int, int, int]
    flipped: tuple[bool, bool, bool]
    spacing: tuple[float, float, float] | None
    oriented: bool
    packed: bool
    affine: tuple[float, ...]

    @classmethod
    def from_fact(cls, fact: dict[str, Any]) -> Header:
        """From what JSON made of `asdict`: lists in the place of tuples."""
        plain: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in fact.items()
        }
        return cls(**plain)

    @property
    def stored(self) -> np.dtype[Any]:
        """The data type in the file."""
        dtype: np.dtype[Any] = np.dtype(KINDS[self.code])
        return dtype.newbyteorder("S") if self.swapped else dtype

    @property
    def nbytes(self) -> int:
        """Of one volume, as stored."""
        return math.prod(self.shape[:3]) * self.stored.itemsize

    @property
    def colour(self) -> bool:
        return self.stored.names is not None

    @property
    def dtype(self) -> np.dtype[Any]:
        """What a volume becomes: the stored integers where nothing scales them, else float32."""
        stored = self.stored[0] if self.colour else self.stored
        if stored.kind in "iu" and (self.slope, self.inter) == (1, 0):
            return stored.newbyteorder("=")
        return np.dtype(np.float32)

    @property
    def sides(self) -> tuple[int, int, int]:
        """(D, H, W)."""
        depth, height, width = (self.shape[axis] for axis in self.order)
        return depth, height, width

    @property
    def volumes(self) -> int:
        """How many samples the file holds: more than one where it is a series."""
        count = math.prod(self.shape[3:])
        return count if count > MOST_CHANNELS else 1

    @property
    def channels(self) -> int:
        moments = 1 if self.volumes > 1 else math.prod(self.shape[3:])
        return moments * (3 if self.colour else 1)


def data_file(path: Path) -> Path:
    """Where the values of a header are: an `.img` beside an `.hdr`, else the file itself."""
    if path.suffix.lower() != ".hdr":
        return path
    return path.with_suffix(".IMG" if path.suffix == ".HDR" else ".img")


def header_file(path: Path) -> Path:
    """Where the header of values is: an `.hdr` beside an `.img`, else the file itself."""
    if path.suffix.lower() != ".img":
        return path
    return path.with_suffix(".HDR" if path.suffix == ".IMG" else ".hdr")


def first_bytes(head: bytes, most: int = 600) -> bytes:
    """The first bytes of a file's content, unpacked where it is gzipped."""
    if not head.startswith(b"\x1f\x8b"):
        return head[:most]
    try:
        return zlib.decompressobj(31).decompress(head, most)
    except zlib.error:
        return b""


def size_of_header(head: bytes) -> int:
    """348 or 540 where the content begins like NIfTI, else 0."""
    for order in ("little", "big"):
        size = int.from_bytes(head[:4], order)
        if size in MAGIC:
            place, known = MAGIC[size]
            if head[place : place + len(known[0])] in known:
                return size
    return 0


def read_header(path: Path, most_bytes: int) -> Header:
    """The header of one file, checked against the file's size.

    Args:
        path: a `.nii`, `.nii.gz` or `.hdr` file.
        most_bytes: that one sample may take.

    Raises:
        DataError: damaged, too large, or of values that are no image; and whatever nibabel raises
            on damaged bytes. The caller knows what the user calls the file.
    """
    with path.open("rb") as file:
        head = file.read(2**16)
    block = first_bytes(head)
    size = size_of_header(block)
    if not size or len(block) < size:
        raise DataError("it does not begin like NIfTI. Copy or download it again.")
    header = _parse(block[:size], size, packed=head.startswith(b"\x1f\x8b"))
    _check(header, data_file(path).stat().st_size, most_bytes)
    return header


def _parse(block: bytes, size: int, packed: bool) -> Header:
    nibabel = require_nibabel()
    header = (nibabel.Nifti1Header if size == 348 else nibabel.Nifti2Header)(block, check=False)
    # nibabel tells the order of the bytes by the number of axes: a wrong one swaps all the rest.
    if int(header["sizeof_hdr"]) != size or not 1 <= int(header["dim"][0]) <= 7:
        raise DataError("it is damaged: its number of axes is not 1 to 7.")
    shape = tuple(int(side) for side in header.get_data_shape())
    code, offset = int(header["datatype"]), int(header.get_data_offset())
    if code not in KINDS:
        raise DataError(
            f"its values are of the type {code} (bits, complex or 128-bit numbers), which is not "
            "read. Save them as float32, complex ones as their magnitude."
        )
    slope, inter = header.get_slope_inter()
    if slope is None:
        slope, inter = 1.0, 0.0
    single = block[MAGIC[size][0] :].startswith(b"n+")
    order, flipped, oriented = _orientation(header)
    return Header(
        shape=(*shape, *(1,) * (3 - len(shape))),
        code=code,
        swapped=header.endianness != nibabel.volumeutils.native_code,
        offset=offset or (size + 4 if single else 0),
        slope=float(slope),
        inter=float(inter),
        order=order,
        flipped=flipped,
        spacing=_spacing(header, order),
        oriented=oriented,
        packed=packed,
        affine=_affine(header, order, flipped) if oriented else (),
    )


def _affine(
    header: Any, order: tuple[int, int, int], flipped: tuple[bool, bool, bool]
) -> tuple[float, ...]:
    """The header's affine for axes that are D, H, W."""
    shape = (*header.get_data_shape(), 1, 1)
    turned = np.zeros((4, 4))
    turned[3, 3] = 1
    for place, (axis, backward) in enumerate(zip(order, flipped, strict=True)):
        turned[axis, place] = -1 if backward else 1
        turned[axis, 3] = shape[axis] - 1 if backward else 0
    scale = MILLIMETRES.get(int(header["xyzt_units"]) % 8, 1.0)
    affine = header.get_best_affine().astype(np.float64)[:3] @ turned
    return tuple((scale * affine).ravel().tolist())


def _orientation(
    header: Any,
) -> tuple[tuple[int, int, int], tuple[bool, bool, bool], bool]:
    """Which stored axes become D, H, W, which of them are turned, and whether the header tells.

    NIfTI's coordinates grow to the right, anterior and superior; D, H, W lead to superior,
    posterior and left, as in DICOM.
    """
    told = np.array([[0, -1], [1, 1], [2, 1]])  # Analyze's convention, where nothing is told
    oriented = bool(header["sform_code"] > 0 or header["qform_code"] > 0)
    if oriented:
        affine = header.get_best_affine()
        found = (
            require_nibabel().io_orientation(affine)
            if np.isfinite(affine).all()
            else np.full((3, 2), np.nan)
        )
        oriented = bool(np.isfinite(found).all())
        told = found if oriented else told
    stored = {int(world): (axis, bool(sign > 0)) for axis, (world, sign) in enumerate(told)}
    (width, right), (height, anterior), (depth, superior) = stored[0], stored[1], stored[2]
    return (depth, height, width), (not superior, anterior, right), oriented


def _spacing(header: Any, order: tuple[int, int, int]) -> tuple[float, float, float] | None:
    """Millimetres along D, H, W; None unless all three are lengths.

    By the sform, where it tells the orientation, too; else by pixdim, which a tool that resamples
    may have forgotten.
    """
    scale = MILLIMETRES.get(int(header["xyzt_units"]) % 8, 1.0)
    steps = [abs(float(step)) for step in header["pixdim"][1:4]]
    if header["sform_code"] > 0:
        columns = np.linalg.norm(header.get_sform()[:3, :3], axis=0)
        if np.isfinite(columns).all() and (columns > 0).all():
            steps = columns.tolist()
    depth, height, width = (steps[axis] * scale for axis in order)
    told = all(math.isfinite(step) and step > 0 for step in (depth, height, width))
    return (depth, height, width) if told else None


def _check(header: Header, size: int, most_bytes: int) -> None:
    """Raises DataError for what must not be read, or cannot be from a file of this size."""
    shape = "x".join(map(str, header.shape))
    if min(header.shape) < 1:
        raise DataError(f"it is empty: its shape is {shape}.")
    if not 0 <= header.offset <= most_bytes:
        raise DataError(f"it is damaged: its values would begin at byte {header.offset:,}.")
    claimed = math.prod(header.shape) * header.stored.itemsize
    sample = math.prod(header.sides) * header.channels * header.dtype.itemsize
    if header.packed:  # it is unpacked whole, all volumes of a series
        sample = max(sample, claimed)
    if header.packed and sample > most_bytes:  # plain files are read in parts
        raise DataError(
            f"one sample ({shape}) would take {sample:,} bytes, more than {most_bytes:,}. If that "
            f"is meant: --set data.max_sample_bytes={sample}"
        )
    if header.offset + claimed > (size * MOST_PACKED if header.packed else size):
        raise DataError(
            f"it is cut off: it has {size:,} bytes where its header ({shape}) asks for "
            f"{header.offset + claimed:,}. Copy or download it again."
        )


def require_nibabel() -> Any:
    """The module nibabel.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        import nibabel
    except ImportError as error:
        raise MissingExtra("nibabel", "nifti", "reading NIfTI") from error
    return nibabel
