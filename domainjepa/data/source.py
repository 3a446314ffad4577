"""A source: index -> image in its own dtype, with labels, groups and ids where the data has them.

Adding a format is one file with one loader and one line in the registry. The way in is `opening`.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.metadata.blanks import without
from domainjepa.data.metadata.names import NAMED, named_column
from domainjepa.errors import DataError

if TYPE_CHECKING:
    from domainjepa.data.masks.masks import Masks
    from domainjepa.data.storage.large import Large

MEDICAL = ("dicom", "nifti")
"""Loaders of formats that hold patients."""

Image = NDArray[Any]
"""(H, W, C), or (D, H, W, C) of a volume, in the source's own dtype."""


@dataclass(frozen=True)
class OpenOptions:
    """What the user says about a data set where it is not found by itself (`data.*` settings)."""

    root: str | None = None
    images: str | None = None
    labels: str | None = None
    groups: str | None = None
    split: str | None = None
    ids: str | None = None
    where: tuple[str, ...] = ()
    blank: tuple[str, ...] = ()
    bands: tuple[str, ...] = ()
    masks: str | None = None
    dimensions: int = 2
    axis: str | None = None
    neighbours: int = 0
    crop: int | None = None
    tile: int | None = None
    regions: int | None = None
    split_boxes: tuple[str, ...] = ()
    split_margin: int = 64
    download: bool = False
    follow_links: bool = False
    max_sample_bytes: int = 256 * 2**20
    cache_bytes: int = 50 * 2**30
    skip_unreadable: float = 0.0

    def read_whole(self, volumetric: bool) -> bool:
        """Whether samples of a format that can read parts must fit into `max_sample_bytes`.

        Volumes that do not are read in parts; of images their tiles have to be asked for, since a
        larger limit may be what is meant.
        """
        return not (volumetric or self.tile or self.regions or self.split_boxes)


