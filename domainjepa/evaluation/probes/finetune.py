"""Fine-tuning: every weight of an encoder, and a linear head, trained on the labels.

AdamW, linear warm-up and cosine, the same flips and shifts for every encoder. With enough labels a
fifth of the TRAINING labels is set aside to stop on; the test set is only read in the end.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from timm.optim._optim_factory import create_optimizer_v2
from torch import Tensor, nn
from torch.nn import functional

from domainjepa import devices
from domainjepa.backbones import Backbone
from domainjepa.backbones.attention import attention_by
from domainjepa.data.metadata.targets import Kind, Target
from domainjepa.data.sampling import key
from domainjepa.data.source import Image, Source
from domainjepa.domains.intensity import load_intensity
from domainjepa.encoder.frozen import FrozenEncoder
from domainjepa.encoder.samples import as_stored, framed
from domainjepa.evaluation.encoders.features import Encoder
from domainjepa.evaluation.protocol import FineTuning
from domainjepa.evaluation.results.scores import Answer
from domainjepa.evaluation.splits import Rows, tuning_folds

Prepare = Callable[[Sequence[Image]], Tensor]
"""(H, W, C) images -> (N, C, S, S) float32 that a network takes; volumes likewise."""

PARTS = 5
"""A fifth of the training labels decides when to stop."""
IN_MEMORY = 8 * 2**30
"""Bytes of prepared images up to which they are kept; beyond, each epoch reads them again."""
SHIFT = 1 / 8
"""Of the side, either way."""


def trainable(encoder: Encoder) -> tuple[Backbone, Prepare] | None:
    """An encoder's network and what turns images into its input; None for one without a network.

    Encoders of volumes, which read one through many windows, are not trained here.
    """
    if isinstance(encoder, FrozenEncoder):
        return _of_frozen(encoder) if encoder.network[0].dimensions == 2 else None
    found = getattr(encoder, "trainable", None)
    return None if found is None else cast(tuple[Backbone, Prepare], found())


def _of_frozen(encoder: FrozenEncoder) -> tuple[Backbone, Prepare]:
    backbone, standardise = (copy.deepcopy(part).cpu() for part in encoder.network)
    card = encoder.card
    intensity = load_intensity(card.intensity)

    def prepare(images: Sequence[Image]) -> Tensor:
        stored = [as_stored(np.asarray(image), np.dtype(card.dtype)) for image in images]
        batch = np.stack([framed(intensity(image), card.size) for image in stored])
        return cast(Tensor, standardise(torch.from_numpy(batch).permute(0, 3, 1, 2)))

    return cast(Backbone, backbone), prepare


class Head(nn.Module):
    """A backbone, LayerNorm without weights, one linear layer: images -> (N, outputs)."""

    def __init__(self, backbone: Backbone, width: int, outputs: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.linear = nn.Linear(width, outputs)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, images: Tensor) -> Tensor:
        return cast(Tensor, self.linear(self.norm(self.backbone.probe_features(images))))


class _Inputs:
    """Prepared images by row, kept in memory where they fit."""

    def __init__(self, source: Source, rows: Rows, prepare: Prepare) -> None:
        self.source, self.rows, self.prepare = source, rows, prepare
        one = prepare(source.__getitems__(rows[:1].tolist()))
        self.kept: Tensor | None = None
        if one.nbytes * len(rows) <= IN_MEMORY:
            self.kept = torch.cat(
                [self._read(part) for part in _batches(np.arange(len(rows)), 256)]
            )

    def __getitem__(self, positions: NDArray[Any]) -> Tensor:
        return self._read(positions) if self.kept is None else self.kept[positions]

    def _read(self, positions: NDArray[Any]) -> Tensor:
        return self.prepare(self.source.__getitems__(self.rows[positions].tolist()))


def _batches(order: NDArray[Any], size: int) -> list[NDArray[Any]]:
    """Parts of nearly one size, none of them a lonely rest, which BatchNorm could not take."""
    return np.array_split(order, max(1, math.ceil(len(order) / size)))


def tuned(
    backbone: Backbone,
    prepare: Prepare,
    source: Source,
    target: Target,
    train: Rows,
    settings: FineTuning,
    *,
    seed: int,
    groups: Rows | None = None,
    device: str = "auto",
) -> Callable[[Source, Rows], Answer]:
    """Train a copy of a network; what comes back answers for rows of this or another source.

    Args:
        backbone: with the weights to start from; left as it is.
        prepare: what turns images into its input.
        source: of the images.
        target: its values at `train` are all that is read of them.
        train: rows to train on, a part of them to stop on.
        settings: how.
        seed: keys the head's batches, augmentation and dropout.
        groups: (len(train),) equal for rows that stay together, or None.
        device: `auto` takes the accelerator where there is one.
    """
    where = devices.choose(device)
    values = target.values[train]
    wanted, scale = as_tensor(target.kind, values)
    whole = target.kind == "classes"
    folds = tuning_folds(target.strata(values), seed=seed, groups=groups, parts=PARTS, whole=whole)
    fit, validate = folds[0] if folds else (np.arange(len(train)), None)
    inputs = _Inputs(source, train, prepare)
    others = [] if where.type == "cpu" else [where]
    with torch.random.fork_rng(devices=others, device_type=where.type):
        torch.manual_seed(key(seed, "fine-tune") % 2**63)
        network = copy.deepcopy(backbone).requires_grad_(True)
        with torch.no_grad():
            width = network.eval().probe_features(inputs[np.arange(1)]).shape[1]
        outputs = 1 if target.kind == "numbers" else len(target.classes)
        model = Head(network, width, outputs).to(where)
        _train(model, inputs, wanted, fit, validate, target.kind, settings, seed, where)
    model.eval()

    def answer(images: Source, rows: Rows) -> Answer:
        given = [
            _forward(model, prepare(images.__getitems__(rows[part].tolist())), where)
            for part in _batches(np.arange(len(rows)), 4 * settings.batch_size)
        ]
        return answer_of(target.kind, torch.cat(given).double().numpy(), scale)

    return answer


def _train(
    model: Head,
    inputs: _Inputs,
    wanted: Tensor,
    fit: NDArray[Any],
    validate: NDArray[Any] | None,
    kind: Kind,
    settings: FineTuning,
    seed: int,
    where: torch.device,
) -> None:
    """Train a model in place; with a validation part, its best weights on it are kept."""
    per_epoch = len(_batches(fit, settings.batch_size))
    steps = max(settings.epochs * per_epoch, settings.least_steps)
    look = max(per_epoch, math.ceil(steps / settings.epochs))
    optimizer = optimizer_of(model.backbone, model.linear, settings)
    peaks = [group["lr"] for group in optimizer.param_groups]
    best, kept, waited = math.inf, None, 0
    random = np.random.default_rng(key(seed, "fine-tune", "batches"))
    for step, batch in zip(range(steps), endless(fit, settings.batch_size, random), strict=False):
        for group, peak in zip(optimizer.param_groups, peaks, strict=True):
            group["lr"] = peak * share_of_peak(step, steps)
        model.train()
        images = augmented(inputs[batch].to(where), settings.augment, random)
        fast = where.type != "cpu" and devices.computes_bfloat16(where)
        autocast = torch.autocast(where.type, torch.bfloat16, enabled=fast)
        with autocast, attention_by("auto"):
            given = model(images)
        loss = loss_of(kind, given.float(), wanted[batch].to(where))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if validate is None or ((step + 1) % look and step + 1 < steps):
            continue
        model.eval()
        now = np.mean([
            len(part) * float(loss_of(kind, _forward(model, inputs[part], where), wanted[part]))
            for part in _batches(validate, 4 * settings.batch_size)
        ])  # fmt: skip
        if now < best:
            best, kept, waited = float(now), copy.deepcopy(model.state_dict()), 0
        elif (waited := waited + 1) >= settings.patience:
            break
    if kept is not None:
        model.load_state_dict(kept)


def share_of_peak(step: int, steps: int) -> float:
    """Of the learning rate: a tenth of the steps rise to 1 linearly, the others follow a cosine."""
    rising = math.ceil(0.1 * steps)
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(steps - rising, 1)))


def optimizer_of(
    backbone: Backbone, head: nn.Module, settings: FineTuning
) -> torch.optim.Optimizer:
    """AdamW; norms and biases do not decay, early layers are slower where so asked."""
    optimizer: torch.optim.Optimizer = create_optimizer_v2(
        cast(Any, backbone.net),
        opt="adamw",
        lr=settings.lr,
        weight_decay=settings.weight_decay,
        layer_decay=settings.layer_decay,
    )
    added = {"params": list(head.parameters()), "lr": settings.lr}
    optimizer.add_param_group({**added, "weight_decay": settings.weight_decay})
    for group in optimizer.param_groups:
        group["lr"] *= group.get("lr_scale", 1.0)
    return optimizer


def endless(rows: NDArray[Any], size: int, random: np.random.Generator) -> Iterator[NDArray[Any]]:
    """Batches of rows, (size,) each, pass after pass in new orders, without an end."""
    while True:
        yield from _batches(random.permutation(rows), size)


@torch.no_grad()
def _forward(model: Head, images: Tensor, where: torch.device) -> Tensor:
    return model(images.to(where)).float().cpu()  # type: ignore[no-any-return]


def augmented(images: Tensor, kinds: Sequence[str], random: np.random.Generator) -> Tensor:
    """Each image flipped left to right or not, and shifted: (N, C, ...) -> the same shape.

    One bilinear resampling does both; what a shift uncovers is the mirror image beside it.
    """
    if not kinds:
        return images
    number, axes = len(images), images.ndim - 2
    turn = np.tile(np.eye(axes, axes + 1), (number, 1, 1))
    if "flip" in kinds:
        turn[:, 0, 0] = random.choice([-1.0, 1.0], number)  # the last axis, left to right
    if "shift" in kinds:
        # The sides run from -1 to 1: a shift by an eighth is a quarter.
        turn[:, :, -1] = random.uniform(-2 * SHIFT, 2 * SHIFT, (number, axes))
    theta = torch.from_numpy(turn.astype(np.float32)).to(images.device)
    grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def as_tensor(kind: Kind, values: NDArray[Any]) -> tuple[Tensor, tuple[float, float]]:
    """Training labels as the loss takes them, and the mean and scale of numbers."""
    if kind == "classes":
        return torch.from_numpy(values.astype(np.int64)), (0.0, 1.0)
    if kind == "multi-label":
        return torch.from_numpy(values.astype(np.float32)), (0.0, 1.0)
    mean, spread = float(values.mean()), float(values.std()) or 1.0
    return torch.from_numpy(((values - mean) / spread).astype(np.float32))[:, None], (mean, spread)


def loss_of(kind: Kind, given: Tensor, wanted: Tensor) -> Tensor:
    """Cross entropy of (N, classes); of several labels (N, L) binary, unknown ones (below 0) left
    out; the mean squared error of numbers (N, 1)."""
    if kind == "classes":
        return functional.cross_entropy(given, wanted)
    if kind == "multi-label":
        known = wanted >= 0
        each = functional.binary_cross_entropy_with_logits(
            given, wanted.clamp(min=0), known.float()
        )
        return each * known.numel() / known.sum().clamp(min=1)
    return functional.mse_loss(given, wanted)


def answer_of(kind: Kind, given: NDArray[np.float64], scale: tuple[float, float]) -> Answer:
    """What a head gives, (N, outputs), as classes, labels with their chance, or numbers in their
    own unit, of which `scale` is (mean, standard deviation)."""
    if kind == "numbers":
        return Answer(given[:, 0] * scale[1] + scale[0])
    if kind == "multi-label":
        chance = 1 / (1 + np.exp(-given))
        return Answer((chance > 0.5).astype(np.int64), chance)
    powers = np.exp(given - given.max(axis=1, keepdims=True))
    return Answer(given.argmax(axis=1), powers / powers.sum(axis=1, keepdims=True))
