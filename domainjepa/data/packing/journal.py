"""How far a long piece of writing has come, kept beside what is written."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from domainjepa.errors import UserError


class Journal:
    """How far a file is written: what it is, then a number for each part. Locked while it is open.

    Attributes:
        done: the last number noted for the same thing; 0 for another one, or a new one.
    """

    def __init__(self, path: Path, identity: str) -> None:
        """
        Args:
            path: of the journal.
            identity: what is written; what was noted of another thing does not count.

        Raises:
            UserError: another process has it open, or it cannot be written.
        """
        self._path = path
        try:
            self._file = path.open("a+", encoding="utf-8")
        except OSError as error:
            raise UserError(f"nothing can be written beside --out: {error.strerror}.") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UserError("another process is writing this file: let it finish.") from error
        self._file.seek(0)
        text = self._file.read()
        whole = text[: text.rfind("\n") + 1]  # a line that was cut off does not count
        self._file.truncate(len(whole.encode()))
        same, *numbers = whole.split("\n")[:-1] or [""]
        last = numbers[-1] if numbers and same == identity else ""
        self.done = int(last) if last.isdecimal() else 0
        if not self.done:
            self._file.truncate(0)
            self._write(identity)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def note(self, done: int) -> None:
        """So many samples are on the disk."""
        self._write(str(done))

    def remove(self) -> None:
        """The file is whole."""
        self._path.unlink()

    def _write(self, line: str) -> None:
        self._file.write(f"{line}\n")
        self._file.flush()
        os.fsync(self._file.fileno())