@dataclass(kw_only=True)
class Source(ABC):
    """Images by index. Picklable; file handles are opened lazily, one for each process.

    Attributes:
        name: what the user calls it: a card's name or a file's name, never a path.
        loader: the loader's name.
        shape: (H, W, C) of a sample, (D, H, W, C) of volumes; the sides are those of the first
            sample where sizes differ.
        dtype: the source's own.
        labels: (N,) int64 class indices, or None.
        classes: names of the classes, in the order of the indices, or None.
        groups: (N,) int64, equal for samples that must not be split (a patient, a sky position).
        ids: (N,) strings, or None.
        split: (N,) strings out of train, val, test, or None.
        masks: of the samples, index -> (H, W) or (D, H, W) integers; or None.
        mask_classes: value -> name, where a file that holds masks in an array tells; or None.
        bands: (C,) names of the channels, where they are told; or None.
        spacings: (N, 2) or (N, 3) millimetres from one pixel to the next along H, W or D, H, W; or
            None where the format does not tell.
        stack: (N, 3) of slices: the volume that each is of, its number along it, and where it lies
            along it in millimetres, NaN where the format does not tell; None of other samples.
        modality: what made the images, such as CT, MR or US, where the format tells; or None.
        origin: the loader of what a file was prepared from, or of a table's files; or None.
        card: the dataset card (plain data) that matched, or None.
        blank: texts and numbers that mean no value, as the user says.
        conditions: on columns, which chose the samples (`data.where`).
        keys: names of everything in the container that `column` can read.
        decisions: one readable line each: what was found and what was decided.
        warnings: one readable line each, with the remedy.
    """

    name: str
    loader: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    labels: NDArray[np.int64] | None = None
    classes: tuple[str, ...] | None = None
    groups: NDArray[np.int64] | None = None
    ids: NDArray[np.str_] | None = None
    split: NDArray[np.str_] | None = None
    masks: Masks | None = field(default=None, repr=False)
    mask_classes: dict[int, str] | None = None
    bands: tuple[str, ...] | None = None
    spacings: NDArray[np.float64] | None = None
    stack: NDArray[np.float64] | None = field(default=None, repr=False)
    modality: str | None = None
    origin: str | None = None
    card: dict[str, Any] | None = None
    blank: tuple[str, ...] = ()
    conditions: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    decisions: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitems__(self, indices: Sequence[int]) -> list[Image]:
        """The samples at these indices, in their order, each (H, W, C).

        Raises:
            DataError: a sample cannot be read; names the data set and the index.
            IndexError: an index is out of range.
        """

    def region(self, index: int, start: Sequence[int], stop: Sequence[int]) -> Image:
        """A part of one sample, start to stop along H, W or D, H, W, all channels.

        A format that can reads that part alone.
        """
        where = tuple(slice(first, last) for first, last in zip(start, stop, strict=True))
        return np.ascontiguousarray(self[index][where])

    def sides(self, index: int) -> tuple[int, ...]:
        """(H, W) or (D, H, W) of one sample. A format that knows them need not read it."""
        return self[index].shape[:-1]

    @property
    def reads_parts(self) -> bool:
        """Whether `region` reads a part of a sample without the rest of it."""
        return type(self).region is not Source.region

    def chunks(self, index: int) -> tuple[int, ...] | None:
        """What is read and unpacked at once of a sample, sides along H, W or D, H, W; None where
        the format does not tell."""
        return None

    def overview(self, index: int) -> Image | None:
        """A sample at the coarsest resolution that is good for a map of it, where the data hold
        several; else None."""
        return None

    def large(self, index: int) -> Large | None:
        """What is known of a sample that is too large to be read whole; None of any other."""
        return None

    def unreadable(self, rows: Sequence[int]) -> list[int]:
        """Of these rows, those that others stand in for, since they could not be read."""
        return []

    @property
    def channels(self) -> int:
        return self.shape[-1]

    @property
    def volumetric(self) -> bool:
        """Whether samples are volumes (D, H, W, C)."""
        return len(self.shape) == 4

    @property
    def medical(self) -> bool:
        """Whether ids and further columns may name patients."""
        return (self.origin or self.loader) in MEDICAL or self.modality is not None

    @abstractmethod
    def content_key(self) -> str:
        """Changes when the data change, and holds no path and no time: what is read, and of files
        the `content_digest` or `files_digest` of `identity`."""

    def column(self, name: str) -> NDArray[Any]:
        """Another array of the container, or what the names of the files say by `name:REGEX`.

        What `blank` names has become NaN, or "" of text.

        Raises:
            DataError: there is none of that name, or it cannot be read.
        """
        if name.startswith(NAMED):
            return named_column(self.file_names(), name, self.blank, hidden=self.medical)
        return without(self.read_column(name), self.blank)

    def read_column(self, name: str) -> NDArray[Any]:
        """Another array of the container as it is stored, read whole.

        Raises:
            DataError: as `column`.
        """
        raise DataError(f"{self.name} has no column {name!r}.")

    def file_names(self) -> Sequence[str] | None:
        """The file of each sample, its path below the root with `/`; None where there are none.

        They may name patients: they are read, and never written anywhere.
        """
        return None

    def __getitem__(self, index: int) -> Image:
        index = int(index)
        if not -len(self) <= index < len(self):
            raise IndexError(f"sample {index} of {self.name}, which has {len(self)}")
        return self.__getitems__([index % len(self)])[0]

    def try_each(self, rows: Sequence[int]) -> list[Image | DataError]:
        """The samples at these rows; in the place of one that cannot be read, why."""
        try:
            return list(self.__getitems__(rows))
        except DataError as error:
            if len(rows) == 1:
                return [error]
            return [self.try_each([row])[0] for row in rows]

    def rows(self, *splits: str, labelled: bool = False) -> NDArray[np.int64]:
        """Indices of the samples in these splits, ascending; all where there is no split.

        Args:
            splits: train, val or test; every sample where none is named.
            labelled: only those that have a label.
        """
        chosen = np.ones(len(self), dtype=np.bool_)
        if self.split is not None and splits:
            chosen &= np.isin(self.split, splits)
        if labelled:
            chosen &= False if self.labels is None else self.labels >= 0
        return np.flatnonzero(chosen)

    def class_names(self, rows: Sequence[int]) -> list[str] | None:
        """The class of each row, empty where it has none."""
        if self.labels is None or self.classes is None:
            return None
        return [self.classes[label] if label >= 0 else "" for label in self.labels[list(rows)]]

    @property
    def public_name(self) -> str:
        """What artefacts call the data: the card's name, else the format and the fingerprint.

        A file's name may name a patient, so it is shown on the terminal alone.
        """
        return self._card_name or self.named_by(self.fingerprint())

    def named_by(self, fingerprint: str) -> str:
        """`public_name` by a fingerprint that was taken before: the data may be gone by now."""
        return self._card_name or f"{self.loader}-{fingerprint[:8]}"

    @property
    def _card_name(self) -> str:
        return str((self.card or {}).get("name") or "")

    def fingerprint(self) -> str:
        """SHA-256 over the content key, the shape, the dtype, 16 samples and the labels.

        A sample that cannot be read counts as such, so that damaged data have one, too.
        """
        digest = hashlib.sha256()
        digest.update(f"{len(self)} {self.shape} {self.dtype.str} {self.content_key()}".encode())
        for image in self.try_each(spread(len(self), 16)):
            lost = isinstance(image, DataError)
            digest.update(b"unreadable" if lost else np.ascontiguousarray(image).tobytes())
        if self.labels is not None:
            digest.update(np.ascontiguousarray(self.labels).tobytes())
        return digest.hexdigest()


