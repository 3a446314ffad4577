"""Commands of domainjepa as forks of a process that has everything imported.

Starting Python and PyTorch takes seconds, a run of a few steps less than one. A fork is a process
like any other: it writes, starts processes, is killed and leaves orphans as the command does.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from domainjepa import cli
from domainjepa.pretraining import launch


class Fork:
    """A forked process with what `subprocess.Popen` has, as far as `--devices` needs it."""

    def __init__(
        self,
        command: Sequence[str],
        env: Mapping[str, str],
        stdout: int | None,
        stderr: IO[bytes] | None,
    ) -> None:
        self.returncode: int | None = None
        with open(os.devnull, "wb") as nowhere:  # noqa: PTH123
            self.pid = os.fork()
            if not self.pid:
                if stdout is not None:
                    os.dup2(nowhere.fileno(), 1)
                if stderr is not None:
                    os.dup2(stderr.fileno(), 2)
                _become(command[3:], env)

    def poll(self) -> int | None:
        """The exit status, None as long as it runs."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal."""
        os.kill(self.pid, number)


class Command:
    """A command in a session of its own, so that all of its processes can be found.

    Attributes:
        pid: of the process.
        status: its exit status, None as long as it runs.
    """

    def __init__(self, arguments: Sequence[str], said: Path, *, real: bool = False) -> None:
        """
        Args:
            arguments: after `domainjepa`.
            said: a file for what it says on stderr.
            real: start Python anew.
        """
        self.said = said
        self.status: int | None = None
        with said.open("wb") as errors, open(os.devnull, "wb") as nowhere:  # noqa: PTH123
            if real:
                words = [sys.executable, "-m", "domainjepa", *arguments]
                self.pid = subprocess.Popen(
                    words, stdout=nowhere, stderr=errors, start_new_session=True
                ).pid
                return
            self.pid = os.fork()
            if not self.pid:
                os.setsid()
                os.dup2(nowhere.fileno(), 1)
                os.dup2(errors.fileno(), 2)
                _become(arguments, os.environ)

    def poll(self) -> int | None:
        """The exit status, None as long as it runs."""
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
        return self.status

    def wait(self, until: Callable[[], bool] = lambda: False, limit: float = 600.0) -> int | None:
        """Wait for its end, or until something holds; killed where that takes too long."""
        end = time.monotonic() + limit
        while self.poll() is None and not until():
            if time.monotonic() > end:
                self.kill(*self.processes())
            time.sleep(0.002)
        return self.status

    def children(self) -> list[int]:
        """The processes that it has started itself, the oldest first."""
        return sorted(pid for pid, (parent, _) in _processes().items() if parent == self.pid)

    def processes(self) -> list[int]:
        """All processes of its session that are alive."""
        return [pid for pid, (_, session) in _processes().items() if session == self.pid]

    def kill(self, *pids: int) -> None:
        """kill -9."""
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def seconds_until_all_ended(self, limit: float) -> float:
        """How long processes of it are still alive; infinite where some are after the limit, which
        are then killed."""
        start = time.monotonic()
        while self.processes():
            self.poll()
            if time.monotonic() > start + limit:
                self.kill(*self.processes())
                return float("inf")
            time.sleep(0.02)
        return time.monotonic() - start


def _become(arguments: Sequence[str], env: Mapping[str, str]) -> None:
    """In a fork: run the command and end."""
    status = 1
    try:
        wanted = {**env}  # it may be this very environment
        os.environ.clear()
        os.environ.update(wanted)
        launch.subprocess.Popen = Fork  # type: ignore[misc, assignment]
        sys.argv = ["domainjepa", *arguments]
        cli.main()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _processes() -> dict[int, tuple[int, int]]:
    """Number -> (parent, session) of all processes that are no zombies."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                words = (folder / "stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if words[0] not in "ZX":
                found[int(folder.name)] = int(words[1]), int(words[3])
    return found
