"""How far a long piece of writing has come, kept beside what is written."""

from __future__ import annotations

import os
from pathlib import Path

from domainjepa.errors import UserError
from domainjepa.locking import Busy, LockedFile


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
        try:
            self._locked = LockedFile(path)
        except Busy as error:
            raise UserError("another process is writing this file: let it finish.") from error
        except OSError as error:
            raise UserError(f"nothing can be written beside --out: {error.strerror}.") from error
        file = self._locked.file
        text = file.read()
        whole = text[: text.rfind(b"\n") + 1]  # a line that was cut off does not count
        same, *numbers = whole.split(b"\n")[:-1] or [b""]
        last = numbers[-1] if numbers and same == identity.encode() else b""
        self.done = int(last) if last.isdigit() and len(last) < 20 else 0
        file.seek(len(whole) if self.done else 0)
        file.truncate()
        if not self.done:
            self._write(identity)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self._locked.close()

    def note(self, done: int) -> None:
        """So many samples are on the disk."""
        self._write(str(done))

    def remove(self) -> None:
        """The file is whole."""
        self._locked.remove()

    def _write(self, line: str) -> None:
        file = self._locked.file
        file.write(f"{line}\n".encode())
        file.flush()
        os.fsync(file.fileno())
