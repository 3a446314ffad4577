"""DICOM: files and folders of them as slices, or whole series as volumes.

Nothing that names a patient gets out: ids are hashes, groups are numbers, and what is decided and
warned of is told in counts. Names of files stand in error messages alone, which go to the terminal.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from domainjepa.data.dicom.assembly import Found, leaf, make_slices, make_volumes
from domainjepa.data.dicom.file import bare, begins_like_dicom, pydicom
from domainjepa.data.dicom.frames import GREY
from domainjepa.data.dicom.header import Header, read_header
from domainjepa.data.dicom.series import Stack, places, stacks
from domainjepa.data.dicom.sources import DicomSource, DicomVolumes
from domainjepa.data.folder import read_folders, warn_of_links
from domainjepa.data.index import facts
from domainjepa.data.listing import ends_in, list_files
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
            return _open(_look(file.parent, [file.name]), options)
        listing = list_files(path, ENDINGS, options)
        source = _open(_look(listing.root, listing.files), options)
        warn_of_links(source, listing.links)
        _read_folders(source, options)
        return source

    def open_files(self, root: Path, files: Sequence[str], options: OpenOptions) -> Source:
        found = _look(root, list(files))
        for name, header in zip(files, found.headers, strict=True):
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


def _look(root: Path, files: list[str]) -> Found:
    """The headers of all files, out of the index where it has them.

    Raises:
        DataError: a file is damaged or unsafe; none holds an image.
        MissingExtra: pydicom is not installed.
    """
    pydicom()
    told = facts(root, files, "dicom 3", read_header)
    damaged = [
        (name, fact) for name, fact in zip(files, told, strict=True) if isinstance(fact, DataError)
    ]
    if damaged:
        name, error = damaged[0]
        said = leaf(name) + str(error).removeprefix(name).rstrip(".")
        if len(files) > 1:
            said += f". Files like it: {len(damaged):,} of {len(files):,}; mend or move them"
        raise DataError(f"{said}.") from error
    headers = [Header.unpacked(fact) if isinstance(fact, str) and fact else None for fact in told]
    found = Found(root, files, headers)
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


def _open(found: Found, options: OpenOptions) -> DicomSource | DicomVolumes:
    """Slices, or volumes where these or the slices between them are asked for."""
    _leave_out(found)
    every = stacks(found.headers)
    if options.dimensions == 3 or options.neighbours or options.axis:
        return make_volumes(found, every, options)
    source = make_slices(found, places(every), options)
    source.decisions.append(
        "order: by series, in each by position along the normal of its slices"
        if any(stack.plane for stack in every)
        else "order: by series, in each by instance number; no positions are told"
    )
    return source


def _leave_out(found: Found) -> None:
    """Drops what cannot stand beside the rest: other channels, and what is about other images."""

    def drop(wrong: set[int], why: str) -> None:
        found.headers = [None if at in wrong else one for at, one in enumerate(found.headers)]
        found.warnings.append(f"left out: {len(wrong):,} files {why}; open them by themselves")

    kept = found.kept()
    about = {
        at for at, one in enumerate(found.headers) if one and one.kind.modality in ABOUT_OTHERS
    }
    if 0 < len(about) < len(kept):
        drop(about, f"of {' or '.join(ABOUT_OTHERS)}, which are about other images")
    kinds = Counter(_measure(header) for header in found.kept())
    if len(kinds) > 1:
        usual = kinds.most_common(1)[0][0]
        odd = {at for at, one in enumerate(found.headers) if one and _measure(one) != usual}
        drop(odd, f"that are not {usual[1]} of {usual[0]} channel{'s' * (usual[0] > 1)}")


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


def _read_folders(source: DicomSource | DicomVolumes, options: OpenOptions) -> None:
    """Labels and split by sub-folder, where these are no patients' folders."""
    if isinstance(source, DicomVolumes):
        slices, rows = source.slices, source.edges[:, 0]
    else:
        slices, rows = source, np.arange(len(source))
    read_folders(source, [slices.files[file] for file in slices.where[rows, 0]])
    if source.labels is None or source.groups is None or options.labels == "folders":
        return
    pairs = np.unique(np.stack([source.labels, source.groups]), axis=1)
    if np.bincount(pairs[0]).min() < 2:
        source.labels, source.classes = None, None
        source.decisions[-1] = (
            "labels: none; sub-folders with a single patient may be named like the patient, so "
            "they are no classes. If they are: --set data.labels=folders"
        )
