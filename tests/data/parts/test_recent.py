from __future__ import annotations

import pickle

import numpy as np

from domainjepa.data.parts.recent import Recent


def test_what_was_read_is_not_read_again_until_others_take_its_place() -> None:
    reads: list[str] = []

    def get(name: str) -> None:
        recent.get(name, lambda: reads.append(name) or np.zeros(100, np.uint8))  # type: ignore[func-returns-value]

    recent = Recent(most_bytes=200)
    for name in "aabab":
        get(name)
    assert reads == ["a", "b"]
    for name in "caba":  # a was used before b, so c takes its place, and a that of b
        get(name)
    assert reads == ["a", "b", "c", "a", "b"]


def test_the_last_one_is_kept_whatever_it_takes() -> None:
    recent = Recent(most_bytes=10)
    large = np.zeros(1000)
    recent.get("small", lambda: np.zeros(1))
    assert recent.get("large", lambda: large) is large
    assert recent.get("large", lambda: np.ones(1)) is large


def test_it_travels_empty() -> None:
    recent = Recent(most_bytes=2**20)
    recent.get(1, lambda: np.zeros(1000))
    copy = pickle.loads(pickle.dumps(recent))  # noqa: S301
    assert len(pickle.dumps(recent)) < 200
    assert copy.most_bytes == 2**20
    assert copy.get(1, lambda: np.ones(1)) == 1
