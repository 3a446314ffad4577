"""Parquet and Arrow files with the pictures inside, one file or a folder of shards.

What Hugging Face's `datasets` and its hub hold, and any table of encoded pictures: a column of
{bytes, path} or of bytes, and labels, groups and the rest in the columns beside it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.files.gathering import warn_of_rest
from domainjepa.data.files.listing import ends_in, first_bytes, list_files
from domainjepa.data.files.shards import Shards, read_parts
from domainjepa.data.formats.encoded import EncodedSource
from domainjepa.data.formats.parquet import features
from domainjepa.data.metadata.columns import USUAL_NAMES, find_columns
from domainjepa.data.parts.recent import Recent
from domainjepa.data.source import Loader, OpenOptions, Source
from domainjepa.data.storage.cost import in_bytes
from domainjepa.data.storage.layout import Array, is_usual
from domainjepa.errors import DataError

if TYPE_CHECKING:
    from domainjepa.data.formats.parquet.arrow_file import ArrowPictures
    from domainjepa.data.formats.parquet.parquet_file import ParquetPictures

PARQUET, ARROW = b"PAR1", b"ARROW1\0\0"
KEPT = 2**27
"""Bytes of row groups that a process keeps."""
MOST_OPEN = 64
"""Files that a process keeps open."""
COSTLY = 2**25
"""Bytes of a row group from which on random reads are worth a warning."""
_CACHES = ("cache-", "tmp")
"""What `datasets` leaves beside its files."""


@dataclass(kw_only=True)
class RowsSource(EncodedSource):
    """Encoded pictures in a column of one or more files; opened lazily, once in each process."""

    shards: Shards = field(repr=False)
    pictures: str
    _recent: Recent = field(
        default_factory=lambda: Recent(KEPT), init=False, repr=False, compare=False
    )
    _opened: tuple[int, dict[int, ParquetPictures | ArrowPictures]] | None = field(
        default=None, init=False, repr=False, compare=False
    )

    def __len__(self) -> int:
        return len(self.shards)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}

    def called(self, row: int) -> str:
        ((file, place),) = self.shards.places([row])
        return f"row {place} of {self.shards.files[file]}"

    def stored(self, rows: Sequence[int]) -> list[bytes | DataError]:
        places = self.shards.places(rows)
        found: dict[tuple[int, int], bytes | DataError] = {}
        for file in sorted({file for file, _ in places}):
            here = [row for one, row in places if one == file]
            for row, content in zip(here, self._of_file(file, here), strict=True):
                found[file, row] = content
        return [found[place] for place in places]

    def _of_file(self, file: int, rows: list[int]) -> list[bytes | DataError]:
        """What a file holds at these rows; one damaged group is not all of the file."""
        try:
            values = self._file(file).pictures(self.pictures, rows, self._recent)
        except DataError as error:
            if len(rows) == 1:
                return [error]
            return [self._of_file(file, [row])[0] for row in rows]
        lost = DataError("the row holds no picture; where it has a path alone, embed the files")
        return [lost if value is None else value for value in values]

    def _file(self, number: int) -> ParquetPictures | ArrowPictures:
        if self._opened is None or self._opened[0] != os.getpid():
            self._opened = (os.getpid(), {})
        opened = self._opened[1]
        if number not in opened:
            if len(opened) >= MOST_OPEN:
                del opened[next(iter(opened))]
            opened[number] = _opened(self.shards.root / self.shards.files[number])
            if opened[number].rows != self.shards.sizes[number]:
                raise DataError(f"{self.shards.files[number]} has changed since it was opened.")
        return opened[number]

    def read_column(self, name: str) -> NDArray[Any]:
        if name not in self.keys:
            return super().read_column(name)
        files = (self._file(number) for number in range(len(self.shards.files)))
        return np.concatenate([file.column(name) for file in files])

    def content_key(self) -> str:
        """The shards, and the name of what is read."""
        return f"{self.shards.content_key()} {self.pictures}"


class ParquetLoader(Loader):
    """Opens Parquet and Arrow files of pictures, and folders of them."""

    name = "parquet"
    title = "Parquet or Arrow with the pictures inside"
    suffixes = (".parquet", ".pq", ".arrow", ".feather")
    container = True

    def sniff(self, path: Path, head: bytes) -> bool:
        """A Parquet file without pictures is a table of paths."""
        if not head.startswith(PARQUET):
            return _is_arrow(head)
        try:
            file = _opened(path)
        except DataError:
            return False  # the table's loader says what is wrong
        try:
            return bool(features.pictures_in(file.schema, file.first))
        except DataError:
            return True  # bytes that cannot be read, and opening tells why

    def sniff_folder(self, path: Path, names: Sequence[str]) -> bool:
        files = [name for name in names if ends_in(name, self.suffixes) and not _is_cache(name)]
        return bool(files) and self.sniff(path / files[0], first_bytes(path / files[0]))

    def open(self, path: Path, options: OpenOptions) -> Source:
        if not path.is_dir():
            return self._open(path.resolve().parent, [path.resolve().name], path.stem, options, {})
        names = replace(options, images=None)
        found = list_files(path, self.suffixes, names)
        files = [name for name in found.files if not _is_cache(name)]
        source = self._open(found.root, files, found.root.name, options, {})
        warn_of_rest(source, found, self)
        return source

    def _open(
        self, root: Path, files: list[str], name: str, options: OpenOptions, fields: dict[str, Any]
    ) -> Source:
        first, where = _opened(root / files[0]), name
        sizes, widest = [], first
        for file in files:  # opened one after another: a process may open a thousand
            one = _opened(root / file)
            if not one.schema.equals(first.schema):
                raise DataError(
                    f"{file} has other columns than {files[0]}: {one.schema.names[:20]} and "
                    f"{first.schema.names[:20]}. Give one of them, or a folder of its like."
                )
            sizes.append(one.rows)
            widest = max(widest, one, key=lambda file: file.group_bytes)
        candidates = features.pictures_in(first.schema, first.first)
        pictures = features.pick(first.schema, candidates, options.images, where)
        shards = Shards(root, files, sizes)
        if not len(shards):
            raise DataError(f"{where} has no rows.")
        source = RowsSource(
            name=name,
            loader=self.name,
            options=options,
            shards=shards,
            pictures=pictures,
            keys=tuple(one for one in first.names if one != pictures),
        )
        of = f"rows, column {pictures!r}" + (f" of {len(files):,} files" if len(files) > 1 else "")
        source.look_at_headers(of)
        _read_columns(source, first, options)
        read_parts(source, shards)
        _warn_of_groups(source, widest.group_bytes)
        return source


def _read_columns(
    source: RowsSource, first: ParquetPictures | ArrowPictures, options: OpenOptions
) -> None:
    """Labels, groups, ids and split out of the columns beside the pictures."""
    told = features.features_of(first.schema)
    classes = {name: features.class_names(told.get(name, {})) for name in source.keys}
    arrays = {
        name: Array((len(source),), np.dtype(object), class_names=classes[name])
        for name in source.keys
    }
    arrays[source.pictures] = Array((len(source), *source.shape), source.dtype)
    labelled = [name for name, names in classes.items() if names]
    usual = any(is_usual(name, USUAL_NAMES["labels"]) for name in source.keys)
    if options.labels is None and len(labelled) == 1 and not usual:
        options = replace(options, labels=labelled[0])

    def read(name: str) -> NDArray[Any]:
        values = source.column(name)
        if classes[name] and values.dtype.kind in "iuf":  # -1 says that there is no label
            return np.where(values < 0, np.nan, values)
        return values

    found = find_columns(arrays, read, source.pictures, options, source.name)
    found.complete(source)


def _warn_of_groups(source: RowsSource, costs: int) -> None:
    if costs > COSTLY:
        source.warnings.append(
            f"row groups take up to {in_bytes(costs)}, and one random picture takes the whole of "
            "its group to read, so training will wait for data. Write 100 rows a group, or once: "
            f"domainjepa prepare --data {source.name} --out {source.name}-fast.h5"
        )


def _opened(path: Path) -> ParquetPictures | ArrowPictures:
    """One file by its first bytes.

    Raises:
        DataError: damaged.
    """
    from domainjepa.data.formats.parquet.arrow_file import ArrowPictures
    from domainjepa.data.formats.parquet.parquet_file import ParquetPictures

    with path.open("rb") as file:
        is_parquet = file.read(len(PARQUET)) == PARQUET
    return ParquetPictures(path) if is_parquet else ArrowPictures(path)


def _is_arrow(head: bytes) -> bool:
    """Whether a file of these first bytes is an Arrow file or stream."""
    if head.startswith(ARROW):
        return True
    # A stream begins with the length of its schema, which is a message of a few kilobytes.
    length = int.from_bytes(head[4:8], "little")
    return head.startswith(b"\xff\xff\xff\xff") and 8 < length < 2**24 and length % 8 == 0


def _is_cache(name: str) -> bool:
    return name.rpartition("/")[2].startswith(_CACHES)
