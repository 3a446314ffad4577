"""The nearest samples by cosine: exact, by blocks, in bounded memory; of very many by an index."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console

from domainjepa import devices
from domainjepa.discovery.space import Space
from domainjepa.embed.blocks import BLOCK, Blocks, Features
from domainjepa.waiting import bar, stage

TOGETHER = 4096
"""Queries that are compared with a block at once: 128 MiB of cosines."""
EXACT = 100_000
"""Samples up to which the neighbours of all of them are found exactly on a CPU: above, the work of
N^2 takes more than minutes, and an index takes its place where one is installed."""

Near = tuple[NDArray[np.int64], NDArray[np.float32]]
"""Positions (Q, k) and cosines (Q, k), nearest first; -1 and -inf where there are fewer."""


def nearest(
    features: Blocks,
    space: Space,
    queries: Features,
    top: int,
    *,
    apart: NDArray[np.int64] | None = None,
    own: NDArray[np.int64] | None = None,
    device: torch.device | None = None,
) -> Near:
    """The samples most like each query, by exact search through all blocks.

    Args:
        features: (N, D) of what is searched.
        space: in which cosines are taken.
        queries: (Q, D) features, not yet in the space.
        top: how many.
        apart: (N,) numbers of the samples, such as their positions or groups;
        own: (Q,) that of each query: samples of the same number are left out.
        device: where to compute; the accelerator where there is one.
    """
    device = device or devices.choose("auto")
    top = min(top, len(features))
    asked = torch.from_numpy(space(queries)).to(device)
    best = torch.full((len(queries), top), -torch.inf, device=device)
    where = torch.full((len(queries), top), -1, dtype=torch.int64, device=device)
    mine = None if own is None else torch.from_numpy(own).to(device)
    for first, block in features.blocks():
        unit = torch.from_numpy(space(block)).to(device)
        numbers = None
        if apart is not None and mine is not None:
            numbers = torch.from_numpy(apart[first : first + len(block)]).to(device)
        for begin in range(0, len(asked), TOGETHER):
            part = slice(begin, begin + TOGETHER)
            likeness = asked[part] @ unit.T
            if numbers is not None and mine is not None:
                likeness[mine[part, None] == numbers] = -torch.inf
            found, at = likeness.topk(min(top, len(block)), dim=1)
            both = torch.cat([best[part], found], dim=1)
            places = torch.cat([where[part], at + first], dim=1)
            order = both.argsort(dim=1, descending=True, stable=True)[:, :top]
            best[part], where[part] = both.gather(1, order), places.gather(1, order)
    where[best == -torch.inf] = -1
    return where.cpu().numpy(), best.cpu().numpy()


def neighbours_of_all(
    features: Blocks, space: Space, top: int, console: Console | None = None
) -> Near:
    """The nearest others of every sample: (N, k) each, k at most N - 1.

    Exact up to `EXACT` samples, on an accelerator always; above, an approximate index of usearch
    (HNSW, Malkov & Yashunin 2018, arXiv:1603.09320) where it is installed.
    """
    top = min(top, len(features) - 1)
    device = devices.choose("auto")
    quiet = console or Console(quiet=True)
    if device.type == "cpu" and len(features) > EXACT:
        if _has_usearch():
            return _by_index(features, space, top, quiet)
        stage(
            quiet,
            f"comparing {len(features):,} samples with each other, which an index makes much "
            "faster (pip install 'domainjepa[index]')",
        )
    positions = np.arange(len(features))
    where = np.empty((len(features), top), np.int64)
    best = np.empty((len(features), top), np.float32)
    with bar(quiet, "comparing samples", len(features)) as show:
        for first, block in features.blocks(2 * BLOCK):
            part = slice(first, first + len(block))
            where[part], best[part] = nearest(
                features, space, block, top, apart=positions, own=positions[part], device=device
            )
            show(first + len(block))
    return where, best


def _has_usearch() -> bool:
    from importlib.util import find_spec

    return find_spec("usearch") is not None


def _by_index(features: Blocks, space: Space, top: int, console: Console) -> Near:
    from usearch.index import Index

    width = space(features.take(np.zeros(1, np.int64))).shape[1]
    index = Index(ndim=width, metric="ip", dtype="f32")
    where = np.full((len(features), top), -1, np.int64)
    best = np.full((len(features), top), -np.inf, np.float32)
    with bar(console, "indexing samples", len(features)) as show:
        for first, unit in _units(features, space):
            index.add(np.arange(first, first + len(unit)), unit)
            show(first + len(unit))
    with bar(console, "asking the index", len(features)) as show:
        for first, unit in _units(features, space):
            found: Any = index.search(unit, top + 1)
            for at, (keys, distances, count) in enumerate(
                zip(found.keys, found.distances, found.counts, strict=True)
            ):
                others = keys[:count] != first + at
                near = keys[:count][others][:top]
                where[first + at, : len(near)] = near
                best[first + at, : len(near)] = 1 - distances[:count][others][:top]
            show(first + len(unit))
    return where, best


def _units(features: Blocks, space: Space) -> Iterator[tuple[int, Features]]:
    for first, block in features.blocks():
        yield first, space(block)