def spread(samples: int, most: int) -> list[int]:
    """At most so many indices, evenly spread, the first and the last among them."""
    places = np.linspace(0, samples - 1, min(most, samples))  # none of none
    return [int(index) for index in np.unique(places.astype(np.int64))]


class Loader(ABC):
    """Opens one format.

    Attributes:
        name: in the registry.
        title: what people call the format.
        suffixes: of its files, lower case, with the dot; a hint only, the content decides.
        whole_folder: its folders are known by how they are made, so they go before formats that
            know the files in them.
        container: one of its files holds many samples.
    """

    name: str
    title: str
    suffixes: tuple[str, ...] = ()
    whole_folder: bool = False
    container: bool = False

    @abstractmethod
    def sniff(self, path: Path, head: bytes) -> bool:
        """Whether this file is of this format.

        Args:
            path: a file.
            head: its first bytes, at most 4096.
        """

    def holds_many(self, path: Path) -> bool:
        """Whether a file of the format, alone in its folder, is a container rather than a sample.

        Args:
            path: a file that `sniff` knows.
        """
        return self.container

    def sniff_folder(self, path: Path, names: Sequence[str]) -> bool:
        """Whether this folder is of this format, or holds files of it.

        Args:
            path: a folder.
            names: of files below it, with `/`; the first 1,000 that a walk finds.
        """
        return False

    @abstractmethod
    def open(self, path: Path, options: OpenOptions) -> Source:
        """The source behind a path.

        Raises:
            DataError: unreadable, ambiguous, or unsafe; the message says what to do next.
        """

    def open_files(self, root: Path, files: Sequence[str], options: OpenOptions) -> Source:
        """One sample a file, in this order: what a folder or a table of paths comes to.

        Args:
            root: the folder.
            files: below the root, with `/`; none of them is a link that leads out of it.

        Raises:
            DataError: as `open`; this default where the format is not one of single files.
        """
        raise DataError(f"{self.title} cannot be read from a list of files.")

    def read_mask(self, root: Path, file: str, options: OpenOptions) -> NDArray[Any]:
        """The classes of pixels in one file, (H, W) or (D, H, W), as they are stored.

        Raises:
            DataError: it cannot be read, or it has several channels.
        """
        image = self.open_files(root, [file], options)[0]
        if image.shape[-1] != 1:
            raise DataError(f"it has {image.shape[-1]} channels; a mask has one value for a pixel.")
        return image[..., 0]

    def open_url(self, url: str, options: OpenOptions) -> Source:
        """The source behind a URL such as s3://bucket/set.zarr.

        Raises:
            DataError: as `open`; this default where the format is not read over a network.
        """
        raise DataError(f"{self.title} is not read over a network: download it, give its path.")
