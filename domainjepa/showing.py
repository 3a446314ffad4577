"""Text that others wrote, such as names of files and classes, as it may be shown."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Iterable

_UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Controls, formats such as U+202E, halves of pairs (bytes that are no UTF-8), line breaks."""


def shown(text: object) -> str:
    """One line that reads as it is stored: what would move, hide or break it is escaped."""
    said = str(text)
    if said.isprintable():  # by far the most, and quick to tell
        return said
    return "".join(_escaped(one) if unicodedata.category(one) in _UNSEEN else one for one in said)


def _escaped(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # a byte of a file's name that is no UTF-8
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def is_text(names: Iterable[str]) -> bool:
    """Whether all can be written as UTF-8, which not every file's name can."""
    try:
        "".join(names).encode()
    except UnicodeEncodeError:
        return False
    return True


def print_anything() -> None:
    """Whatever the terminal's encoding is, what it cannot show is escaped and never an error."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
