"""Flipped bits of a file give an array or a message, never anything else."""

from __future__ import annotations

from pathlib import Path

from tests import programs

FUZZ = """
import sys
from pathlib import Path
import numpy as np
from domainjepa.data.opening import open_source
from domainjepa.errors import UserError

good = Path(sys.argv[1])
outcomes = {"array": 0, "message": 0}
for seed in range(int(sys.argv[2])):
    draw = np.random.default_rng(seed)
    content = bytearray(good.read_bytes())
    for place in draw.integers(len(content), size=draw.integers(1, 4)):
        content[place] ^= 1 << draw.integers(8)
    folder = good.parent / str(seed)
    folder.mkdir()
    bad = folder / good.name
    bad.write_bytes(content)
    try:
        source = open_source(folder if "folder" in sys.argv else bad)
        source.__getitems__(range(len(source)))
        outcomes["array"] += 1
    except UserError:
        outcomes["message"] += 1
assert min(outcomes.values()) > 0, outcomes
"""


def flip_bits(
    good: Path, times: int, *words: str, program: str = FUZZ, warnings: str = "default"
) -> None:
    """Opens copies of a file with a few bits flipped, in a process that may die of them.

    Args:
        good: the file.
        times: copies.
        words: "folder" opens the folder of each copy.
        program: what flips and opens.
        warnings: what becomes of them: default, ignore or error.
    """
    run = programs.run("-W", warnings, "-c", program, good, str(times), *words, timeout=120)
    assert run.returncode == 0, run.stderr[-2000:]
