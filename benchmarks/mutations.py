"""A fuzz of the project's own files: recipes, protocols, cards, encoders, metrics, manifests.

    PYTHONPATH=. python benchmarks/mutations.py --each 350 --out benchmarks/results/mutations.json

Each file is changed as accidents and attackers change it (`tests/mutations.py`) and read as the
commands read it. It must be read or refused in one message; anything else ends with status 1.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from rich.console import Console

from domainjepa.pretraining.run import pretrain
from tests.conftest import tiny, write_blobs
from tests.mutations import outcomes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--each", type=int, default=350, help="mutations of each kind of file")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    counts: dict[str, Counter[str]] = {}
    unexpected, slowest = [], 0.0
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        run, work = place / "run", place / "work"
        work.mkdir()
        pretrain(tiny(write_blobs(place / "blobs.h5")), run, console=Console(quiet=True))
        begun = time.process_time()
        for kind, number, told in outcomes(run, work, range(options.each)):
            slowest, begun = max(slowest, time.process_time() - begun), time.process_time()
            known = told in ("read", "refused")
            counts.setdefault(kind, Counter())[told if known else "unexpected"] += 1
            if not known:
                unexpected.append({"kind": kind, "number": number, "told": told[:300]})
    found = {
        "command": f"PYTHONPATH=. python benchmarks/mutations.py --each {options.each}",
        "mutations": sum(map(Counter.total, counts.values())),
        "outcomes": {kind: dict(one) for kind, one in counts.items()},
        "slowest_cpu_seconds": round(slowest, 2),
        "unexpected": unexpected,
    }
    text = json.dumps(found, indent=2) + "\n"
    sys.stdout.write(text)
    if options.out:
        options.out.write_text(text)
    sys.exit(bool(unexpected))


if __name__ == "__main__":
    main()
