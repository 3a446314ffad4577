"""What the names of files and folders tell: BIDS, the Brain Imaging Data Structure, and classes.

https://bids-specification.readthedocs.io, version 1.10.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.files.folder import read_folders
from domainjepa.data.source import Source

MAGNETIC = (
    "T1w",
    "T2w",
    "T2starw",
    "PDw",
    "FLAIR",
    "inplaneT1",
    "inplaneT2",
    "UNIT1",
    "T1map",
    "T2map",
    "angio",
    "bold",
    "cbv",
    "sbref",
    "dwi",
    "asl",
    "m0scan",
    "epi",
    "swi",
    "MEGRE",
)
"""Endings of file names in BIDS 1.10 that tell of magnetic resonance."""
ENDINGS = {**dict.fromkeys(MAGNETIC, "MR"), "pet": "PT", "ct": "CT"}
"""Ending -> modality, by DICOM's names."""

_SUBJECT = re.compile(r"(?:^|[/_])sub-([^/_.]+)")
_BIDS_FOLDER = re.compile(r"(sub|ses)-[^/]+|anat|func|dwi|fmap|perf|pet|micr")


def read_names(
    source: Source, files: Sequence[str], file_of: NDArray[np.int64], *, classes: bool = False
) -> None:
    """Sets groups, labels, split and modality by the names of folders and files.

    Names in BIDS (https://bids.neuroimaging.io) tell the subject and what was measured. They name
    patients, so groups are numbers, and folders of one file each are no classes.

    Args:
        source: to complete.
        files: names below the root, with `/`.
        file_of: (N,) the file of each sample.
        classes: the user says that sub-folders are classes; else they are only where each holds
            two subjects or more, for a folder of one patient may have the patient's name.
    """
    read_subjects(source, files, file_of)
    folders = [_without_bids(name) for name in files]
    read_folders(source, ["/".join(folders[number]) for number in file_of])
    if source.labels is not None and not classes:
        _only_if_no_patients(source)
    endings = Counter(
        ending if ending in ENDINGS else ""
        for ending in (name.rpartition("_")[2].partition(".")[0] for name in files)
    )
    kinds = {ENDINGS.get(ending) for ending in endings}
    if len(kinds) == 1:
        source.modality = kinds.pop()
    if len(endings) > 1 and "" not in endings:
        held = ", ".join(f"{ending} {count:,}" for ending, count in endings.most_common())
        source.warnings.append(
            f"files of several kinds: {held}. Choose one by --set data.images='*_"
            f"{endings.most_common(1)[0][0]}.nii*'"
        )


def read_subjects(source: Source, files: Sequence[str], file_of: NDArray[np.int64]) -> None:
    """Sets groups by the subjects, where the name of every file tells one."""
    subjects = [_SUBJECT.search(name) for name in files]
    told = [match[1] for match in subjects if match]
    if len(told) == len(files):
        distinct, number = np.unique(np.array(told), return_inverse=True)
        source.groups = number.astype(np.int64)[file_of]
        source.decisions.append(f"groups: {len(distinct):,} subjects (BIDS sub-…)")


def _without_bids(name: str) -> list[str]:
    """The parts of a file's name with `/` that are neither a subject nor a kind of data in BIDS."""
    *folders, file = name.split("/")
    return [*(folder for folder in folders if not _BIDS_FOLDER.fullmatch(folder)), file]


def _only_if_no_patients(source: Source) -> None:
    """Takes sub-folders for groups unless each holds two subjects or more."""
    labels = source.labels
    assert labels is not None
    if source.groups is not None:
        pairs = np.unique(np.stack([labels, source.groups]), axis=1)
        if np.bincount(pairs[0]).min() >= 2:
            return
    else:
        source.groups = labels
        source.decisions.append(f"groups: {len(np.unique(labels)):,} sub-folders")
    source.labels, source.classes = None, None
    source.decisions = [line for line in source.decisions if not line.startswith("labels:")]
    source.decisions.append(
        "labels: none; sub-folders may be named like patients. If they are classes: "
        "--set data.labels=folders"
    )
