from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from domainjepa.data.source import Source
from domainjepa.domains.proposal import gather, propose_domain
from domainjepa.errors import DataError


@dataclass(kw_only=True)
class Memory(Source):
    images: Sequence[np.ndarray] = field(default_factory=list)
    unreadable: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    def __getitems__(self, indices: Sequence[int]) -> list[np.ndarray]:
        if set(indices) & set(self.unreadable):
            raise DataError("broken")
        return [self.images[index] for index in indices]

    def content_key(self) -> str:
        return "memory"


def memory(images: Sequence[np.ndarray], **settings: Any) -> Memory:
    first = images[0]
    given = {"name": "stack", "loader": "arrays", **settings}
    return Memory(shape=first.shape, dtype=first.dtype, images=images, **given)


def test_evidence_is_of_what_the_samples_hold() -> None:
    images = [np.zeros((20, 30, 2), np.float32) for _ in range(5)]
    images[4][:10, :, 0] = 7
    images[2][0, 0] = -3, np.nan
    evidence = gather(memory(images, modality="MR", classes=("a", "b"), keys=("images",)))
    assert (evidence.dtype, evidence.channels) == (np.float32, 2)
    assert (evidence.low, evidence.high) == (-3, 7)
    assert evidence.zeros == pytest.approx(1 - 301 / (5 * 1200 - 1))
    assert (evidence.modality, evidence.loader) == ("MR", "arrays")
    assert evidence.words == "stack images a b"


def test_unreadable_samples_are_passed_over() -> None:
    images = [np.full((8, 8, 1), 5, np.uint8)] * 3
    evidence = gather(memory(images, unreadable=(0, 1)))
    assert (evidence.low, evidence.high) == (5, 5)
    assert gather(memory(images, unreadable=(0, 1, 2))).high == 0


def test_of_a_volume_the_middle_is_looked_at() -> None:
    volume = np.full((4, 300, 300, 1), -2000, np.int16)
    volume[:, 90:210, 90:210] = 40
    evidence = gather(memory([volume]))
    assert evidence.volumetric
    assert (evidence.low, evidence.high) == (-2000, 40)


def sparse() -> list[np.ndarray]:
    image = np.zeros((64, 64, 1), np.uint8)
    image[30:34, 30:36] = 200
    return [image] * 4


def slices() -> list[np.ndarray]:
    return [np.linspace(-1024, 1800, 400).reshape(20, 20, 1).astype(np.int16)] * 4


@pytest.mark.parametrize(
    ("images", "settings", "expected", "reason"),
    [
        (sparse(), {}, "radio", "99.4 % of the values are exactly zero"),
        (slices(), {}, "ct", "-1024 to 1800"),
        (slices(), {"modality": "MR"}, "mri", "modality as MR"),
        ([np.full((8, 8, 1), 9, np.uint8)], {}, "natural", "set `domain`"),
        (
            [np.full((8, 8, 1), 9, np.uint8)],
            {"card": {"name": "busi", "domain": "ultrasound"}},
            "ultrasound",
            "'busi' says so",
        ),
    ],
)
def test_the_proposal_comes_with_its_reason(
    images: list[np.ndarray], settings: dict[str, Any], expected: str, reason: str
) -> None:
    domain, why = propose_domain(memory(images, **settings))
    assert domain == expected
    assert reason in why
