"""Batches of views, as a data set that PyTorch's loader takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from domainjepa.data.source import Image, Source
from domainjepa.views.related import MOST
from domainjepa.views.views import ViewMaker
from domainjepa.views.volume_views import VolumeViews


class ViewDataset(Dataset[dict[str, torch.Tensor]]):
    """Batches of views: DataLoader(dataset, batch_sampler=KeyedBatches(…), collate_fn=whole)."""

    def __init__(
        self, source: Source, maker: ViewMaker, labels: NDArray[np.int64] | None = None
    ) -> None:
        """
        Args:
            source: of the samples.
            maker: of the views.
            labels: (len(source),) classes, or (len(source), L) of 1, 0 and -1, that batches carry;
                by default the source's own.
        """
        self.source = source
        self.maker = maker
        self.labels = source.labels if labels is None else labels
        self.volumes = VolumeViews(maker) if source.volumetric else None

    def __len__(self) -> int:
        return len(self.source)

    def __getitems__(self, draws: Sequence[tuple[int, int]]) -> dict[str, torch.Tensor]:
        """One batch.

        Args:
            draws: N pairs (epoch, row).

        Returns:
            "global": (V_g, N, C, H, W) uint8 or float32, channels last in memory, or (V_g, N, C, D,
            H, W) float32; "local": likewise with V_l smaller views, absent without local views;
            "labels": (N,) or (N, L) int64, absent where there are none; "rows": (N,) int64;
            "unreadable": those rows that others stand in for, absent where there are none.
        """
        cv2.setNumThreads(0)  # workers run beside each other; a pool in each would only fight
        rows = [row for _, row in draws]
        num_global = self.maker.views.num_global
        batch: dict[str, torch.Tensor] = {"rows": torch.tensor(rows)}
        parts: dict[str, NDArray[Any]] = {}
        for position, made in enumerate(self._made(draws)):
            for name, views in (("global", made[:num_global]), ("local", made[num_global:])):
                for number, view in enumerate(views):
                    if name not in parts:
                        parts[name] = np.empty((len(views), len(draws), *view.shape), view.dtype)
                    parts[name][number, position] = view
        for name, part in parts.items():
            stacked = torch.from_numpy(part)
            batch[name] = stacked if self.volumes else stacked.permute(0, 1, 4, 2, 3)
        lost = self.source.unreadable(rows)
        if lost:
            batch["unreadable"] = torch.tensor(lost)
        if self.labels is not None:
            # A stand-in has another label than the row that it stands for: it counts as unlabelled.
            labels = self.labels[rows]
            labels[np.isin(rows, lost)] = -1
            batch["labels"] = torch.from_numpy(labels)
        return batch

    def _made(self, draws: Sequence[tuple[int, int]]) -> Iterator[list[Image]]:
        """The views of each draw; of volumes only what a draw shows is read."""
        if self.volumes is not None:
            for epoch, row in draws:
                yield self.volumes(self.volumes.volume(self.source, row), epoch=epoch, sample=row)
            return
        # No more images in memory than those of a batch without siblings.
        most = max(-(-len(draws) // (1 + MOST if self.maker.siblings else 1)), 1)
        for at in range(0, len(draws), most):
            part = draws[at : at + most]
            for (epoch, row), seen in zip(part, self.maker.read(self.source, part), strict=True):
                yield self.maker(seen[0], epoch=epoch, sample=row, siblings=seen[1:])


def whole(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The collate function: a `ViewDataset` gives whole batches already."""
    return batch
