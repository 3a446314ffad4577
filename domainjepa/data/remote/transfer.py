"""Bytes out of a store: many ranges at once, patiently.

A store that does not answer is asked again after 0.1, 0.2, 0.4 … s, at most 5 s apart, until two
minutes have passed without a byte. So a server that restarts costs time and nothing else.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

from rich.console import Console

from domainjepa.data.remote.addresses import (
    AT_ONCE,
    bucket,
    fatal,
    filesystem,
    public,
    said,
    unreachable,
)
from domainjepa.errors import DataError

PATIENCE = 120.0
"""Seconds without an answer after which a store is given up."""
FIRST_WAIT, LONGEST_WAIT = 0.1, 5.0
TOLD_AFTER = 0.8
"""The wait from which on the user is told."""
MOST_SHORT = 4
"""Answers of the wrong size after which an object is taken for changed."""

Result = TypeVar("Result")


class Range(NamedTuple):
    """Bytes start to stop of one object."""

    url: str
    start: int
    stop: int


class Short(Exception):
    """Other bytes came than were asked for."""


class Trouble:
    """How long a store has not answered, and how long to wait before it is asked again."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.begun: float | None = None
        self.wait = FIRST_WAIT
        self.told = False

    @property
    def store(self) -> str:
        """What to call it: an object of it may be named after a patient."""
        return public(bucket(self.url))

    def met(self, error: Exception) -> float:
        """Seconds to wait before the store is asked again.

        Raises:
            UserError: what waiting does not mend, or two minutes have passed.
        """
        final = fatal(error, self.url)
        if final is not None:
            raise final from error
        now = time.monotonic()
        if self.begun is None:
            self.begun = now
        if now - self.begun > PATIENCE:
            raise unreachable(error, self.url) from error
        if self.wait >= TOLD_AFTER and not self.told:
            self.told = True
            _tell(f"{self.store} does not answer: {said(error)} Trying again …")
        # Processes that lost the same server come back one after the other.
        wait = self.wait * (1 + os.getpid() % 16 / 16)
        self.wait = min(2 * self.wait, LONGEST_WAIT)
        return wait

    def over(self) -> None:
        """It has answered."""
        if self.told:
            _tell(f"{self.store} answers again")
        self.begun, self.wait, self.told = None, FIRST_WAIT, False


def _tell(line: str) -> None:
    Console(stderr=True).print(line, highlight=False, markup=False)


def patiently(url: str, ask: Callable[[], Result]) -> Result:
    """What a store answers to one question.

    Raises:
        UserError, DataError: as `Trouble.met`.
    """
    trouble = Trouble(url)
    while True:
        try:
            answer = ask()
        except Exception as error:  # each file system has errors of its own
            time.sleep(trouble.met(error))
        else:
            trouble.over()
            return answer


def fetch(ranges: Sequence[Range]) -> list[bytes]:
    """The bytes of ranges of one store, as many requests at once as `AT_ONCE`.

    Raises:
        UserError, DataError: as `Trouble.met`.
    """
    if not ranges:
        return []
    found: dict[int, bytes] = {}
    trouble, shorter = Trouble(ranges[0].url), 0
    while missing := [at for at in range(len(ranges)) if at not in found]:
        failure: Exception | None = None
        for at, answer in zip(missing, _asked([ranges[at] for at in missing]), strict=True):
            if isinstance(answer, Exception):
                trouble.url, failure = ranges[at].url, answer
                continue
            content = _cut(answer, ranges[at])
            if content is None:
                trouble.url, failure = ranges[at].url, _short(answer, ranges[at])
                shorter += 1
            else:
                found[at] = content
        if shorter > MOST_SHORT and isinstance(failure, Short):
            raise DataError(f"{public(trouble.url)} cannot be read: {failure}.")
        if failure is None or len(found) > len(ranges) - len(missing):
            trouble.over()
        if failure is not None:
            time.sleep(trouble.met(failure))
    return [found[at] for at in range(len(ranges))]


def _asked(ranges: list[Range]) -> list[Any]:
    """One answer, or exception, for each range."""
    url = ranges[0].url
    try:
        system = filesystem(url)
        several: dict[str, Any] = {"batch_size": AT_ONCE} if system.async_impl else {}
        answers: list[Any] = system.cat_ranges(
            [one.url for one in ranges],
            [one.start for one in ranges],
            [one.stop for one in ranges],
            on_error="return",
            **several,
        )
    except Exception as error:  # each file system has errors of its own
        return [error] * len(ranges)
    return answers


def _cut(answer: bytes, wanted: Range) -> bytes | None:
    """The bytes that were asked for; None where others came."""
    size = wanted.stop - wanted.start
    if len(answer) == size:
        return answer
    # A server without ranges sends all of it.
    return answer[wanted.start : wanted.stop] if len(answer) >= wanted.stop else None


def _short(answer: bytes, wanted: Range) -> Short:
    return Short(
        f"{len(answer):,} bytes came where {wanted.stop - wanted.start:,} were asked for; it was "
        "cut short, or has changed since it was listed: open it again"
    )
