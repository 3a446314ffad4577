"""A source of one file each, and what the folders of the files say."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from domainjepa.data.files.damage import reason
from domainjepa.data.files.identity import files_digest
from domainjepa.data.metadata.columns import SPLITS, counts
from domainjepa.data.remote.path import RemotePath, fetch_files
from domainjepa.data.source import Image, OpenOptions, Source
from domainjepa.errors import DataError, UserError


@dataclass(kw_only=True)
class FilesSource(Source):
    """One sample a file, opened as it is read."""

    root: Path = field(repr=False)
    files: list[str] = field(repr=False)
    max_sample_bytes: int

    def __len__(self) -> int:
        return len(self.files)

    @abstractmethod
    def read(self, path: Path) -> Image:
        """The sample in one file; whatever it raises is told with the file's name."""

    def __getitems__(self, indices: Sequence[int]) -> list[Image]:
        fetch_files(self.root / self.files[index] for index in self._far(indices))
        return [self._read(int(index)) for index in indices]

    def _far(self, indices: Sequence[int]) -> list[int]:
        """Those in range, where the files lie far away."""
        far = isinstance(self.root, RemotePath)
        return [int(index) for index in indices if 0 <= index < len(self)] if far else []

    def _read(self, index: int) -> Image:
        return self._told(index, self.read)

    def _told(self, index: int, read: Callable[[Path], Image]) -> Image:
        """What a function reads from a sample's file; its errors name the sample and the file."""
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of {self.name}, which has {len(self)}")
        name = self.files[index]
        try:
            return read(self.root / name)
        except Exception as error:  # decoders raise whatever comes to hand on damaged files
            said = str(error) if isinstance(error, UserError) else reason(error)
            raise DataError(f"sample {index}, {name}, cannot be read: {said}") from error

    def file_names(self) -> Sequence[str]:
        return self.files

    def content_key(self) -> str:
        """The names and the content of the files."""
        return files_digest(self.root, self.files)


def read_folders(source: Source, files: Sequence[str]) -> None:
    """Sets split, labels and classes by the names of the folders that the files lie in."""
    folders = [name.split("/")[:-1] for name in files]
    parts = [SPLITS.get(folder[0].lower()) if folder else None for folder in folders]
    known = [part for part in parts if part]
    if len(known) == len(parts):
        source.split = np.array(known)
        source.decisions.append(f"split: by folder, {counts(source.split)}")
        folders = [folder[1:] for folder in folders]
    names = {folder[0] if folder else "" for folder in folders}
    if "" in names or len(names) < 2:
        source.decisions.append("labels: none; the images do not all lie in sub-folders of classes")
    elif len(names) == len(source):
        source.decisions.append("labels: none; a sub-folder of one sample is no class")
    elif len(names) > max(20, len(source) // 2):
        source.decisions.append(f"labels: none; {len(names):,} sub-folders are no classes")
    else:
        source.classes = tuple(sorted(names))
        number = {name: index for index, name in enumerate(source.classes)}
        source.labels = np.array([number[folder[0]] for folder in folders], dtype=np.int64)
        source.decisions.append(f"labels: by folder, {len(names)} classes")


def refuse_names(folder: Path, options: OpenOptions) -> None:
    """Raises DataError where the user names arrays, of which a folder of files has none."""
    for role in ("labels", "groups", "ids", "split"):
        if getattr(options, role) is not None:
            raise DataError(
                f"data.{role} names an array in a file, and {folder.name} holds images alone; a "
                "table of paths (CSV) may have it as a column, and names of files may tell it: "
                f"data.{role}=name:REGEX."
            )
