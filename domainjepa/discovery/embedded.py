"""Samples with their features: where all that is found begins."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from domainjepa.data.source import Source
from domainjepa.discovery.samples import Samples, samples_of
from domainjepa.embed import depends_on, readable
from domainjepa.embed.blocks import Blocks
from domainjepa.embed.reading import EmbeddedFile
from domainjepa.errors import DataError
from domainjepa.evaluation.encoders.baselines import encoder as load
from domainjepa.evaluation.encoders.features import Encoder, features_of


@dataclass(frozen=True)
class Embedded:
    """Samples that an encoder has seen.

    Attributes:
        encoder: what saw them.
        source: of the images.
        rows: (N,) rows of the source, ascending: those that can be read.
        features: (N, D), by blocks.
        samples: what is told of them; positions there are those in `rows`.
    """

    encoder: Encoder
    source: Source
    rows: NDArray[np.int64]
    features: Blocks
    samples: Samples

    def __len__(self) -> int:
        return len(self.rows)


def embedded(
    encoder: str, source: Source, kept: Path | None = None, console: Console | None = None
) -> Embedded:
    """The samples of a source with their features: made, or read where they were written before.

    Args:
        encoder: a run folder, an `encoder.safetensors`, or `timm:NAME[=WEIGHTS]`.
        source: of the images.
        kept: what `domainjepa embed` wrote of them, which is read by blocks.
        console: where to show progress.

    Raises:
        UserError: an encoder, data or a file that cannot be read, or features of other samples.
    """
    network = load(encoder)
    rows = readable(source)
    if kept is None:
        if hasattr(network, "adapt"):
            network.adapt(source, np.intersect1d(rows, source.rows("train", "val")))
        made = features_of(network, source, rows, console=console)
        return Embedded(network, source, rows, Blocks(made), samples_of(source, rows))
    file = EmbeddedFile(kept)
    told = file.about.get("encoder_sha256")
    if told is not None and told != depends_on(network):
        raise DataError(
            f"{kept.name} holds features of another encoder, {file.about.get('backbone')}: embed "
            "anew, or give the encoder that made them."
        )
    rows = _rows_of(file, source)
    samples = samples_of(source, rows)
    _refuse_others(file, samples)
    return Embedded(network, source, rows, file.features, samples)


def _rows_of(file: EmbeddedFile, source: Source) -> NDArray[np.int64]:
    """Which samples of the source the file's are."""
    count, told = len(file.features), file.column("rows")
    if told is None:
        if count != len(source):
            raise DataError(
                f"{file.path.name} holds features of {count:,} samples, and {source.name} has "
                f"{len(source):,}: they are of other data, or of other settings of it. Embed anew."
            )
        return np.arange(count)
    rows = told.astype(np.int64)
    if rows.min() < 0 or rows.max() >= len(source) or (np.diff(rows) <= 0).any():
        raise DataError(f"{file.path.name}: its rows are none of {source.name}. Embed anew.")
    return rows


def _refuse_others(file: EmbeddedFile, samples: Samples) -> None:
    """Features of other samples are told by ids, else by labels, where both have them."""
    for name, own in (("ids", samples.ids), ("labels", samples.labels)):
        theirs: NDArray[Any] | None = None if own is None else file.column(name)
        if own is not None and theirs is not None:
            if not np.array_equal(own, theirs):
                raise DataError(
                    f"{file.path.name} has other {name} than {samples.name}: the features are of "
                    "other data, or in another order. Embed anew."
                )
            return
