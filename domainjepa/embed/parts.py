"""Features on their way: a file for each block of samples, beside where they will end.

What is there already is not computed again, so a run that was stopped goes on, and ranks share the
blocks. A block is never more than a file of some megabytes, however many samples there are.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from domainjepa.data.files.identity import Identity
from domainjepa.data.source import Source
from domainjepa.errors import UserError
from domainjepa.locking import Busy, LockedFile
from domainjepa.writing import write_atomically

Features = NDArray[np.float32]

BLOCK_BYTES = 2**29
"""Of stored images that go into a block."""
MOST = 4096
"""Samples of a block."""
FEWEST = 16


class Parts:
    """The blocks of features of one encoder on some rows of one source.

    Args:
        out: the file that they will end in.
        encoder: what its features depend on, in a word.
        source: of the samples.
        rows: (N,) those that are embedded.
    """

    def __init__(self, out: Path, encoder: str, source: Source, rows: NDArray[np.int64]) -> None:
        self.folder = out.with_name(f".{out.name}.parts")
        sample = max(int(np.prod(source.shape)) * source.dtype.itemsize, 1)
        self.size = int(np.clip(BLOCK_BYTES // sample, FEWEST, MOST))
        self.rows = rows
        digest = hashlib.sha256(f"{encoder} {Identity.of(source).exact} {self.size}".encode())
        digest.update(np.ascontiguousarray(rows).tobytes())
        self._key = digest.hexdigest()
        self._lock: LockedFile | None = None

    def __len__(self) -> int:
        return -(-len(self.rows) // self.size)

    def begin(self) -> int:
        """Hold the folder, and empty it of what another encoder or other data have left.

        Returns:
            How many blocks are there already.

        Raises:
            UserError: another process writes the same file.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._lock = LockedFile(self.folder / ".lock")
        except Busy:
            name = self.folder.name.removeprefix(".").removesuffix(".parts")
            raise UserError(
                f"another process is writing {name}: let it finish, or choose another --out."
            ) from None
        key = self.folder / "key"
        if not key.is_file() or key.read_text() != self._key:
            for path in self.folder.glob("*.npy"):
                path.unlink()
            write_atomically(key, lambda file: file.write(self._key.encode()))
        return sum(self.has(block) for block in range(len(self)))

    def release(self) -> None:
        """Let others have the folder; what is in it stays for the next attempt."""
        if self._lock is not None:
            self._lock.close()

    def end(self) -> None:
        """Remove the folder."""
        self.release()
        shutil.rmtree(self.folder, ignore_errors=True)

    def rows_of(self, block: int) -> NDArray[np.int64]:
        """The rows of a block."""
        return self.rows[block * self.size : (block + 1) * self.size]

    def has(self, block: int) -> bool:
        """Whether it is computed: files are whole or not there."""
        return self._path(block).is_file()

    def put(self, block: int, features: Features) -> None:
        """Keep the features of a block, (n, D)."""
        write_atomically(self._path(block), lambda file: np.save(file, features))

    def __iter__(self) -> Iterator[Features]:
        """The features of all blocks in the order of the rows.

        Raises:
            UserError: a file is damaged.
        """
        for block in range(len(self)):
            try:
                found: Features = np.load(self._path(block), allow_pickle=False)
            except (OSError, ValueError, EOFError) as error:
                self._path(block).unlink(missing_ok=True)
                raise UserError(
                    f"block {block} of the features is damaged and was removed: run the same "
                    "command again, which computes it anew."
                ) from error
            yield found

    def _path(self, block: int) -> Path:
        return self.folder / f"{block:08d}.npy"
