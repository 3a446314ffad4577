"""No process outlives the one that it works for, not even where that one is killed.

On Linux the kernel ends a process with its parent. Elsewhere, and where the parent is not the one
that matters, a thread watches.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from pathlib import Path
from threading import Thread

STARTER = "DOMAINJEPA_STARTED_BY"
"""In the environment of a process that is to end with the process of this number."""
PR_SET_PDEATHSIG = 1
"""prctl(2)."""


def end_with_starter(*, watch: bool = True) -> None:
    """To be called early by a process that may have been started to work for another one.

    Args:
        watch: whether a thread may watch where the kernel does not.
    """
    named = os.environ.pop(STARTER, None)
    if named is None or not named.isdigit():
        return
    starter = int(named)
    tied = os.getppid() == starter and end_with_parent()
    if not _alive(starter):
        os._exit(1)  # it was killed before the kernel was asked
    if watch and not tied:
        Thread(target=_watch, args=(starter,), daemon=True).start()


def end_with_run() -> None:
    """To be called by a worker of multiprocessing: it ends with the process that wanted it.

    Its parent may be a fork server, which lives as long as it has children.
    """
    end_with_parent()
    Thread(target=_wait_for_the_run, daemon=True).start()


def end_with_parent() -> bool:
    """Ask the kernel to kill this process when the thread that started it ends.

    Returns:
        Whether it will, which is on Linux alone.
    """
    if sys.platform != "linux":
        return False
    return bool(ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) == 0)


def _alive(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    try:
        state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:  # no such folder, or gone a moment ago
        return True
    return state not in "ZX"  # ended, and nobody has asked for its status yet


def _wait_for_the_run() -> None:
    from multiprocessing import parent_process  # the command line does without

    run = parent_process()
    if run is not None:
        run.join()
        os._exit(1)


def _watch(starter: int) -> None:
    while _alive(starter):
        time.sleep(1)
    os._exit(1)
