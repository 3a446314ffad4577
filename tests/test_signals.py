from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import domainjepa

# In a process of its own: another test may have started the servers.
SIGNALLED = textwrap.dedent(
    """
    import multiprocessing, os, signal
    from multiprocessing import forkserver, resource_tracker
    from domainjepa.signals import STOPPING, start_servers_that_stay

    if __name__ == "__main__":
        start_servers_that_stay()
        assert not signal.pthread_sigmask(signal.SIG_BLOCK, []), "the run itself stays open"
        tracker, server = resource_tracker._resource_tracker, forkserver._forkserver
        pids = [tracker._pid, server._forkserver_pid]
        for number in STOPPING:
            for pid in pids:
                os.kill(pid, number)
        context = multiprocessing.get_context("forkserver")
        queue = context.SimpleQueue()
        worker = context.Process(target=queue.put, args=("alive",))
        worker.start()
        assert queue.get() == "alive"
        worker.join()
        assert [tracker._pid, server._forkserver_pid] == pids, "one was started anew"
        assert [os.waitpid(pid, os.WNOHANG) for pid in pids] == [(0, 0)] * 2, "one died"
        print("done")
    """
)


def test_a_signal_to_the_process_group_leaves_the_servers_of_the_workers(tmp_path: Path) -> None:
    script = tmp_path / "signalled.py"
    script.write_text(SIGNALLED)
    done = subprocess.run(
        [sys.executable, str(script)],
        env={**os.environ, "PYTHONPATH": str(Path(domainjepa.__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "done\n"
    assert not done.stderr
