"""What the names of files and folders tell: BIDS, the Brain Imaging Data Structure, and classes.

https://bids-specification.readthedocs.io, version 1.10.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.folder import read_folders
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


def read_names(source: Source, files: Sequence[str], file_of: NDArray[np.int64]) -> None:
    """Sets groups, labels, split and modality by the names of folders and files.

    Names in BIDS (https://bids.neuroimaging.io) tell the subject and what was measured. They name
    patients, so groups are numbers, and folders of one file each are no classes.

    Args:
        source: to complete.
        files: names below the root, with `/`.
        file_of: (N,) the file of each sample.
    """
    subjects = [_SUBJECT.search(name) for name in files]
    told = [match[1] for match in subjects if match]
    if len(told) == len(files):
        distinct, number = np.unique(np.array(told), return_inverse=True)
        source.groups = number.astype(np.int64)[file_of]
        source.decisions.append(f"groups: {len(distinct):,} subjects (BIDS sub-…)")
    folders = [_without_bids(name) for name in files]
    classes = Counter(parts[0] for parts in folders if len(parts) > 1)
    if len(classes) > 1 and len(classes) > len(folders) // 2:
        source.decisions.append("labels: none; sub-folders of one volume each are no classes")
        folders = [parts[-1:] for parts in folders]
    read_folders(source, ["/".join(folders[number]) for number in file_of])
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


def _without_bids(name: str) -> list[str]:
    """The parts of a file's name with `/` that are neither a subject nor a kind of data in BIDS."""
    *folders, file = name.split("/")
    return [*(folder for folder in folders if not _BIDS_FOLDER.fullmatch(folder)), file]
