"""Features of every sample of a source, and what lies beside them, in one file.

Features go to the disk block by block, so memory does not grow with the data; what is there is not
computed again after a stop; ranks share the blocks.
"""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from domainjepa import waiting
from domainjepa.data.files.identity import Identity
from domainjepa.data.metadata.beside import beside
from domainjepa.data.source import Source
from domainjepa.distributed import (
    any_over_ranks,
    by_the_main_rank,
    is_main,
    process_group,
    rank,
    world_size,
)
from domainjepa.embed.appending import only_new, read_written
from domainjepa.embed.formats import Table, check_ending, write
from domainjepa.embed.parts import Parts
from domainjepa.embed.reading import EmbeddedFile
from domainjepa.encoder.artefact import package_versions
from domainjepa.encoder.frozen import FrozenEncoder
from domainjepa.errors import UserError
from domainjepa.evaluation.encoders.baselines import encoder as load
from domainjepa.evaluation.encoders.features import Encoder, batches_of_features, refuse_broken


def embed(
    encoder: str | Path, source: Source, out: Path, *, append: bool = False
) -> tuple[int, int]:
    """Write `features` (N, D) float32, and beside them what there is of each sample.

    That is `labels` and their names, `class`; `groups`, `split`, `ids`; and the columns of the
    data, so that a catalogue can be joined. Of patients ids are hashes and no column comes along,
    see `domainjepa.data.metadata.beside`.

    Samples that the source knows to be unreadable are left out, and `rows` (N,) int64 then says
    which sample each of the others is; the order stays that of the source. What wrote the features
    is JSON in the attribute, key or keyword `domainjepa` (in FITS DJ_ABOUT).

    Under torchrun every rank computes its share of the blocks and the first one writes. A process
    that was stopped goes on where it was when the same call is made again.

    Args:
        encoder: a run folder, an `encoder.safetensors`, or `timm:NAME[=WEIGHTS]`.
        source: the images.
        out: a `.npz`, `.h5`, `.parquet` or `.fits` file, or a `.zarr` folder; in Parquet, features
            are lists of one length. It is replaced when the new one is whole.
        append: keep what `out` holds, and add the samples whose ids it does not.

    Returns:
        The shape of the features in the file.

    Raises:
        UserError: another suffix, an encoder or data that cannot be read, or a file that the
            samples do not fit to.
        MissingExtra: Zarr is not installed.
    """
    check_ending(out)
    with process_group():
        network = load(str(encoder))
        rows = readable(source)
        if hasattr(network, "adapt"):
            network.adapt(source, np.intersect1d(rows, source.rows("train", "val")))
        columns = beside_features(source, rows, told=is_main())
        before: EmbeddedFile | None = None
        if append and out.exists():
            before = read_written(out)
            new, columns = only_new(before, columns, depends_on(network))
            rows = rows[new]
        if not len(rows):
            if before is None:
                raise UserError(f"{source.name}: no sample can be read")
            return len(before.features), before.features.width
        return _embedded(network, source, rows, columns, out, before)


def _embedded(
    network: Encoder,
    source: Source,
    rows: NDArray[np.int64],
    columns: dict[str, NDArray[Any]],
    out: Path,
    before: EmbeddedFile | None,
) -> tuple[int, int]:
    parts = Parts(out, depends_on(network), source, rows)

    def begin() -> None:
        there = parts.begin()
        if there:
            told = f"{there:,} of {len(parts):,} blocks of features are there already"
            Console(stderr=True).print(told, highlight=False)

    by_the_main_rank(begin)
    shape = (0, 0)
    try:
        refused: UserError | None = None
        try:
            _compute(parts, network, source)
        except UserError as error:
            refused = error
        if any_over_ranks(refused is not None):
            raise refused or UserError("another rank could not read its share of the samples")
        width = next(iter(parts)).shape[1]
        old = 0 if before is None else len(before.features)
        shape = (old + len(rows), width)

        def finish() -> None:
            there = () if before is None else (block for _, block in before.features.blocks())
            write(out, Table(shape, chain(there, parts), columns, _about(network, source)))
            parts.end()

        by_the_main_rank(finish)
    finally:
        parts.release()
    return shape


def _compute(parts: Parts, network: Encoder, source: Source) -> None:
    """The blocks of this rank that are not there."""
    mine = [block for block in range(rank(), len(parts), world_size()) if not parts.has(block)]
    blocks = [parts.rows_of(block) for block in mine]
    held: list[NDArray[np.float32]] = []
    done = at = 0
    console = Console(stderr=True, quiet=not is_main())
    with waiting.bar(console, "features", sum(map(len, blocks))) as show:
        for found in batches_of_features(network, source, blocks):
            held.append(found)
            done += len(found)
            if sum(map(len, held)) == len(blocks[at]):
                features = np.concatenate(held)
                refuse_broken(network, source, blocks[at], features)
                parts.put(mine[at], features)
                held, at = [], at + 1
            show(done)


def readable(source: Source) -> NDArray[np.int64]:
    """All rows, (N,), but those that the source knows to be unreadable."""
    return np.setdiff1d(np.arange(len(source)), source.unreadable(range(len(source))))


def beside_features(
    source: Source, rows: NDArray[np.int64], *, told: bool = True
) -> dict[str, NDArray[Any]]:
    """What there is of these rows: name -> (N, …), see `embed`.

    Args:
        source: of the samples.
        rows: (N,) of them.
        told: whether what is left out is said on stderr.
    """
    taken = ("features", "patches", "rows", "class", "labels", "groups", "split", "ids")
    found = beside(source, taken=(*taken, "domainjepa"))
    if found.left_out and told:
        Console(stderr=True).print(found.told(), highlight=False, markup=False)
    columns = {**found.roles, **found.columns}
    if source.labels is not None and source.classes:
        columns["class"] = np.array(source.class_names(range(len(source))))
    some = {"rows": rows} if len(rows) < len(source) else {}
    return {**some, **{name: column[rows] for name, column in columns.items()}}


def depends_on(network: Encoder) -> str:
    """What features depend on besides the images: the SHA-256 of an encoder, or a name."""
    return str(getattr(network, "sha256", None) or network.name)


def _about(network: Encoder, source: Source) -> dict[str, Any]:
    """Where the features came from: no path, no file name."""
    card = network.card if isinstance(network, FrozenEncoder) else None
    return {
        "backbone": card.backbone.name if card else network.name,
        "encoder_sha256": depends_on(network),
        "data": (source.card or {}).get("name"),
        "fingerprint": Identity.of(source).fingerprint,
        "versions": package_versions(card.dimensions if card else 2),
    }
