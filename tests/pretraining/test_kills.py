"""A sample of `benchmarks/kills.py`: a kill in every phase, with one process and with two ranks,
and a race."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import domainjepa


def test_nothing_is_lost_or_left_behind(tmp_path: Path) -> None:
    root, out = Path(domainjepa.__file__).parents[1], tmp_path / "results.json"
    script = root / "benchmarks" / "kills.py"
    done = subprocess.run(
        [sys.executable, str(script), "--kills=4", "--races=1", f"--out={out}"],
        env={**os.environ, "PYTHONPATH": str(root), "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    found = json.loads(out.read_text())
    assert found["killed"]["kills"] == 4
    assert found["raced"]["races"] == 1
    assert not found["killed"]["faults"] + found["raced"]["faults"]
