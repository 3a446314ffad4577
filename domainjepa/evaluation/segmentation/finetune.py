"""Fine-tuning on masks: a decoder, and the encoder with it unless it is frozen.

Cross-entropy and soft Dice in equal parts, as in nnU-Net (Isensee et al. 2021); AdamW, on crops at
random places. A fifth of the TRAINING units says when to stop.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from domainjepa import devices
from domainjepa.backbones import Backbone
from domainjepa.backbones.feature_maps import grid_of, resized
from domainjepa.data.parts.recent import Recent
from domainjepa.data.sampling import key
from domainjepa.data.source import Image
from domainjepa.domains.intensity import load_intensity
from domainjepa.encoder.frozen import FrozenEncoder
from domainjepa.encoder.samples import as_stored
from domainjepa.encoder.sliding import patches_of
from domainjepa.evaluation.encoders.features import Encoder
from domainjepa.evaluation.encoders.published import TimmEncoder
from domainjepa.evaluation.encoders.scratch import FromScratch
from domainjepa.evaluation.probes.finetune import (
    PARTS,
    endless,
    optimizer_of,
    share_of_peak,
)
from domainjepa.evaluation.protocol import FineTuning, Protocol
from domainjepa.evaluation.segmentation.classes import IGNORED, Classes
from domainjepa.evaluation.segmentation.decoder import Segmenter
from domainjepa.evaluation.segmentation.dense import enlarged
from domainjepa.evaluation.segmentation.scoring import Answer, Fit, MaskCohort
from domainjepa.evaluation.splits import Rows
from domainjepa.views.resampling import spacing_of, unit_scale

CROP = {2: 256, 3: 64}
"""Pixels a side of what is trained on at once, by dimensions."""
KEPT = 2**31
"""Bytes of prepared images that are kept in memory."""
LOOKS = 64
"""Images, at most, that are looked at: of validation to stop, of training for their size."""


@dataclass(frozen=True)
class Trainable:
    """A network, and what turns a sample into its input.

    Attributes:
        backbone: with the weights to start from.
        prepare: row -> (C, *sides) float32, on a grid of the network's own.
        channels, size: of the input that it was made for.
    """

    backbone: Backbone
    prepare: Callable[[int], Tensor]
    channels: int
    size: int
    _recent: Recent = field(default_factory=lambda: Recent(KEPT), repr=False, compare=False)

    def input(self, row: int) -> Tensor:
        """(C, *sides) of a sample."""
        return self._recent.get(row, lambda: self.prepare(row))


def trainable_on(encoder: Encoder, cohort: MaskCohort, scale: float | None) -> Trainable | None:
    """An encoder's network for the samples of a cohort; None for one without a network."""
    source = cohort.seen.source
    if isinstance(encoder, FromScratch):
        encoder = encoder.twin
    if isinstance(encoder, FrozenEncoder):
        backbone, standardise = encoder.network
        card, intensity = encoder.card, load_intensity(encoder.card.intensity)

        def prepared(row: int) -> Tensor:
            stored = as_stored(np.asarray(source[row]), np.dtype(card.dtype))
            values = torch.from_numpy(unit_scale(intensity(stored))).movedim(-1, 0)
            steps = np.full(values.ndim - 1, scale or 1.0)
            if card.spacing is not None:
                steps = steps * spacing_of(source, row) / card.spacing
            sides = [max(round(s * t), 1) for s, t in zip(values.shape[1:], steps, strict=True)]
            return standardise(resized(values[None], sides))[0]  # type: ignore[no-any-return]

        return Trainable(backbone, prepared, len(card.mean), card.size)
    if isinstance(encoder, TimmEncoder):

        def published(row: int) -> Tensor:
            image: Image = np.asarray(source[row])
            wanted = scale or max(encoder.side / min(image.shape[:2]), 1.0)
            return enlarged(encoder.prepare_whole(image), wanted)

        return Trainable(encoder.network, published, 3, encoder.side)
    return None


