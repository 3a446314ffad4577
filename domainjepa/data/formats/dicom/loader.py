"""DICOM: files and folders of them as slices, or whole series as volumes.

Nothing that names a patient gets out: ids are hashes, groups are numbers, and what is decided and
warned of is told in counts. Names of files stand in error messages alone, which go to the terminal.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from domainjepa.data.channels.joined import joined
from domainjepa.data.files.damage import to_skip
from domainjepa.data.files.folder import read_folders
from domainjepa.data.files.gathering import warn_of_rest
from domainjepa.data.files.index import facts
from domainjepa.data.files.listing import ends_in, list_files
from domainjepa.data.formats.dicom.assembly import (
    Found,
    leaf,
    make_slices,
    make_volumes,
    tell_of_order,
)
from domainjepa.data.formats.dicom.file import bare, begins_like_dicom, pydicom
from domainjepa.data.formats.dicom.frames import GREY
from domainjepa.data.formats.dicom.header import Header, read_header
from domainjepa.data.formats.dicom.segments import offer_segments
from domainjepa.data.formats.dicom.sequences import alone, sequences
from domainjepa.data.formats.dicom.series import Stack, places, positions, stacks
from domainjepa.data.formats.dicom.sources import DicomSource, DicomVolumes
from domainjepa.data.source import Loader, OpenOptions, Source
from domainjepa.errors import DataError

SUFFIXES = (".dcm", ".ima", ".dicom")
ENDINGS = (*SUFFIXES, "", *"0123456789")
"""Of files that are looked into: archives name them IM000001, or by a UID, 1.2.840.113619.2.1."""

ABOUT_OTHERS = ("SEG", "RTDOSE")
"""Modalities that are about other images: left out where there are such."""


class DicomLoader(Loader):
    """Opens DICOM files and folders."""

    name = "dicom"
    title = "DICOM"
    suffixes = SUFFIXES

    def sniff(self, path: Path, head: bytes) -> bool:
        return begins_like_dicom(head) or (path.suffix.lower() == ".dcm" and bare(head))

    def sniff_folder(self, path: Path, names: Sequence[str]) -> bool:
        if any(ends_in(name, SUFFIXES) for name in names):
            return True
        nameless = [name for name in names if ends_in(name, ENDINGS)][:8]
        return any(_begins_like_dicom(path / name) for name in nameless)

    def open(self, path: Path, options: OpenOptions) -> Source:
        for role in ("labels", "groups", "ids", "split"):
            told = getattr(options, role)
            if told is not None and (role, told) != ("labels", "folders"):
                raise DataError(
                    f"data.{role} = {told!r}: DICOM has no array of that name. Classes are read of "
                    "sub-folders (data.labels=folders), groups are patients; a CSV table of paths "
                    f"can give them, and so can names of files: data.{role}=name:REGEX."
                )
        if not path.is_dir():
            file = path.resolve()
            found = _look(file.parent, [file.name], options)
            return _open(found, stacks(found.headers), options)
        listing = list_files(path, ENDINGS, options)
        source = _open_folder(_look(listing.root, listing.files, options), options)
        warn_of_rest(source, listing, self)
        return source

    def open_files(self, root: Path, files: Sequence[str], options: OpenOptions) -> Source:
        found = _look(root, list(files), options)
        for at, (name, header) in enumerate(zip(files, found.headers, strict=True)):
            if at in found.damaged and options.dimensions == 2:
                continue  # the row stays, and says so when it is read
            if header is None or (header.kind.frames > 1 and options.dimensions == 2):
                what = f"{header.kind.frames} images" if header else "no image"
                raise DataError(
                    f"{leaf(name)} holds {what}; a table of slices needs one in each file."
                )
        if options.dimensions == 3:
            return make_volumes(
                found, [_only(found, index) for index in range(len(files))], options
            )
        where = np.stack([np.arange(len(files)), np.zeros(len(files))], axis=1)
        return make_slices(found, where.astype(np.int32), options)


def _begins_like_dicom(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return begins_like_dicom(file.read(132))
    except OSError:
        return False


def _look(root: Path, files: list[str], options: OpenOptions) -> Found:
    """The headers of all files, out of the index where it has them.

    Raises:
        DataError: more files are damaged or unsafe than may be; none holds an image.
        MissingExtra: pydicom is not installed.
    """
    pydicom()
    told = facts(root, files, "dicom 3", read_header)
    damaged = {at: one for at, one in enumerate(told) if isinstance(one, DataError)}
    headers = [Header.unpacked(fact) if isinstance(fact, str) and fact else None for fact in told]
    found = Found(root, files, headers)
    if damaged:
        _allow(found, damaged, options)
    strange, empty = told.count(None), told.count("")
    if strange + empty == len(files):
        kinds = "it is a report, a plan, contours, or cut short"
        what = "is no DICOM" if strange else f"holds no image: {kinds}"
        subject = leaf(files[0]) if len(files) == 1 else f"each of {len(files):,} files"
        raise DataError(f"{subject} {what}.")
    if strange:
        found.decisions.append(f"left out: {strange:,} files that are no DICOM")
    if empty:
        found.decisions.append(
            f"left out: {empty:,} DICOM files without an image (reports, plans, directories, or "
            "cut short)"
        )
    return found


def _allow(found: Found, damaged: dict[int, DataError], options: OpenOptions) -> None:
    """Leaves files out that cannot be read: what they would have held, and so the number of
    samples, is not known.

    Raises:
        DataError: they are more than `data.skip_unreadable` allows.
    """
    at, error = next(iter(damaged.items()))
    name, counted = found.files[at], f"{len(damaged):,} of {len(found.files):,}"
    said = leaf(name) + str(error).removeprefix(name).rstrip(".")
    found.damaged = {at: str(one).removeprefix(found.files[at]) for at, one in damaged.items()}
    if len(damaged) > options.skip_unreadable * len(found.files) or len(found.files) == 1:
        if len(found.files) > 1:
            skip = to_skip(len(damaged), len(found.files))
            said += f". Files like it: {counted}; mend or move them"
            said += f", or leave them out{skip}" if skip else ""
        raise DataError(f"{said}.") from error
    found.warnings.append(
        f"{counted} files cannot be read and are left out (data.skip_unreadable); the first: file "
        f"{at}{found.damaged[at].rstrip('.')}"
    )


def _open_folder(found: Found, options: OpenOptions) -> Source:
    """What the files of a folder hold: series, or those of a study as channels."""
    drawn = _leave_out(found, [] if options.masks == "none" or options.bands else ["SEG"])
    every = stacks(found.headers)
    volumes = _in_volumes(options)
    together = sequences(found, every, options, volumes=volumes) if options.bands else None
    if together is None:
        source = _open(found, every, options)
        if drawn:
            offer_segments(source, found, drawn)
        _read_folders(source, list(source.file_names()), options)
        return source
    studies, folders = together
    parts = [_open(alone(found, band), band, options) for band in zip(*studies, strict=True)]
    deep = [1 if volumes else len(study[0].slices) for study in studies]
    names = [f"{name}/study".lstrip("/") for name in np.repeat(folders, deep).tolist()]
    _read_folders(parts[0], names, options)
    return joined(parts, options.bands)


def _in_volumes(options: OpenOptions) -> bool:
    """Whether volumes are asked for, or the slices between their own."""
    return options.dimensions == 3 or bool(options.neighbours or options.axis)


def _open(found: Found, every: Sequence[Stack], options: OpenOptions) -> DicomSource | DicomVolumes:
    """Slices, or volumes where these or the slices between them are asked for."""
    if _in_volumes(options):
        return make_volumes(found, every, options)
    source = make_slices(found, places(every), options)
    source.stack = positions(every)
    tell_of_order(source, every, found.filled())
    return source


def _leave_out(found: Found, masks: Sequence[str]) -> list[tuple[str, Header]]:
    """Drops what cannot stand beside the rest: other channels, and what is about other images.

    Args:
        masks: modalities of which nothing is said here.

    Returns:
        Of what is of these, name and header.
    """

    def drop(wrong: set[int], why: str) -> None:
        found.headers = [None if at in wrong else one for at, one in enumerate(found.headers)]
        if not wrong:
            return
        found.warnings.append(f"left out: {len(wrong):,} files {why}; open them by themselves")

    kept = found.kept()
    about = {
        at for at, one in enumerate(found.headers) if one and one.kind.modality in ABOUT_OTHERS
    }
    drawn: list[tuple[str, Header]] = []
    if 0 < len(about) < len(kept):
        pairs = [(found.files[at], found.headers[at], at) for at in sorted(about)]
        masked = [(name, one, at) for name, one, at in pairs if one and one.kind.modality in masks]
        drawn = [(name, one) for name, one, _ in masked]
        silent = {at for _, _, at in masked}
        found.headers = [None if at in silent else one for at, one in enumerate(found.headers)]
        drop(about - silent, f"of {' or '.join(ABOUT_OTHERS)}, which are about other images")
    kinds = Counter(_measure(header) for header in found.kept())
    if len(kinds) > 1:
        usual = kinds.most_common(1)[0][0]
        odd = {at for at, one in enumerate(found.headers) if one and _measure(one) != usual}
        drop(odd, f"that are not {usual[1]} of {usual[0]} channel{'s' * (usual[0] > 1)}")
    return drawn


def _measure(header: Header) -> tuple[int, str]:
    """Colours of 8 and of 16 bits have no common scale; grey values have."""
    grey = header.kind.photometric in GREY
    return header.kind.channels, "grey" if grey else f"{header.kind.dtype} colour"


def _only(found: Found, file: int) -> Stack:
    """The one stack of a file that has to be a volume."""
    alone: list[Header | None] = [None] * len(found.files)
    alone[file] = found.headers[file]
    made = stacks(alone)
    wrong = made[0].why_no_volume() if len(made) == 1 else f"it holds {len(made)} stacks"
    if wrong:
        raise DataError(f"{leaf(found.files[file])} is no volume: {wrong}.")
    return made[0]


def _read_folders(
    source: DicomSource | DicomVolumes, names: Sequence[str], options: OpenOptions
) -> None:
    """Labels and split by sub-folder, where these are no patients' folders."""
    read_folders(source, names)
    if source.labels is None or source.groups is None or options.labels == "folders":
        return
    pairs = np.unique(np.stack([source.labels, source.groups]), axis=1)
    if np.bincount(pairs[0]).min() < 2:
        source.labels, source.classes = None, None
        source.decisions[-1] = (
            "labels: none; sub-folders with a single patient may be named like the patient, so "
            "they are no classes. If they are: --set data.labels=folders"
        )
