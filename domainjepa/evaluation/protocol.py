"""A protocol: how encoders are compared. A file in `eval/`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from domainjepa import catalog
from domainjepa.data.metadata.targets import Target
from domainjepa.errors import ConfigError, UserError, brief, did_you_mean
from domainjepa.evaluation.metrics import (
    ALIASES,
    canonical,
    known,
    metrics_for,
    named_metrics,
    usual_metrics,
)
from domainjepa.evaluation.probes.pooling import OF_SCORES, Pool
from domainjepa.evaluation.splits import Shots
from domainjepa.reading import parse_toml, read_file


class FineTuning(BaseModel):
    """How a network is trained on labels. The published set-up names none of these but AdamW."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    epochs: int = Field(default=50, ge=1)
    least_steps: int = Field(default=200, ge=1)
    """Few labels make short epochs: steps at least."""
    batch_size: int = Field(default=64, ge=2)
    lr: float = Field(default=5e-4, gt=0)
    """Peak; a tenth of the steps rise to it linearly, the others follow a cosine to zero."""
    weight_decay: float = Field(default=0.05, ge=0)
    layer_decay: float | None = Field(default=None, gt=0, le=1)
    """Each layer's learning rate as a share of that of the layer after it."""
    augment: tuple[Literal["flip", "shift"], ...] = Field(default=("flip", "shift"), strict=False)
    """Left-right flips; shifts by up to an eighth of the side. The same for every encoder."""
    patience: int = Field(default=10, ge=1)
    """Looks at the validation part without a better loss before training stops."""
    encoder: Literal["trained", "frozen"] = "trained"
    """Of masks: whether the encoder is trained with the decoder, or the decoder alone."""
    crop: int | None = Field(default=None, ge=16)
    """Of masks: pixels a side of what is trained on at once; by default 256, of volumes 64, and
    no more than the training images have."""


class PatchFeatures(BaseModel):
    """How patch features are read, and how many pixels probes are fitted on."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    layers: Literal["last", "auto"] | int | Annotated[tuple[int, ...], Field(strict=False)] = "auto"
    """The map that the network pools; a stage or block by its number, -1 the last; several side by
    side, coarser ones brought to the finest grid. Auto: the coarsest stage whose grid keeps the
    training masks (`grid_loss.ENOUGH`) and all after it; of transformers the last four blocks."""
    scale: float | None = Field(default=None, gt=0)
    """By what images are enlarged for the encoder; by default none, published encoders see images
    that are smaller than those that they were trained on at that size."""
    pixels: int = Field(default=20_000, ge=100)
    """Pixels of all training images that a probe is fitted on, about."""
    of_image: int = Field(default=2_000, ge=10)
    """Of one image, at most."""


class Protocol(BaseModel):
    """Strict: an unknown name or a wrong type is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str = Field(pattern=r"^\w[\w. +-]*$")
    """Files of the report are named by it."""
    description: str = ""
    features: Literal["pooled", "patches"] = "pooled"
    """What is read out of an encoder: its own pooled features, which tell what an image is; or
    those of its patches, which tell masks."""
    probe: Literal["linear", "knn", "finetune"]
    pool: Pool | None = None
    """Where one answer is asked for several samples: features or scores pooled, or attention
    (`pooling.py`). By default the mean of features; of fine-tuning, of scores."""
    shots: tuple[Shots, ...] = Field(strict=False, min_length=1)
    """Labels of each class to train on, or "all"."""
    ladder: bool = False
    """Shots are rungs for data of any size: those beyond all labels are left out without a word."""
    draws: int | tuple[tuple[int, int], ...] = 20
    """Times that each number of shots is drawn anew; a table of them holds up to so many shots."""
    metrics: tuple[str, ...] = Field(default=(), strict=False)
    """Those that the kind of target has are measured, the first one is shown first; none: all."""
    seed: int = Field(default=0, ge=0)
    finetune: FineTuning = FineTuning()
    patches: PatchFeatures = PatchFeatures()

    @field_validator("shots")
    @classmethod
    def _numbers_from_one(cls, shots: tuple[Shots, ...]) -> tuple[Shots, ...]:
        if any(count != "all" and count < 1 for count in shots) or len(set(shots)) < len(shots):
            raise ValueError("shots are different numbers from 1, or 'all'")
        return shots

    @field_validator("draws", mode="before")
    @classmethod
    def _draws(cls, draws: Any) -> Any:
        """{"10": 20, "100": 10}: 20 draws up to 10 shots, 10 up to 100 and beyond."""
        if isinstance(draws, dict):
            try:
                draws = tuple(sorted((int(shots), times) for shots, times in draws.items()))
            except (TypeError, ValueError):
                raise ValueError("a table of draws is { 10 = 20, 100 = 10 }") from None
        elif isinstance(draws, list):
            draws = tuple(tuple(pair) for pair in draws)
        counts = [times for _, times in draws] if isinstance(draws, tuple) else [draws]
        if not counts or any(not isinstance(times, int) or times < 2 for times in counts):
            raise ValueError("an interval needs 2 draws or more")
        return draws

    @field_validator("metrics")
    @classmethod
    def _known(cls, metrics: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(_metric_named(name) for name in metrics))

    @model_validator(mode="after")
    def _fits_the_probe(self) -> Protocol:
        if self.probe == "finetune" and self.pool not in (None, *OF_SCORES):
            raise ValueError(f"fine-tuning pools scores: {' or '.join(OF_SCORES)}")
        if self.features == "patches" and self.pool:
            raise ValueError("masks are told pixel by pixel: nothing is pooled")
        if self.probe == "knn" and self.pool == "attention":
            raise ValueError("attention is trained with a linear head: take the probe linear")
        return self

    @property
    def of_masks(self) -> bool:
        """Whether it tells masks, pixel by pixel."""
        return self.features == "patches"

    @property
    def pooling(self) -> Pool:
        """How the samples of a unit are pooled."""
        return self.pool or ("scores-mean" if self.probe == "finetune" else "mean")

    def draws_of(self, shots: Shots) -> int:
        """How often so many shots are drawn; all labels are taken once."""
        if shots == "all":
            return 1
        if isinstance(self.draws, int):
            return self.draws
        return next((times for most, times in self.draws if shots <= most), self.draws[-1][1])

    def metrics_of(self, target: Target) -> tuple[str, ...]:
        """The metrics of a target, the one shown first in front: those named, else its usual ones.

        Raises:
            UserError: metrics are named, and none is for this target.
        """
        if not self.metrics:
            return usual_metrics(target)
        found = named_metrics(target, self.metrics)
        if not found:
            raise UserError(
                f"the protocol {self.name} has no metric for a target of {target.kind}: "
                f"choose from {', '.join(metrics_for(target))}"
            )
        return found


