"""NIfTI: volumes of neuroimaging, one a file, or series of them.

Every volume is turned to D, H, W that lead to superior, posterior and left, whatever way it was
stored, so axial slices look as in DICOM. Plain files are read in parts; gzipped ones whole.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.channels.joined import ChannelsSource
from domainjepa.data.files.damage import reason, unreadable_seen
from domainjepa.data.files.gathering import gather
from domainjepa.data.files.identity import content_digest, files_digest
from domainjepa.data.files.index import facts
from domainjepa.data.files.listing import ends_in
from domainjepa.data.formats.nifti.bids import read_names, read_subjects
from domainjepa.data.formats.nifti.header import (
    MOST_CHANNELS,
    Header,
    data_file,
    first_bytes,
    header_file,
    read_header,
    require_nibabel,
    size_of_header,
)
from domainjepa.data.formats.nifti.values import as_image, as_stored, read_planes
from domainjepa.data.parts.recent import MOST_BYTES, Recent
from domainjepa.data.source import Image, Loader, OpenOptions, Source
from domainjepa.data.storage.large import lines
from domainjepa.data.storage.uncompressed import Stored
from domainjepa.errors import DataError, UserError

SUFFIXES = (".nii", ".nii.gz", ".hdr")


@dataclass(kw_only=True)
class NIfTISource(Source):
    """Volumes of NIfTI files, in the order of the files' names.

    Attributes:
        headers: of each file, or why it cannot be read.
        file_of: (N,) the file of each sample.
        volume_of: (N,) the sample's place in a series; 0 for other files.
        axes, directions: how D, H, W lie in the patient; None where a header does not tell.
        affines: (N, 4, 4) voxel (d, h, w, 1) -> millimetres in the patient (to the right, anterior
            and superior); NaN where a header does not tell.
    """

    root: Path = field(repr=False)
    files: list[str] = field(repr=False)
    headers: list[Header | DataError] = field(repr=False)
    file_of: NDArray[np.int64] = field(repr=False)
    volume_of: NDArray[np.int64] = field(repr=False)
    axes: tuple[str, str, str] | None = None
    directions: tuple[str, str, str] | None = None
    affines: NDArray[np.float64] | None = field(default=None, repr=False)
    _recent: Recent = field(default_factory=Recent, init=False, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.file_of)

    def sides(self, index: int) -> tuple[int, ...]:
        return self._header(index).sides

    def __getitems__(self, indices: Sequence[int]) -> list[Image]:
        return [self.region(int(index), (0, 0, 0), self.sides(int(index))) for index in indices]

    def region(self, index: int, start: Sequence[int], stop: Sequence[int]) -> Image:
        header = self._header(index)
        number = int(self.file_of[index])
        try:
            stored = self._stored(number, header, as_stored(header, start, stop), index)
        except Exception as error:  # decoders raise whatever comes to hand on damaged files
            said = str(error) if isinstance(error, UserError) else reason(error)
            name = data_file(Path(self.files[number])).name
            raise DataError(f"sample {index}, {name}, cannot be read: {said}") from error
        return as_image(stored, header, self.dtype)

    def chunks(self, index: int) -> tuple[int, ...] | None:
        header = self._header(index)
        if header.packed:
            return None
        line = lines(header.shape[2::-1], header.stored.itemsize)[-1]
        return tuple(line if axis == 0 else 1 for axis in header.order)

    def _header(self, index: int) -> Header:
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of {self.name}, which has {len(self)}")
        header = self.headers[int(self.file_of[index])]
        if isinstance(header, DataError):
            raise DataError(f"sample {index}, {header}")
        return header

    def _stored(
        self, number: int, header: Header, where: tuple[slice, slice, slice], index: int
    ) -> NDArray[Any]:
        """A part of a file, (x, y, z, moments) in the file's own type and axes."""
        path, planes = data_file(self.root / self.files[number]), range(header.shape[2])
        moments = range(math.prod(header.shape[3:]))
        volume = int(self.volume_of[index])
        mine = slice(volume, volume + 1) if header.volumes > 1 else slice(None)
        if header.packed:
            whole = self._recent.get(number, lambda: read_planes(path, header, planes, moments))
            return whole[where][..., mine]
        if header.nbytes > MOST_BYTES:
            sides = (*header.shape[:3], len(moments))
            stored = Stored(path, header.stored, sides, header.offset, fortran=True)
            return stored[(*where, mine)]
        if planes[where[2]] == planes:
            volumes = self._recent.get(
                (number, volume), lambda: read_planes(path, header, planes, moments[mine])
            )
            return volumes[where]
        return read_planes(path, header, planes[where[2]], moments[mine])[where[:2]]

    def file_names(self) -> Sequence[str]:
        return [self.files[file] for file in self.file_of.tolist()]

    def content_key(self) -> str:
        """The content of the files, and of many their names."""
        if len(self.files) == 1:
            path = self.root / self.files[0]
            return f"{content_digest(path)} {content_digest(data_file(path))}"
        headers = [self.root / name for name in self.files]
        paths = {*headers, *map(data_file, headers)}
        return files_digest(self.root, sorted(str(one.relative_to(self.root)) for one in paths))


