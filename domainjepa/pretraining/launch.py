"""`--devices N`: this very command once for each rank, on this machine.

torchrun does the same for several machines; started by it, a command finds its rank in the
environment and launches nothing. Here one signal reaches every rank, and the exit status is the
run's own: 0, 2, 75, 130 or 143.
"""

from __future__ import annotations

import math
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack

from domainjepa.lifeline import STARTER
from domainjepa.signals import TIME_IS_UP

STOPPED = (TIME_IS_UP, 130, 143)
"""Statuses after a signal or at the limit of time, which all ranks follow together."""
SAID = (2, *STOPPED)
"""Statuses of a process that knows why it ended; another may have ended because this one did."""
GRACE = 6.0
"""Seconds in which the other ranks may say what the end of one means to them."""


def launch(arguments: Sequence[str], ranks: int) -> int:
    """Run `python -m domainjepa` with these arguments in every rank, and wait.

    Args:
        arguments: of the command line.
        ranks: processes.

    Returns:
        The exit status of the rank that knows why the run ended, else of the first that failed.
    """
    environment = {
        **os.environ,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(_free_port()),
        "WORLD_SIZE": str(ranks),
        "LOCAL_WORLD_SIZE": str(ranks),
        STARTER: str(os.getpid()),
    }
    environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // ranks)))
    command = [sys.executable, "-m", "domainjepa", *arguments]
    with ExitStack() as files:
        # What all ranks say alike is said once, by rank 0.
        errors = [files.enter_context(tempfile.TemporaryFile()) for _ in range(1, ranks)]
        processes = [
            subprocess.Popen(
                command,
                env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)},
                stdout=None if rank == 0 else subprocess.DEVNULL,
                stderr=None if rank == 0 else errors[rank - 1],
            )
            for rank in range(ranks)
        ]
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
            signal.signal(number, lambda sent, _: _signal_all(processes, sent))
        failed = _wait(processes)
        if not failed:
            return 0
        main, *_ = processes
        cause = next((one for one in [main, *failed] if one.returncode in SAID), failed[0])
        if cause is not main:
            file = errors[processes.index(cause) - 1]
            file.seek(0)
            sys.stderr.write(file.read().decode(errors="replace"))
        if cause.returncode < 0:
            sys.stderr.write(
                f"error: rank {processes.index(cause)} was killed by signal {-cause.returncode}, "
                "perhaps for want of memory. What was saved before is intact; go on with the same "
                "command and --resume.\n"
            )
        status = cause.returncode
        return status if status >= 0 else 128 - status


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _signal_all(processes: Sequence[subprocess.Popen[bytes]], number: int) -> None:
    for process in processes:
        if process.poll() is None:
            process.send_signal(number)


def _wait(processes: Sequence[subprocess.Popen[bytes]]) -> list[subprocess.Popen[bytes]]:
    """Wait for all; when one fails, the others get a moment to say why and are then ended.

    Returns:
        Those that failed, the first to end first.
    """
    running = list(processes)
    failed: list[subprocess.Popen[bytes]] = []
    end = math.inf
    while running:
        ended = [process for process in running if process.poll() is not None]
        running = [process for process in running if process not in ended]
        failed += [process for process in ended if process.returncode]
        if any(process.returncode not in (0, *STOPPED) for process in ended):
            end = min(end, time.monotonic() + GRACE)
        if time.monotonic() > end:
            _signal_all(running, signal.SIGKILL)  # they wait for a rank that is gone
        time.sleep(0.05)
    return failed
