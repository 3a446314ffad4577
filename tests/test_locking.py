from __future__ import annotations

import errno
import fcntl
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from domainjepa.locking import Busy, LockedFile
from domainjepa.writing import write_atomically

HOLD = """
import sys
from pathlib import Path
from domainjepa.locking import LockedFile
lock = LockedFile(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_one_process_at_a_time_and_a_killed_one_no_longer(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(Busy):
            LockedFile(path)
        other.kill()
    LockedFile(path).remove()
    assert not path.exists()


def test_a_lock_on_a_file_that_is_gone_locks_nobody_out(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    first = LockedFile(path)
    got: list[LockedFile] = []
    waiting = threading.Thread(target=lambda: got.append(LockedFile(path, wait=True)))
    waiting.start()
    first.remove()
    waiting.join(10)
    with pytest.raises(Busy):  # the one who waited holds a file that is there
        LockedFile(path)
    got[0].remove()


def test_a_file_system_without_locks_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any) -> None:
        raise OSError(errno.EOPNOTSUPP, "no locks here")

    monkeypatch.setattr(fcntl, "flock", refused)
    lock = LockedFile(tmp_path / "lock")
    assert not lock.certain
    lock.close()


def test_two_writers_of_one_file_leave_one_of_them(tmp_path: Path) -> None:
    path = tmp_path / "file"
    contents = [bytes([letter]) * 300_000 for letter in b"abcd"]

    def write_often(content: bytes) -> None:
        for _ in range(10):
            write_atomically(path, lambda file: [file.write(content[at::3]) for at in range(3)])

    writers = [threading.Thread(target=write_often, args=(content,)) for content in contents]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert not path.exists() or path.read_bytes() in contents
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


def test_what_a_killed_writer_left_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / ".file.part").write_bytes(bytes(1000))
    write_atomically(tmp_path / "file", lambda file: file.write(b"new"))
    assert [(one.name, one.read_bytes()) for one in tmp_path.iterdir()] == [("file", b"new")]
