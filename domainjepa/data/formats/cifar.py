"""CIFAR-10 and CIFAR-100 in their binary version.

The usual Python version is made of pickles, which are never loaded here. The binary one is plain
bytes: for each image its label (CIFAR-100: the coarse, then the fine one) and 3 x 32 x 32 values,
red, green, blue, row by row. Source: https://www.cs.toronto.edu/~kriz/cifar.html
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from domainjepa.data.files.damage import unreadable
from domainjepa.data.files.folder import refuse_names
from domainjepa.data.files.identity import content_digest
from domainjepa.data.metadata.columns import counts
from domainjepa.data.source import Image, Loader, OpenOptions, Source
from domainjepa.data.storage.uncompressed import Stored
from domainjepa.errors import DataError
from domainjepa.reading import read_file

SIDE = 32
PIXELS = 3 * SIDE * SIDE


@dataclass(frozen=True)
class Binary:
    """One of the two sets.

    Attributes:
        parts: part -> its files.
        classes: the file of the classes' names.
        label_bytes: before the pixels of an image; the last one is its class.
    """

    parts: dict[str, tuple[str, ...]]
    classes: str
    label_bytes: int


SETS = {
    "cifar-10-batches-bin": Binary(
        {
            "train": tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
            "test": ("test_batch.bin",),
        },
        "batches.meta.txt",
        1,
    ),
    "cifar-100-binary": Binary(
        {"train": ("train.bin",), "test": ("test.bin",)}, "fine_label_names.txt", 2
    ),
}
"""By the name of the folder that the archive makes."""


@dataclass(kw_only=True)
class CifarSource(Source):
    """Images in records of equal length."""

    files: list[Path] = field(repr=False)
    label_bytes: int
    _records: list[Stored] | None = field(default=None, init=False, repr=False, compare=False)

    def __len__(self) -> int:
        assert self.labels is not None
        return len(self.labels)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_records": None}

    def __getitems__(self, indices: Sequence[int]) -> list[Image]:
        if self._records is None:
            self._records = [_records(file, self.label_bytes) for file in self.files]
        ends = np.cumsum([len(part) for part in self._records])
        images = []
        for index in indices:
            if not 0 <= index < len(self):
                raise IndexError(f"sample {index} of {self.name}, which has {len(self)}")
            part = int(np.searchsorted(ends, index, side="right"))
            records = self._records[part]
            record = records[int(index - ends[part]) + len(records), self.label_bytes :]
            images.append(np.ascontiguousarray(record.reshape(3, SIDE, SIDE).transpose(1, 2, 0)))
        return images

    def content_key(self) -> str:
        """The content of every file."""
        return " ".join(content_digest(file) for file in self.files)


class CifarLoader(Loader):
    """Opens `cifar-10-batches-bin` and `cifar-100-binary`."""

    name = "cifar"
    title = "CIFAR, binary version"
    whole_folder = True

    def sniff(self, path: Path, head: bytes) -> bool:
        return False

    def sniff_folder(self, path: Path, names: Sequence[str]) -> bool:
        known = SETS.get(path.resolve().name)
        return known is not None and known.classes in names

    def open(self, path: Path, options: OpenOptions) -> Source:
        root = path.resolve()
        refuse_names(root, options)
        known = SETS.get(root.name)
        if known is None:
            raise DataError(f"the binary version unpacks to {' or '.join(SETS)}, not {root.name}.")
        files = [root / name for names in known.parts.values() for name in names]
        last = slice(known.label_bytes - 1, known.label_bytes)
        labels = [_records(file, known.label_bytes)[:, last].ravel() for file in files]
        of_part = [part for part, names in known.parts.items() for _ in names]
        names = _class_names(root / known.classes)
        source = CifarSource(
            name=root.name,
            loader=self.name,
            shape=(SIDE, SIDE, 3),
            dtype=np.dtype(np.uint8),
            labels=np.concatenate(labels).astype(np.int64),
            classes=tuple(name.replace("_", " ") for name in names),
            split=np.repeat(of_part, [len(part) for part in labels]),
            files=files,
            label_bytes=known.label_bytes,
        )
        assert source.labels is not None
        assert source.split is not None
        if source.labels.max(initial=0) >= len(names):
            raise DataError(
                f"{root.name} has the label {source.labels.max()}, but {known.classes} has only "
                f"{len(names)} names. Download it again: --set data.download=true"
            )
        source.decisions.append(f"labels: {len(names)} classes")
        source.decisions.append(f"split: the official one, {counts(source.split)}")
        return source


def _class_names(file: Path) -> list[str]:
    """The names that a file lists.

    Raises:
        DataError: it cannot be read.
    """
    with unreadable((OSError, ValueError), file.name):
        return read_file(file).decode().split()


def _records(file: Path, label_bytes: int) -> Stored:
    """(N, label_bytes + 3072) uint8.

    Raises:
        DataError: the file is absent, or not made of whole records.
    """
    size = file.stat().st_size if file.is_file() else 0
    count, rest = divmod(size, label_bytes + PIXELS)
    if rest or not count:
        raise DataError(
            f"{file.name} of {file.parent.name} has {size:,} bytes, which are no whole number of "
            "images. Download it again: --set data.download=true"
        )
    return Stored(file, np.dtype(np.uint8), (count, label_bytes + PIXELS))
