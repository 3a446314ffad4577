"""What libraries raise on damaged bytes, turned into one message for the user."""

from __future__ import annotations

import contextlib
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


def reason(error: Exception) -> str:
    """The first line of an error as a sentence."""
    lines = str(error).strip("\"'").splitlines()
    return f"{(lines[0] if lines else type(error).__name__).rstrip('.')}."
