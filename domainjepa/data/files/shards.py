"""A set that was cut into shards: which files there are, and the parts that their names tell."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np

from domainjepa.data.files.identity import content_digest, files_digest
from domainjepa.data.metadata.columns import SPLITS, counts
from domainjepa.data.source import Source

_PART = re.compile(rf"(?:^|[/_.-])({'|'.join(SPLITS)})(?=[/_.-]|$)", re.IGNORECASE)
"""train-00000-of-00004, test/0000, imagenet1k-validation-07."""


@dataclass(frozen=True)
class Shards:
    """Files in their order, and how many samples each one holds.

    Attributes:
        root: the folder, resolved.
        files: below it, with `/`.
        sizes: samples of each file.
    """

    root: Path
    files: Sequence[str]
    sizes: Sequence[int]

    def __len__(self) -> int:
        return sum(self.sizes)

    def places(self, rows: Sequence[int]) -> list[tuple[int, int]]:
        """Of each row the number of its file, and its row in there."""
        ends = list(accumulate(self.sizes))
        of_file = [bisect_right(ends, row) for row in rows]
        return [
            (file, row - ends[file] + self.sizes[file])
            for file, row in zip(of_file, rows, strict=True)
        ]

    def content_key(self) -> str:
        """The content of the files, and of many their names."""
        if len(self.files) == 1:
            return content_digest(self.root / self.files[0])
        return files_digest(self.root, self.files)


def part_of(file: str) -> str | None:
    """The part of the split that a shard's name tells, the first one in its path."""
    found = _PART.search(file.rsplit(".", 1)[0])
    return SPLITS[found[1].lower()] if found else None


def read_parts(source: Source, shards: Shards) -> None:
    """Sets the split by the names of the shards where all tell one, and has none yet."""
    parts = [part_of(file) for file in shards.files]
    known = [part for part in parts if part]
    if source.split is not None or not known:
        return
    if len(known) < len(parts):
        unknown = shards.files[parts.index(None)]
        source.warnings.append(
            f"split: none; {len(known):,} of {len(parts):,} files are named after a part such as "
            f"train, and {unknown} is not"
        )
        return
    source.split = np.repeat(np.array(known), shards.sizes)
    source.decisions.append(f"split: by the files' names, {counts(source.split)}")
