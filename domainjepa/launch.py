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
from typing import IO


def launch(arguments: Sequence[str], ranks: int) -> int:
    """Run `python -m domainjepa` with these arguments in every rank, and wait.

    Args:
        arguments: of the command line.
        ranks: processes.

    Returns:
        The exit status: that of rank 0 where it has something to say, else the first other failure.
    """
    environment = {
        **os.environ,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(_free_port()),
        "WORLD_SIZE": str(ranks),
    }
    environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // ranks)))
    command = [sys.executable, "-m", "domainjepa", *arguments]
    with tempfile.TemporaryFile() as others:
        processes = [
            subprocess.Popen(
                command,
                env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)},
                # What all ranks say alike is said once, by rank 0.
                stdout=None if rank == 0 else subprocess.DEVNULL,
                stderr=None if rank == 0 else others,
            )
            for rank in range(ranks)
        ]
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
            signal.signal(number, lambda sent, _: _signal_all(processes, sent))
        status = _wait(processes)
        first = processes[0].returncode
        if status and first in (0, -signal.SIGTERM, -signal.SIGKILL):
            _show(others)
        return status


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _signal_all(processes: Sequence[subprocess.Popen[bytes]], number: int) -> None:
    for process in processes:
        if process.poll() is None:
            process.send_signal(number)


def _wait(processes: Sequence[subprocess.Popen[bytes]]) -> int:
    """Wait for all; when one fails, the others get a moment to say why and are then ended."""
    running = list(processes)
    failed = 0
    while running:
        for process in list(running):
            try:
                status = process.wait(timeout=0.2 if not failed else 10)
            except subprocess.TimeoutExpired:
                if failed:
                    process.kill()  # it waits for a rank that is gone
                continue
            running.remove(process)
            failed = failed or status
    first = processes[0].returncode
    status = first if first > 0 else failed
    return status if status >= 0 else 128 - status


def _show(others: IO[bytes]) -> None:
    others.seek(0)
    sys.stderr.write(others.read().decode(errors="replace"))
