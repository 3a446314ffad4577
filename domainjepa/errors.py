"""The few errors a user may see: each says what is wrong, the value, and what to do next."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable


class UserError(Exception):
    """Wrong usage or bad input. The command line prints the message and exits with status 2."""


class ConfigError(UserError):
    """A setting that does not exist, or a value that it cannot take."""


class DataError(UserError, ValueError):
    """A file or a sample that cannot be read, or must not be."""


class MissingExtra(UserError):
    """A feature whose optional package is not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs {package}: pip install 'domainjepa[{extra}]'")


class RankLost(UserError):
    """Another rank of the run is gone, most often killed, and this one had to wait for it."""

    def __init__(self) -> None:
        super().__init__(
            "another rank of this run is gone: it was killed, perhaps for want of memory. What was "
            "saved before is intact; go on with the same command and --resume."
        )


def brief(value: object) -> str:
    """A value as a message shows it: its beginning where it is long or nested deep."""
    shortest = reprlib.Repr()
    shortest.maxlevel, shortest.maxstring, shortest.maxother = 4, 160, 160
    shortest.maxlist = shortest.maxtuple = shortest.maxdict = 12
    try:
        return shortest.repr(value)
    except ValueError:  # an integer of more digits than Python prints
        return "a number of thousands of digits"


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """A hint that ends an error message: the nearest name, else the choices when they are few.

    Args:
        name: what the user wrote.
        choices: what would have been right.

    Returns:
        A sentence that starts with a space, or an empty string where nothing helps.
    """
    choices = sorted(choices)
    near = difflib.get_close_matches(name, choices, n=3, cutoff=0.6)
    if near:
        return f" Did you mean {' or '.join(near)}?"
    if 0 < len(choices) <= 20:
        return f" Choose from: {', '.join(choices)}."
    return ""