class NIfTILoader(Loader):
    """Opens NIfTI files and folders of them."""

    name = "nifti"
    title = "NIfTI"
    suffixes = (".nii", ".nii.gz", ".hdr", ".img")

    def sniff(self, path: Path, head: bytes) -> bool:
        if size_of_header(first_bytes(head)):
            return True
        header = header_file(path)
        if header == path or not header.is_file():
            return False
        with header.open("rb") as file:
            return bool(size_of_header(file.read(600)))

    def sniff_folder(self, path: Path, names: Sequence[str]) -> bool:
        if any(ends_in(name, (".nii", ".nii.gz")) for name in names):
            return True
        headers = (Path(name) for name in names if ends_in(name, (".hdr",)))
        values = (data_file(header).as_posix() for header in headers)
        first = next((name for name in values if name in names), None)
        return first is not None and self.sniff(path / first, b"")

    def open(self, path: Path, options: OpenOptions) -> Source:
        for role in ("labels", "groups", "ids", "split"):
            told = getattr(options, role)
            if told is not None and (role, told) != ("labels", "folders"):
                raise DataError(
                    f"data.{role} names an array in a file, which NIfTI has not. Sub-folders can "
                    "be classes (data.labels=folders), names of files may tell it "
                    f"(data.{role}=name:REGEX); or give a table of the files."
                )
        if not path.is_dir():
            header = header_file(path)
            source = _volumes(header.parent.resolve(), [header.name], options)
            source.name = Path(path.name.removesuffix(".gz")).stem
            return source
        found = gather(path, self, options, SUFFIXES)
        opened = found.open(partial(_volumes, found.root))
        first = opened.parts[0] if isinstance(opened, ChannelsSource) else opened
        assert isinstance(first, NIfTISource)
        classes = options.labels == "folders"
        read_names(opened, found.names, first.file_of, classes=classes)
        if opened.groups is None and opened.masks is not None:
            opened.groups = first.file_of
            opened.decisions.append("groups: each case is one, by its mask")
        return opened

    def open_files(self, root: Path, files: Sequence[str], options: OpenOptions) -> Source:
        headers = [header_file(Path(name)).as_posix() for name in files]
        source = _volumes(root, headers, options)
        if len(source) != len(files):
            raise DataError(
                f"{source.name} holds series of over {MOST_CHANNELS} volumes a file, for which "
                "a list of files has no place. Give the folder, or split them into volumes."
            )
        read_subjects(source, files, source.file_of)
        return source


