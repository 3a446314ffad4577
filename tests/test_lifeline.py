"""Processes that are started for another one, after that one was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

import domainjepa
from tests import programs

WORKER = textwrap.dedent(
    """
    import multiprocessing, os, time
    from multiprocessing import forkserver, resource_tracker
    from domainjepa.signals import start_servers_that_stay, work_for_the_run

    def work(queue):
        work_for_the_run()
        queue.put(os.getpid())
        time.sleep(600)

    if __name__ == "__main__":
        start_servers_that_stay()
        context = multiprocessing.get_context("forkserver")
        queue = context.SimpleQueue()
        context.Process(target=work, args=(queue,)).start()
        servers = resource_tracker._resource_tracker._pid, forkserver._forkserver._forkserver_pid
        print(queue.get(), *servers, flush=True)
        time.sleep(600)
    """
)
SERVER = textwrap.dedent(
    """
    import sys, time
    from multiprocessing import forkserver
    from domainjepa.signals import start_servers_that_stay

    if __name__ == "__main__":
        start_servers_that_stay("sleepy")
        print(forkserver._forkserver._forkserver_pid, flush=True)
        time.sleep(600)
    """
)
STARTED = textwrap.dedent(
    """
    import os, subprocess, sys, time
    from domainjepa.lifeline import STARTER, end_with_starter

    if len(sys.argv) == 2:
        env = {**os.environ, STARTER: str(os.getpid())}
        started = subprocess.Popen([sys.executable, __file__, sys.argv[1], "started"], env=env)
    else:
        sys.platform = sys.argv[1]
        end_with_starter()
        print(os.getpid(), flush=True)
    time.sleep(600)
    """
)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def left_after_kill(script: str, folder: Path, *arguments: str) -> list[int]:
    """Start a script that prints the numbers of processes, kill it, and see which stay."""
    path = folder / "script.py"
    path.write_text(script)
    root = str(Path(domainjepa.__file__).parents[1])
    with subprocess.Popen(
        [sys.executable, str(path), *arguments],
        env={**os.environ, "PYTHONPATH": f"{root}:{folder}"},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        pids = [int(word) for word in process.stdout.readline().split()]
        assert pids
        assert all(map(alive, pids))
        process.kill()
        process.wait()
        end = time.monotonic() + 10
        while (left := [pid for pid in pids if alive(pid)]) and time.monotonic() < end:
            time.sleep(0.05)
        for pid in left:
            os.kill(pid, signal.SIGKILL)
    return left


def test_a_worker_and_its_servers_end_with_the_run(tmp_path: Path) -> None:
    assert not left_after_kill(WORKER, tmp_path)


def test_a_fork_server_ends_with_the_run_while_it_imports(tmp_path: Path) -> None:
    (tmp_path / "sleepy.py").write_text("import time; time.sleep(600)\n")
    assert not left_after_kill(SERVER, tmp_path)


@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_a_rank_ends_with_its_launcher(platform: str, tmp_path: Path) -> None:
    assert not left_after_kill(STARTED, tmp_path, platform)


def test_what_nobody_started_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    from domainjepa import lifeline

    monkeypatch.delenv(lifeline.STARTER, raising=False)
    monkeypatch.setattr(lifeline, "end_with_parent", lambda: pytest.fail("no starter was named"))
    lifeline.end_with_starter()


def test_what_tests_started_ends_with_the_tests() -> None:
    """A test run that is killed lets go of its programs, and leaves none behind."""
    program = programs.start("-c", "import time\nwhile True: time.sleep(0.1)")
    assert alive(program.pid)
    program.let_go()
    until = time.monotonic() + 20
    while alive(program.pid) and time.monotonic() < until:
        time.sleep(0.02)
    assert not alive(program.pid)
