"""Which rows a run learns from, and which never train the online probe."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from domainjepa.config import PretrainConfig, ViewsConfig
from domainjepa.data.sampling import key
from domainjepa.data.source import Source
from domainjepa.distributed import world_size
from domainjepa.errors import ConfigError

PROBE_HOLDOUT = 10
"""A tenth of the rows never trains the online probe: its accuracy is measured on those."""


def pretraining_rows(source: Source, config: PretrainConfig) -> tuple[NDArray[np.int64], str]:
    """The rows to learn from and why: test rows stay out unless asked for.

    Raises:
        ConfigError: there are none.
    """
    if source.split is None:
        return source.rows(), f"all {len(source):,}: the data has no split"
    counts = {name: int((source.split == name).sum()) for name in ("train", "val", "test")}
    if config.data.include_test:
        return source.rows(), f"all {len(source):,}, test rows included as asked"
    rows = source.rows("train", "val")
    if len(rows) == 0:
        raise ConfigError(
            f"none of the {len(source):,} samples is in the split train or val, {counts['test']:,} "
            "are in test, which pretraining leaves out. Learn from them, too, by --set "
            "data.include_test=true, or name another split by --set data.split=NAME."
        )
    return rows, (
        f"{len(rows):,} of the splits train ({counts['train']:,}) and val ({counts['val']:,}); "
        f"the {counts['test']:,} test rows stay out (data.include_test takes them in)"
    )


def divided_groups(source: Source, rows: NDArray[np.int64]) -> list[str]:
    """A warning where groups lie in several parts of the split, so that a run learns from patients,
    or objects, of the test set.

    Args:
        rows: to learn from.
    """
    if source.split is None or source.groups is None:
        return []
    names, group = np.unique(source.groups, return_inverse=True)
    parts = np.stack([np.bincount(group[source.split == part], minlength=len(names)) > 0
                      for part in ("train", "val", "test")])  # fmt: skip
    several = int((parts.sum(axis=0) > 1).sum())
    if not several:
        return []
    shared = int((parts[2][group[rows]] & (source.split[rows] != "test")).sum())
    learns = (
        f"; the run learns from {shared:,} rows whose group is in the test split, too: scores on "
        "it come out too good"
        if shared
        else ""
    )
    return [
        f"split: {several:,} of {len(names):,} groups lie in several parts of it{learns}. Give "
        "each group to one part (data.split)"
    ]


def hold_out(source: Source, seed: int) -> NDArray[np.bool_]:
    """A keyed tenth of the rows, whole groups where there are enough of them."""
    units = np.arange(len(source))
    if source.groups is not None and len(np.unique(source.groups)) >= PROBE_HOLDOUT:
        units = source.groups
    names, unit_of_row = np.unique(units, return_inverse=True)
    shuffled = np.random.default_rng(key(seed, "probe")).permutation(len(names))
    held: NDArray[np.bool_] = shuffled[unit_of_row] < max(len(names) // PROBE_HOLDOUT, 1)
    return held


def refuse_small_batches(config: PretrainConfig, samples: int, volumetric: bool) -> None:
    """The global batch has to be filled, and to be worth dividing among the ranks.

    Raises:
        ConfigError: it is larger than the data, or leaves a rank less than two samples.
    """
    if samples < config.batch_size:
        more = ", or draw more of each volume by --set data.regions=…" if volumetric else ""
        raise ConfigError(
            f"a global batch of {config.batch_size} needs as many samples; there are {samples} "
            f"to learn from. Set --batch-size {max(2, samples // 2)} or lower{more}."
        )
    if config.batch_size < 2 * world_size():
        raise ConfigError(
            f"a global batch of {config.batch_size} leaves less than 2 samples for each of "
            f"{world_size()} ranks: raise --batch-size or lower --devices."
        )


def refuse_dropping_the_only_channel(source: Source, views: ViewsConfig) -> None:
    """Channels are left out where there are others.

    Raises:
        ConfigError: there is one alone.
    """
    if views.channel_dropout and source.channels == 1:
        raise ConfigError(
            f"views.channel_dropout = {views.channel_dropout:g} leaves channels out, and the "
            "samples have one: leave it out, or join several by data.bands or data.neighbours."
        )