def _volumes(root: Path, files: Sequence[str], options: OpenOptions) -> NIfTISource:
    """The volumes of these files, series as one sample a volume."""
    require_nibabel()
    most = options.max_sample_bytes

    def look(path: Path) -> dict[str, Any]:
        return asdict(read_header(path, most))

    headers = [
        fact if isinstance(fact, DataError) else Header.from_fact(fact)
        for fact in facts(root, files, f"nifti 2 {most}", look)
    ]
    readable = [header for header in headers if isinstance(header, Header)]
    if not readable:
        raise next(header for header in headers if isinstance(header, DataError))
    _require_one_kind(readable)
    counts = [header.volumes if isinstance(header, Header) else 1 for header in headers]
    oriented = all(header.oriented for header in readable)
    file_of = np.repeat(np.arange(len(files)), counts)
    source = NIfTISource(
        name=root.name,
        loader=NIfTILoader.name,
        shape=(*readable[0].sides, readable[0].channels),
        dtype=_common_dtype(readable),
        root=root,
        files=list(files),
        headers=headers,
        file_of=file_of,
        volume_of=np.concatenate([np.arange(count) for count in counts]),
        axes=("axial", "coronal", "sagittal") if oriented else None,
        directions=("S", "P", "L") if oriented else None,
    )
    source.affines = np.array([affine_of(header) for header in headers])[file_of]
    if len(source) > len(files):
        source.groups = file_of
    if all(header.spacing for header in readable):
        usual = readable[0].spacing  # of files that cannot be read, which nothing is measured on
        spacings = [one.spacing if isinstance(one, Header) else usual for one in headers]
        source.spacings = np.array(spacings)[file_of]
    _tell(source, readable)
    return source


def affine_of(header: Header | DataError) -> NDArray[np.float64]:
    """(4, 4); NaN where it is not known."""
    if isinstance(header, DataError) or not header.affine:
        return np.full((4, 4), np.nan)
    return np.vstack([np.reshape(header.affine, (3, 4)), (0, 0, 0, 1)])


def _common_dtype(headers: list[Header]) -> np.dtype[Any]:
    """Integers that hold the values of every file, else float32."""
    common = np.result_type(*{header.dtype for header in headers})
    return common if common.kind in "iu" else np.dtype(np.float32)


def _require_one_kind(headers: list[Header]) -> None:
    """Raises DataError where volumes differ in their channels."""
    channels = Counter(header.channels for header in headers)
    if len(channels) > 1:
        held = ", ".join(f"{count:,} with {number}" for number, count in channels.most_common())
        raise DataError(
            f"the volumes differ in their channels: {held}. Choose files of one kind by a pattern "
            "of their names, such as --set data.images='*_T1w.nii*'"
        )


def _tell(source: NIfTISource, headers: list[Header]) -> None:
    """Decisions and warnings on what the headers say."""
    tell, first = source.decisions.append, headers[0]
    tell(f"volumes: {len(source):,} in {len(source.files):,} files, {source.dtype}")
    broken = len(source.files) - len(headers)
    if broken:
        source.warnings.append(unreadable_seen(broken, len(source.files)))
    if any((header.slope, header.inter) != (1, 0) for header in headers):
        tell("values: scaled by scl_slope and scl_inter")
    if any(header.volumes > 1 for header in headers):
        tell(f"series: more than {MOST_CHANNELS} volumes in one file are samples, one group a file")
    elif first.channels > 1:
        tell(f"channels: {first.channels}, " + ("colour" if first.colour else "the fourth axis"))
    sizes = {header.sides for header in headers}
    if len(sizes) > 1:
        tell(f"sizes differ: {len(sizes)} among {len(headers):,} files; the shape is the first's")
    if source.axes:
        tell("axes: D, H, W lead to superior, posterior and left, by the nearest quarter turns")
    else:
        untold = sum(not header.oriented for header in headers)
        source.warnings.append(
            f"{untold:,} headers do not tell how the axes lie in the patient (sform and qform are "
            "0): right and left may be swapped"
        )
    if source.spacings is None:
        source.warnings.append("spacings: none; not every header has the size of its voxels")
    packed = sum(
        math.prod(header.shape) * header.stored.itemsize for header in headers if header.packed
    )
    if packed > MOST_BYTES:
        source.warnings.append(
            "gzipped volumes can only be unpacked whole, which slows down slices and crops in "
            "random order: gunzip them, or rewrite them once with `domainjepa prepare`"
        )
