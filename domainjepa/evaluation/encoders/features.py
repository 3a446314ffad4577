"""Features of a source, computed once, kept by content.

The cache is a folder of .npz files named by a hash of all that the features depend on: the encoder,
the data, the rows. Nothing there goes stale, and any file can be thrown away.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from domainjepa.data.files.identity import Identity
from domainjepa.data.masks.masks import masks_of
from domainjepa.data.source import Image, Source
from domainjepa.encoder.passes import ahead
from domainjepa.errors import DataError
from domainjepa.evaluation.reporting.progress import counting
from domainjepa.evaluation.splits import Rows
from domainjepa.writing import write_atomically

Features = NDArray[np.float32]

BATCH = 512
BATCH_BYTES = 128 * 2**20
"""Of images that are read at once; as many are read while these go through the encoder."""


class Encoder(Protocol):
    """Anything that turns images into features. Its features are cached where it has a `sha256`."""

    @property
    def name(self) -> str:
        """Short, for tables; unique in an evaluation."""

    def transform(self, images: Any, /) -> Any:
        """A list of (H, W, C) images, or a source -> (N, D) float32."""


@dataclass(kw_only=True)
class SomeRows(Source):
    """Some rows of another source."""

    whole: Source
    of: Rows

    def __len__(self) -> int:
        return len(self.of)

    def __getitems__(self, indices: Sequence[int]) -> list[Image]:
        return self.whole.__getitems__(self.of[np.asarray(indices, dtype=np.int64)].tolist())

    def region(self, index: int, start: Sequence[int], stop: Sequence[int]) -> Image:
        return self.whole.region(int(self.of[index]), start, stop)

    def sides(self, index: int) -> tuple[int, ...]:
        return self.whole.sides(int(self.of[index]))

    @property
    def reads_parts(self) -> bool:
        return self.whole.reads_parts

    def content_key(self) -> str:
        return f"{self.whole.content_key()} {self.of.tolist()}"


def some_of(source: Source, rows: Rows) -> Source | list[Image]:
    """Images are read at once; volumes are left to the encoder, with the spacing that it needs."""
    if not source.volumetric:
        return source.__getitems__(rows.tolist())
    spacings = None if source.spacings is None else source.spacings[rows]
    return SomeRows(
        name=source.name,
        loader=source.loader,
        shape=source.shape,
        dtype=source.dtype,
        masks=masks_of(source.masks, rows),
        bands=source.bands,
        spacings=spacings,
        modality=source.modality,
        whole=source,
        of=rows,
    )


def _cache_name(encoder: Encoder, source: Source, rows: Rows, definition: str) -> str | None:
    weights = getattr(encoder, "sha256", None)
    if weights is None:
        return None
    text = f"{weights} {Identity.of(source).exact} {definition}"
    digest = hashlib.sha256(text.encode())
    digest.update(np.ascontiguousarray(rows).tobytes())
    return f"{digest.hexdigest()[:32]}.npz"


def _read(path: Path, rows: int) -> Features | None:
    try:
        with np.load(path, allow_pickle=False) as file:
            found: Features = file["features"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None  # absent or damaged: computed anew
    return found if found.ndim == 2 and len(found) == rows else None


def features_of(
    encoder: Encoder,
    source: Source,
    rows: Rows,
    *,
    definition: str = "pooled",
    cache: Path | None = None,
    console: Console | None = None,
) -> Features:
    """The features of some rows of a source, (len(rows), D) float32, in their order.

    Args:
        definition: which features these are; part of what the cache is keyed by.
        cache: folder to keep them in; None keeps nothing.
        console: where to show progress; None shows none.

    Raises:
        DataError: the encoder gives something else than one finite vector for each image.
    """
    name = _cache_name(encoder, source, rows, definition) if cache else None
    kept = cache / name if cache and name else None
    if kept is not None and (found := _read(kept, len(rows))) is not None:
        return found
    parts = []
    with counting(console, f"features: {encoder.name}", len(rows)) as counter:
        for found in batches_of_features(encoder, source, [rows]):
            parts.append(found)
            counter.advance(len(found))
    features = np.concatenate(parts)
    refuse_broken(encoder, source, rows, features)
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(kept, lambda file: np.savez(file, features=features))
    return features


def batches_of_features(
    encoder: Encoder, source: Source, blocks: Iterable[Rows]
) -> Iterator[Features]:
    """The features of some rows, (n, D) float32 a batch, the next images read meanwhile.

    Args:
        encoder: any.
        source: of the images.
        blocks: of rows; no batch has rows of two, so the last bits of a block, which the size of
            a batch may change, do not depend on the others.

    Raises:
        DataError: the encoder gives something else than one vector for each image.
    """
    sample_bytes = int(np.prod(source.shape)) * source.dtype.itemsize
    size = int(np.clip(BATCH_BYTES // max(sample_bytes, 1), 1, BATCH))
    batches = (
        some_of(source, rows[first : first + size])
        for rows in blocks
        for first in range(0, len(rows), size)
    )
    for batch in ahead(batches):
        found = np.asarray(encoder.transform(batch), dtype=np.float32)
        if found.ndim != 2 or len(found) != len(batch):
            raise DataError(
                f"{encoder.name} gave features of shape {found.shape} for {len(batch)} "
                "images; one vector for each is expected"
            )
        yield found


def refuse_broken(encoder: Encoder, source: Source, rows: Rows, features: Features) -> None:
    """Features that are not finite end here.

    Raises:
        DataError: there are some.
    """
    broken = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if len(broken):
        raise DataError(
            f"{encoder.name} gave features that are not finite for {len(broken)} of {len(rows)} "
            f"images, first for sample {rows[broken[0]]} of {source.name}"
        )
