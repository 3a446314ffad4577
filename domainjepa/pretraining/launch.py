"""`--devices N`: this very command once for each rank, on this machine.

torchrun does the same for several machines; started by it, a command finds its rank in the
environment and launches nothing. Here one signal reaches every rank, and the exit status is the
run's own: 0, 2, 130 or 143.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack

SAID = (2, 130, 143)
"""Statuses of a process that knows why it ended; another may have ended because this one did."""


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
    while running:
        for process in list(running):
            try:
                status = process.wait(timeout=0.2 if not failed else 10)
            except subprocess.TimeoutExpired:
                if failed:
                    process.kill()  # it waits for a rank that is gone
                continue
            running.remove(process)
            if status:
                failed.append(process)
    return failed
