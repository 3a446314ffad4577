"""Files in the making: one sample a chunk with a checksum, written from the first to the last.

Each can be taken up again where it was left; `done` says how many samples are there for certain.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import struct
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np
from numpy.typing import NDArray

from domainjepa.data.files.damage import reason
from domainjepa.data.masks.arrays import KNOWN
from domainjepa.data.masks.masks import Masks
from domainjepa.data.packing import prepared
from domainjepa.errors import DataError, MissingExtra, UserError

Columns = Mapping[str, NDArray[Any]]
MOST_IN_ATTRIBUTE = 60_000
"""Bytes; HDF5 has room for 64 kB."""
MASKS = "int32"
"""The type of their values."""
COMPRESSIONS = ("none", "gzip", "lz4", "zstd")


@dataclass(frozen=True)
class Order:
    """A file to be made.

    Attributes:
        path: where.
        shape: of all samples, (N, …).
        dtype: of their values.
        block: samples that are written at a time.
        compression: one of `COMPRESSIONS`.
    """

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    block: int
    compression: str


class Writer(Protocol):
    """A file in the making.

    Attributes:
        done: samples that it holds already.
    """

    done: int

    def write(self, start: int, block: NDArray[Any]) -> None:
        """Samples from `start` on, (n, …); they are on the disk when this returns."""

    def finish(self, columns: Columns, masks: Masks | None, about: dict[str, Any]) -> None:
        """Everything else, and close."""

    def close(self) -> None:
        """Close as it is, to go on another time."""


class HDF5Writer:
    """`images` in chunks of one sample with a Fletcher-32 checksum."""

    def __init__(self, order: Order, done: int) -> None:
        path, shape = order.path, order.shape
        self.done = done if done and _intact(path, done) else 0
        self._path, self._samples, self._taken_up = path, shape[0], self.done > 0
        how = _filters(order.compression)
        with full_disk(path):
            self._file = h5py.File(path, "r+" if self.done else "w")
            # Between two blocks nothing but samples may reach the disk, so that a file whose writer
            # was killed is as it was after its last block.
            config = self._file.id.get_mdc_config()
            config.evictions_enabled = False
            config.incr_mode = config.flash_incr_mode = config.decr_mode = 0
            self._file.id.set_mdc_config(config)
            if not self.done:
                self._file.create_dataset(
                    "images", shape, order.dtype, chunks=(1, *shape[1:]), fletcher32=True, **how
                )
                self._file.flush()

    def write(self, start: int, block: NDArray[Any]) -> None:
        """Samples from `start` on, on the disk when this returns."""
        with full_disk(self._path):
            self._file["images"][start : start + len(block)] = block
            self._flush()

    def finish(self, columns: Columns, masks: Masks | None, about: dict[str, Any]) -> None:
        """Everything else, and close."""
        about, classes = dict(about), about["classes"]
        del about["classes"]
        with full_disk(self._path):
            for name in set(self._file) - {"images"}:  # of a run that was killed right here
                del self._file[name]
            for name, values in columns.items():
                if values.dtype.kind == "U":
                    values = np.char.encode(values, "utf-8")
                kind: Any = values.dtype
                if name == "split":
                    told = dict(zip(prepared.SPLITS, range(3), strict=True))
                    kind = h5py.enum_dtype(told, basetype="u1")
                self._file.create_dataset(name, data=values, dtype=kind, fletcher32=True)
            if masks is not None:
                sides, how = self._file["images"].shape[:-1], _filters("gzip")
                stored = self._file.create_dataset(
                    "masks", sides, MASKS, chunks=(1, *sides[1:]), fletcher32=True, **how
                )
                _write_masks(masks, stored)
                self._file.create_dataset(KNOWN, data=masks.known, dtype="u1", fletcher32=True)
            if classes:
                # Of fixed length: a damaged heap of text can hang HDF5 2.0 for ever.
                texts = np.char.encode(np.array(classes), "utf-8")
                if texts.nbytes < MOST_IN_ATTRIBUTE:
                    self._file["labels"].attrs["class_names"] = texts
                else:
                    self._file.create_dataset("class_names", data=texts, fletcher32=True)
            self._file.attrs[prepared.ATTRIBUTE] = np.bytes_(json.dumps(about).encode())
            self._flush()
        self.close()
        if self._taken_up and not _intact(self._path, self._samples):
            self._path.unlink()
            raise UserError(
                "the file was damaged when its writer was killed: give the same command again."
            )

    def close(self) -> None:
        """Close as it is."""
        self._file.close()

    def _flush(self) -> None:
        self._file.flush()
        os.fsync(self._file.id.get_vfd_handle())


def _write_masks(masks: Masks, stored: Any) -> None:
    """Each mask into its row, what is compressed well by any packing; 0 where there is none."""
    for row, known in enumerate(masks.known.tolist()):
        mask = masks[row] if known else np.zeros(stored.shape[1:], MASKS)
        if mask.size and not (mask.min() >= -(2**31) and mask.max() < 2**31):
            raise DataError(
                f"the mask of sample {row} holds {mask.max()}, and a packed file holds values "
                f"below {2**31:,}: number its objects from 1, or leave masks out: "
                "--set data.masks=none"
            )
        stored[row] = mask.astype(MASKS)


def _intact(path: Path, done: int) -> bool:
    """Whether the first samples of a file are all there, each with its checksum right.

    A writer that is killed while HDF5 puts its tables on the disk leaves some of them old: those
    that count the file's bytes come last, so a chunk beyond that count tells it.
    """
    try:
        end = _counted_bytes(path)
        with h5py.File(path, "r") as file:
            images = file["images"]
            buffer = np.empty((1, *images.shape[1:]), images.dtype)
            ends = [0]
            images.id.chunk_iter(lambda chunk: ends.append(chunk.byte_offset + chunk.size))
            if max(ends) > end:
                return False
            for row in range(done):
                images.id.get_chunk_info_by_coord((row, *(0,) * (images.ndim - 1)))
                images.read_direct(buffer, np.s_[row : row + 1])
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError, struct.error):
        return False
    return True


def _counted_bytes(path: Path) -> int:
    """The end of the file by its superblock, version 0 (HDF5 File Format Specification II.A)."""
    with path.open("rb") as file:
        head = file.read(48)
    if head[8] != 0:
        raise ValueError("another version of the superblock")
    end: int = struct.unpack_from("<Q", head, 40)[0]
    return end


def _filters(compression: str) -> dict[str, Any]:
    if compression == "none":
        return {}
    if compression == "gzip":
        return {"compression": "gzip", "compression_opts": 4, "shuffle": True}
    try:
        import hdf5plugin
    except ImportError as error:
        raise MissingExtra("hdf5plugin", "hdf5", f"{compression} in HDF5") from error
    return dict(hdf5plugin.LZ4() if compression == "lz4" else hdf5plugin.Zstd(clevel=3))


class ZarrWriter:
    """`images` of Zarr v3 in chunks of one sample with CRC-32C; a shard is a block of them."""

    def __init__(self, order: Order, done: int) -> None:
        try:
            import zarr
        except ImportError as error:
            raise MissingExtra("zarr", "zarr", "writing Zarr") from error
        path = self._path = order.path
        self.done = self.there(order, done)
        with full_disk(path):
            if self.done:
                self._group = zarr.open_group(path, mode="r+")
                return
            shutil.rmtree(path, ignore_errors=True)
            self._group = zarr.create_group(path)
            self._group.create_array(
                "images",
                shape=order.shape,
                dtype=order.dtype,
                compressors=codecs(order.compression),
                **self.layout(order),
            )

    def there(self, order: Order, done: int) -> int:
        """How much of what was done is still there to go on from."""
        shards = sum(file.is_file() for file in order.path.glob("images/c/**/*"))
        return done if shards >= -(-done // order.block) else 0

    def layout(self, order: Order) -> dict[str, Any]:
        """How the images lie: chunks, shards and what is written of them."""
        return {
            "chunks": (1, *order.shape[1:]),
            "shards": (order.block, *order.shape[1:]),
            "config": {"write_empty_chunks": True},  # so that what is missing was lost
        }

    def write(self, start: int, block: NDArray[Any]) -> None:
        """Samples from `start` on: a whole shard, written beside its place and renamed."""
        with full_disk(self._path):
            images: Any = self._group["images"]
            images.with_config({"write_empty_chunks": True})[start : start + len(block)] = block

    def finish(self, columns: Columns, masks: Masks | None, about: dict[str, Any]) -> None:
        """Everything else."""
        import zarr

        about, classes = dict(about), about["classes"]
        del about["classes"]
        with full_disk(self._path), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # consolidated metadata is an extension of v3
            for name, values in columns.items():
                array = self._group.create_array(
                    name,
                    shape=values.shape,
                    dtype="str" if values.dtype.kind == "U" else values.dtype,
                    compressors=codecs("none"),
                    overwrite=True,
                )
                array[...] = values
            if masks is not None:
                images: Any = self._group["images"]
                sides = images.shape[:-1]
                stored = self._group.create_array(
                    "masks",
                    shape=sides,
                    dtype=MASKS,
                    chunks=(1, *sides[1:]),
                    compressors=codecs("gzip"),
                    overwrite=True,
                    config={"write_empty_chunks": True},
                )
                _write_masks(masks, stored)
                known = self._group.create_array(
                    KNOWN,
                    shape=masks.known.shape,
                    dtype="uint8",
                    overwrite=True,
                    config={"write_empty_chunks": True},
                )
                known[...] = masks.known
            if classes:
                self._group["labels"].attrs["class_names"] = list(classes)
            if "split" in columns:
                attributes: Any = self._group["split"].attrs
                attributes["flag_values"] = [0, 1, 2]
                attributes["flag_meanings"] = " ".join(prepared.SPLITS)
            self._group.attrs[prepared.ATTRIBUTE] = about
            # Web servers cannot list a folder; this one never changes again.
            zarr.consolidate_metadata(self._group.store)

    def close(self) -> None:
        """Nothing is open."""


def codecs(compression: str) -> list[Any]:
    """Of Zarr, by the name of a compression; each with a checksum."""
    from zarr.codecs import BloscCodec, Crc32cCodec, GzipCodec, ZstdCodec

    packed: dict[str, list[Any]] = {
        "none": [],
        "gzip": [GzipCodec(level=4)],
        "lz4": [BloscCodec(cname="lz4")],
        "zstd": [ZstdCodec(level=3)],
    }
    return [*packed[compression], Crc32cCodec()]


@contextlib.contextmanager
def full_disk(path: Path) -> Iterator[None]:
    """A write that fails is one message that says how to go on."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        name = path.name.removeprefix(".").removesuffix(".part")
        raise UserError(
            f"{name} could not be written: {reason(error)} Free some disk space and give the same "
            "command again: it goes on where it was."
        ) from error