def _metric_named(text: str) -> str:
    name = canonical(text)
    if name is None:
        names = [*known(), *ALIASES]
        hint = did_you_mean(text, names)
        raise ValueError(f"unknown metric {text!r}.{hint} Known: {', '.join(known())}")
    return name


def measuring(protocol: Protocol, metrics: Sequence[str] | None) -> Protocol:
    """The protocol with other metrics, where some are named.

    Raises:
        UserError: one of them is unknown.
    """
    if not metrics:
        return protocol
    try:
        names = [name for text in metrics for name in text.split(",")]
        return Protocol(**{**protocol.model_dump(), "metrics": tuple(names)})
    except ValidationError as error:
        message = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise UserError(f"--metric: {message}") from None


def pooling(protocols: Sequence[Protocol], pools: Sequence[str]) -> list[Protocol]:
    """Each protocol with each way to pool; of several ways its name tells them apart.

    Raises:
        UserError: no such way, or one that the probe cannot use.
    """
    if not pools:
        return list(protocols)
    made = []
    for protocol in protocols:
        for pool in pools:
            name = f"{protocol.name} {pool}" if len(pools) > 1 else protocol.name
            try:
                made.append(Protocol(**{**protocol.model_dump(), "name": name, "pool": pool}))
            except ValidationError as error:
                message = error.errors()[0]["msg"].removeprefix("Value error, ")
                raise UserError(f"--pool {pool} with {protocol.name}: {message}") from None
    return made


def read_protocol(name: str) -> Protocol:
    """A protocol by name or path.

    Raises:
        UserError: there is none, or what it says is no protocol.
    """
    path = catalog.find("eval", name)
    try:
        return Protocol.model_validate(parse_toml(read_file(path)))
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, problem['loc']))} = {brief(problem['input'])}: {problem['msg']}"
            for problem in error.errors()
        )
        raise ConfigError(f"the protocol {path.name!r}: {problems}") from None
    except OSError as error:
        raise ConfigError(f"the protocol {path.name!r} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"the protocol {path.name!r} is no valid TOML: {error}") from error
