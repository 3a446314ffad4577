"""One writer at a time: locks that the kernel releases when their process ends, however it ends."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from typing import BinaryIO

WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
"""What file systems answer that have no locks, such as Lustre that is mounted without `flock`."""


class Busy(Exception):
    """Another process has the file locked."""


def is_locked(path: Path) -> bool:
    """Whether a process has a file locked; one that is not there is not."""
    try:
        with path.open("rb") as file:
            # Shared, for a moment: whoever wants the lock itself has to come in that very moment.
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in (errno.EWOULDBLOCK, errno.EACCES)
    return False


class LockedFile:
    """A file, made where it is missing, that no other process has locked as long as it is open.

    On NFS the lock is one of the server's, so it holds between machines (flock(2), since Linux
    2.6.12). It is the file system's answer that counts: where that has no locks, the file is open
    without one and `certain` is False.

    Attributes:
        file: open to read and write, at its start; what it held is still there.
        certain: whether it is locked.
    """

    def __init__(self, path: Path, *, wait: bool = False) -> None:
        """
        Args:
            path: of the file.
            wait: for the process that has it locked.

        Raises:
            Busy: another process has it locked.
            OSError: it cannot be opened.
        """
        self.path = path
        while True:
            # Open to write, which NFS asks for, but not to append: HDF5 writes here and there.
            self.file: BinaryIO = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
            try:
                self.certain = self._lock(wait)
                if not self.certain or self._still_there():
                    return
            except BaseException:
                self.file.close()
                raise
            # Who had it locked has moved or removed it meanwhile: this lock locks nobody out.
            self.file.close()

    def close(self) -> None:
        """Release the lock."""
        self.file.close()

    def remove(self) -> None:
        """Remove the file, then release the lock: whoever waits for it makes a new one."""
        self.path.unlink(missing_ok=True)
        self.file.close()

    def _lock(self, wait: bool) -> bool:
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError as error:
            if error.errno in WITHOUT_LOCKS:
                return False
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise Busy(self.path.name) from error
            raise
        return True

    def _still_there(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self.file.fileno()), self.path.stat())
        except FileNotFoundError:
            return False
