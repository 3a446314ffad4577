"""One thread a process, said before numpy and torch are imported.

The processes of `make test` share the cores, small arrays gain nothing from threads, and sums are
in one order. Programs that tests start inherit it.
"""

import os

for library in ("OMP", "OPENBLAS", "MKL"):
    os.environ.setdefault(f"{library}_NUM_THREADS", "1")
