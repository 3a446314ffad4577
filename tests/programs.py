"""Programs that tests start: copies of one process that has imported what most of them import.

A new interpreter takes seconds of a core to import PyTorch, timm and scikit-learn; a copy of one
that has takes milliseconds. A copy is a process of its own, with its own signals, output and exit
status, and runs `-m module`, `-c code` or a script as Python would. Tests of what is imported or
set when Python starts start Python.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
import types
import warnings
from functools import cache
from pathlib import Path
from typing import NoReturn

from domainjepa.registry import LOADERS

IMPORTED = (
    *("domainjepa.cli", "domainjepa.pretraining.run", "domainjepa.inspection"),
    *(target.partition(":")[0] for target in LOADERS.builtin.values()),
    "matplotlib.figure",
)


class Program:
    """A program that runs or ran; what it writes is kept until `finish`."""

    def __init__(self, *words: str | Path, env: dict[str, str] | None, cwd: Path | None) -> None:
        self._written = [tempfile.TemporaryFile(), tempfile.TemporaryFile()]  # noqa: SIM115
        self._control, theirs = socket.socketpair()
        env = {**os.environ} if env is None else env
        self._encoding = env.get("PYTHONIOENCODING", "utf-8")
        asked = {
            "words": [os.fspath(word) for word in words],
            "env": env,
            "cwd": os.fspath(cwd or Path.cwd()),
        }
        self._lines = self._control.makefile("rw")
        files = [theirs.fileno(), *(file.fileno() for file in self._written)]
        socket.send_fds(_server(), [b"!"], files)
        theirs.close()
        self._lines.write(json.dumps(asked) + "\n")
        self._lines.flush()
        self.pid = int(self._lines.readline())
        self.returncode: int | None = None

    def wait(self, timeout: float = 240) -> int:
        """Its exit status; minus the number of the signal that ended it.

        Raises:
            subprocess.TimeoutExpired: it was still running, and was killed.
        """
        if self.returncode is None:
            if not select.select([self._control], [], [], timeout)[0]:
                self.send_signal(signal.SIGKILL)
                raise subprocess.TimeoutExpired(str(self.pid), timeout, *self._outputs())
            self.returncode = int(self._lines.readline())
        return self.returncode

    def poll(self) -> int | None:
        """Its exit status, or None while it runs."""
        over = self.returncode is not None or select.select([self._control], [], [], 0)[0]
        return self.wait() if over else None

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def finish(self, timeout: float = 240) -> subprocess.CompletedProcess[str]:
        """Waits for it: its exit status and all that it wrote."""
        status = self.wait(timeout)
        out, errors = (text.decode(self._encoding, "replace") for text in self._outputs())
        self.let_go()
        return subprocess.CompletedProcess([], status, out, errors)

    def let_go(self) -> None:
        """Closes what holds it: it ends if it has not."""
        self._lines.close()
        self._control.close()

    def _outputs(self) -> list[bytes]:
        return [os.pread(file.fileno(), 1 << 26, 0) for file in self._written]


def start(
    *words: str | Path, env: dict[str, str] | None = None, cwd: Path | None = None
) -> Program:
    """As `python words…` would start: `-m module`, `-c code` or a script, and its arguments.

    Args:
        words: `-W action` may stand first.
        env: its whole environment; this process's by default.
        cwd: its folder; this process's by default.
    """
    return Program(*words, env=env, cwd=cwd)


def run(
    *words: str | Path,
    env: dict[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float = 240,
) -> subprocess.CompletedProcess[str]:
    """`start`, and the end of it."""
    return start(*words, env=env, cwd=cwd).finish(timeout)


def ranks(count: int, *words: str | Path) -> list[str]:
    """What each rank of a program printed: copies in one group, as torchrun and --devices do it.

    Raises:
        AssertionError: one failed; the text is what it said.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    group = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    everywhere = {**os.environ, **group, "CUDA_VISIBLE_DEVICES": ""}
    started = [
        start(*words, env={**everywhere, "RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank in range(count)
    ]
    ended = [one.finish() for one in started]
    for one in ended:
        assert one.returncode == 0, one.stderr[-6000:]
    return [one.stdout for one in ended]


@cache
def _server() -> socket.socket:
    """The way to the process that is copied; it ends when this one does."""
    ours, theirs = socket.socketpair()
    root = Path(__file__).parents[1]
    paths = os.pathsep.join(filter(None, (str(root), os.environ.get("PYTHONPATH"))))
    subprocess.Popen(
        [sys.executable, "-m", "tests.programs", str(theirs.fileno())],
        env={**os.environ, "PYTHONPATH": paths},
        pass_fds=[theirs.fileno()],
        stdin=subprocess.DEVNULL,
    )
    theirs.close()
    return ours


def _serve(requests: socket.socket) -> list[str]:
    """Copies this process for every request. Returns in a copy, with the words of its program."""
    while True:
        _, files, _, _ = socket.recv_fds(requests, 1, 3)
        with contextlib.suppress(ChildProcessError):  # the keepers below that ended
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not files:
            os._exit(0)
        if os.fork() == 0:
            requests.close()
            return _kept(socket.socket(fileno=files[0]), *files[1:])
        for file in files:
            os.close(file)


def _kept(control: socket.socket, out: int, errors: int) -> list[str]:
    """Becomes the keeper of one program, who tells its number and its exit status."""
    lines = control.makefile("rw")
    asked = json.loads(lines.readline())
    pid = os.fork()
    if pid:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            signal.signal(number, signal.SIG_IGN)
        control.sendall(f"{pid}\n".encode())
        threading.Thread(target=_end_with_the_tests, args=(control, pid), daemon=True).start()
        _, status = os.waitpid(pid, 0)
        control.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
        os._exit(0)
    lines.close()
    control.close()
    os.dup2(out, 1)
    os.dup2(errors, 2)
    os.environ.clear()
    os.environ.update(asked["env"])
    if encoding := os.environ.get("PYTHONIOENCODING"):
        sys.stdout.reconfigure(encoding=encoding)  # type: ignore[union-attr]
        sys.stderr.reconfigure(encoding=encoding, errors="backslashreplace")  # type: ignore[union-attr]
    os.chdir(asked["cwd"])
    first = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:] = [*filter(None, first), *(one for one in sys.path if one not in first)]
    return list(asked["words"])


def _end_with_the_tests(control: socket.socket, pid: int) -> None:
    """No program outlives the tests that started it, however these end."""
    with contextlib.suppress(OSError):
        control.recv(1)  # nothing is ever sent: the other end is gone
        os.kill(pid, signal.SIGKILL)


def _end(words: list[str]) -> NoReturn:
    """Runs a program and ends as Python does, without taking all modules apart: that takes longer
    than most programs."""
    status: object = 0
    try:
        _become(words)
    except SystemExit as end:
        status = end.code or 0
        if not isinstance(status, int):
            sys.stderr.write(f"{status}\n")
            status = 1
    except BaseException:
        traceback.print_exc()
        status = 1
    threading._shutdown()  # type: ignore[attr-defined]  # waits for the threads of the program
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(int(status) & 0xFF)


def _become(words: list[str]) -> None:
    """Runs a program in this process as `python words…` does."""
    if words[0] == "-W":
        warnings.simplefilter(words[1])  # type: ignore[arg-type]
        words = words[2:]
    what, *arguments = words
    if what not in ("-m", "-c"):
        sys.argv = words
        runpy.run_path(what, run_name="__main__")
        return
    sys.argv = [what, *arguments[1:]]
    if what == "-m":
        runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
    else:
        main = sys.modules["__main__"] = types.ModuleType("__main__")
        exec(compile(arguments[0], "<string>", "exec"), main.__dict__)


if __name__ == "__main__":
    for name in IMPORTED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # a copy that looks for garbage would copy all of the memory
    _end(_serve(socket.socket(fileno=int(sys.argv[1]))))
