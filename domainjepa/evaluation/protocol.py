"""A protocol: how encoders are compared. A file in `eval/`."""

from __future__ import annotations

import tomllib
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from domainjepa import catalog
from domainjepa.errors import ConfigError
from domainjepa.evaluation.splits import Shots


class Protocol(BaseModel):
    """Strict: an unknown name or a wrong type is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str
    description: str = ""
    features: Literal["pooled"] = "pooled"
    """What is read out of an encoder: its own pooled features."""
    probe: Literal["logistic", "knn"]
    shots: tuple[Shots, ...] = Field(strict=False, min_length=1)
    """Labels of each class to train on, or "all"."""
    draws: int = Field(default=10, ge=2)
    """Times that each number of shots is drawn anew."""
    metrics: tuple[Literal["accuracy", "balanced_accuracy", "macro_f1"], ...] = Field(
        default=("accuracy", "balanced_accuracy", "macro_f1"), strict=False, min_length=1
    )
    """The first one is shown in tables and pictures."""
    seed: int = Field(default=0, ge=0)

    @field_validator("shots")
    @classmethod
    def _numbers_from_one(cls, shots: tuple[Shots, ...]) -> tuple[Shots, ...]:
        if any(count != "all" and count < 1 for count in shots) or len(set(shots)) < len(shots):
            raise ValueError("shots are different numbers from 1, or 'all'")
        return shots


def read_protocol(name: str) -> Protocol:
    """A protocol by name or path.

    Raises:
        UserError: there is none, or what it says is no protocol.
    """
    path = catalog.find("eval", name)
    try:
        return Protocol.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"the protocol {path.name!r} is no valid TOML: {error}") from error
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, problem['loc']))} = {problem['input']!r}: {problem['msg']}"
            for problem in error.errors()
        )
        raise ConfigError(f"the protocol {path.name!r}: {problems}") from None
