"""What libraries raise on damaged bytes, turned into one message for the user."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator

from domainjepa.errors import DataError, UserError


@contextlib.contextmanager
def unreadable(errors: tuple[type[Exception], ...], what: str) -> Iterator[None]:
    """Inside, these errors become a DataError that begins with what cannot be read."""
    try:
        yield
    except UserError:  # has been said already; some are also among the errors of a library
        raise
    except errors as error:
        raise DataError(
            f"{what} cannot be read: {reason(error)} Is it complete? Copy or download it again."
        ) from error


MOST_SKIPPED = 0.5
"""The largest share of samples that `data.skip_unreadable` may leave out."""


def to_skip(lost: int, samples: int) -> str:
    """How a message ends that tells of unreadable samples: the setting that leaves them out; empty
    where they are too many for it."""
    share = max(0.01, math.ceil(1000 * lost / samples) / 1000)
    return f": --set data.skip_unreadable={share:g}" if share <= MOST_SKIPPED else ""


def unreadable_seen(lost: int, looked_at: int) -> str:
    """A warning of samples whose headers cannot be read: they stay, and fail when they are read."""
    skip = to_skip(lost, looked_at)
    leave = f", or leave them out{skip}" if skip else ""
    return (
        f"{lost:,} of {looked_at:,} files that were looked at cannot be read, and fail when they "
        f"are; `domainjepa inspect` names them. Copy them again{leave}"
    )


def reason(error: Exception) -> str:
    """The first line of an error as a sentence."""
    lines = str(error).strip("\"'").splitlines()
    return f"{(lines[0] if lines else type(error).__name__).rstrip('.')}."