def on_network(encoder: Encoder, cohort: MaskCohort, protocol: Protocol) -> Fit | None:
    """A decoder trained on the drawn images; None of an encoder without a network."""
    found = trainable_on(encoder, cohort, protocol.patches.scale)
    if found is None:
        return None

    def fit(units: Rows) -> tuple[Answer, bool]:
        numbered = cohort.numbering(units)
        validate = _set_aside(len(units), cohort.groups(units), protocol.seed)
        apart = np.isin(numbered.unit, validate)
        training = Training(found, cohort, protocol.finetune, protocol.seed)
        return training.run(numbered.rows[~apart], numbered.rows[apart]), True

    return fit


def _set_aside(units: int, groups: Rows | None, seed: int) -> Rows:
    """Positions of a fifth of the units, groups whole; none of fewer than five."""
    group = np.arange(units) if groups is None else np.unique(groups, return_inverse=True)[1]
    number = len(np.unique(group)) // PARTS
    chosen = np.random.default_rng(key(seed, "tune")).permutation(np.unique(group))[:number]
    return np.flatnonzero(np.isin(group, chosen))


class Training:
    """The training of one decoder."""

    def __init__(
        self, network: Trainable, cohort: MaskCohort, settings: FineTuning, seed: int
    ) -> None:
        self.network, self.cohort, self.settings, self.seed = network, cohort, settings, seed
        self.where = devices.choose("auto")
        backbone = network.backbone
        own = grid_of(backbone.net, network.channels, network.size, backbone.dimensions, "last")
        self.grid = own._replace(stride=1, width=len(cohort.seen.classes))
        self.window = network.size if own.fixed else settings.crop or CROP[backbone.dimensions]
        self.side = self.window
        self.multiple = 0 if own.fixed or settings.crop else own.stride

    def run(self, rows: Rows, validate: Rows) -> Answer:
        """Train on some rows, stop by others, and give what answers for any row."""
        self.side = self._crops_of(rows)
        with torch.random.fork_rng(devices=[self.where] if self.where.type == "cuda" else []):
            torch.manual_seed(key(self.seed, "fine-tune") % 2**63)
            backbone = copy.deepcopy(self.network.backbone).to(self.where)
            sample, _ = self._crop(int(rows[0]), np.random.default_rng(0))
            frozen = self.settings.encoder == "frozen"
            classes = len(self.cohort.seen.classes)
            model = Segmenter(backbone, sample[None].to(self.where), classes, frozen)
            self._train(model.to(self.where), rows, validate)
        model.eval()

        def answer(row: int) -> Classes:
            sides = self.cohort.seen.sides(row)
            with torch.inference_mode():
                shown = self.network.input(row).to(self.where)
                scores = patches_of(shown[None], model, self.grid, self.window)
                return resized(scores, sides)[0].argmax(0).cpu().numpy().astype(np.int16)

        return answer

    def _crops_of(self, rows: Rows) -> int:
        """Pixels a side of crops: no more than small images have, which would be filled up."""
        if not self.multiple:
            return self.window
        some = rows[:: max(len(rows) // LOOKS, 1)][:LOOKS]
        largest = max(max(self.network.input(row).shape[1:]) for row in some.tolist())
        return min(self.window, math.ceil(largest / self.multiple) * self.multiple)

    def _train(self, model: Segmenter, rows: Rows, validate: Rows) -> None:
        """In place; with validation rows, the weights that are best on them are kept."""
        settings = self.settings
        per_epoch = math.ceil(len(rows) / settings.batch_size)
        steps = max(settings.epochs * per_epoch, settings.least_steps)
        look = max(per_epoch, math.ceil(steps / settings.epochs))
        optimizer = (
            torch.optim.AdamW(
                model.decoder.parameters(), settings.lr, weight_decay=settings.weight_decay
            )
            if model.frozen
            else optimizer_of(model.backbone, model.decoder, settings)
        )
        peaks = [group["lr"] for group in optimizer.param_groups]
        random = np.random.default_rng(key(self.seed, "fine-tune", "batches"))
        best, kept, waited = math.inf, None, 0
        several = np.resize(rows, max(len(rows), settings.batch_size))  # crops of few images differ
        batches = endless(several, settings.batch_size, random)
        for step, batch in zip(range(steps), batches, strict=False):
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["lr"] = peak * share_of_peak(step, steps)
            model.train()
            loss = self._loss(model, batch, random)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            if not len(validate) or ((step + 1) % look and step + 1 < steps):
                continue
            now = self._look(model, validate)
            if now < best:
                best, kept, waited = now, copy.deepcopy(model.state_dict()), 0
            elif (waited := waited + 1) >= settings.patience:
                break
        if kept is not None:
            model.load_state_dict(kept)

    @torch.no_grad()
    def _look(self, model: Segmenter, validate: Rows) -> float:
        """The loss on validation images, of the same crops each time."""
        model.eval()
        random = np.random.default_rng(key(self.seed, "fine-tune", "look"))
        some = validate[:: max(len(validate) // LOOKS, 1)][:LOOKS]
        parts = np.array_split(some, math.ceil(len(some) / self.settings.batch_size))
        losses = [len(part) * float(self._loss(model, part, random)) for part in parts]
        return sum(losses) / len(some)

    def _loss(self, model: Segmenter, rows: NDArray[Any], random: np.random.Generator) -> Tensor:
        crops = [self._crop(int(row), random) for row in rows]
        images = torch.stack([image for image, _ in crops]).to(self.where)
        truth = torch.stack([classes for _, classes in crops]).to(self.where)
        if model.training and "flip" in self.settings.augment and random.random() < 0.5:
            images, truth = images.flip(-1), truth.flip(-1)
        autocast = torch.autocast(self.where.type, torch.bfloat16, self.where.type == "cuda")
        with autocast:
            scores = model(images)
        return loss_of(scores.float(), truth)

    def _crop(self, row: int, random: np.random.Generator) -> tuple[Tensor, Tensor]:
        """(C, *side) of an image at a random place, and (*side) int64 classes.

        What lies outside of an image repeats its edge and is ignored.
        """
        image = self.network.input(row)
        classes = torch.from_numpy(self.cohort.seen.mask(row).astype(np.float32))
        sides = image.shape[1:]
        truth = functional.interpolate(classes[None, None], sides, mode="nearest-exact")[0, 0]
        start = [int(random.integers(max(side - self.side, 0) + 1)) for side in sides]
        where = tuple(slice(first, first + self.side) for first in start)
        part, of_part = image[(slice(None), *where)], truth[where]
        short = [self.side - side for side in of_part.shape]
        pads = [pad for one in reversed(short) for pad in (0, one)]
        part = functional.pad(part[None], pads, mode="replicate")[0]
        return part, functional.pad(of_part, pads, value=IGNORED).long()


def loss_of(scores: Tensor, truth: Tensor) -> Tensor:
    """Cross-entropy plus 1 - soft Dice, the mean over the classes that the batch has.

    Args:
        scores: (N, K, *sides).
        truth: (N, *sides) int64, `IGNORED` where nothing is known.
    """
    known = truth != IGNORED
    if not known.any():
        return scores.sum() * 0
    entropy = functional.cross_entropy(scores, truth, ignore_index=IGNORED)
    share = scores.softmax(dim=1) * known[:, None]
    marks = functional.one_hot(truth.clamp(min=0), scores.shape[1]).movedim(-1, 1) * known[:, None]
    axes = [0, *range(2, scores.ndim)]
    both, sizes = (share * marks).sum(axes), share.sum(axes) + marks.sum(axes)
    there = marks.sum(axes) > 0
    dice = 2 * both[there] / sizes[there].clamp(min=1e-6)
    return entropy + 1 - dice.mean()
