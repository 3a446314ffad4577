"""How long a folder of many small files takes to open, the first time and the second.

Makes the files in a temporary folder, in ten sub-folders that are classes, and a table of their
paths. "First" has an empty cache of our own, "second" the cache that the first left; the files
themselves are in the page cache both times, since they were just written.

    python benchmarks/opening.py --files 100000 --kinds png npy fits csv parquet \\
        --out benchmarks/results/opening-100000.json
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import platform
import tempfile
import time
from pathlib import Path

import numpy as np
from astropy.io import fits
from PIL import Image
from rich.console import Console

from domainjepa.data.opening import open_source

PIXELS = np.random.default_rng(0).integers(0, 256, (16, 16), dtype=np.uint8)
TABLES = ("csv", "parquet")


def content(kind: str) -> bytes:
    """One small file."""
    stream = io.BytesIO()
    if kind == "png":
        Image.fromarray(PIXELS).save(stream, "PNG")
    elif kind == "npy":
        np.save(stream, PIXELS)
    else:
        fits.PrimaryHDU(PIXELS).writeto(stream)
    return stream.getvalue()


def make(root: Path, kind: str, files: int) -> Path:
    """A folder of files, or a table of PNG files beside them."""
    suffix = "png" if kind in TABLES else kind
    folder = root / suffix
    names = [f"class_{number % 10}/{number:07}.{suffix}" for number in range(files)]
    if not folder.exists():
        one = content(suffix)
        for number in range(10):
            (folder / f"class_{number}").mkdir(parents=True)
        for name in names:
            (folder / name).write_bytes(one)
    labels = [number % 10 for number in range(files)]
    if kind == "csv":
        with (folder / "table.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("path", "label"), *zip(names, labels, strict=True)])
    if kind == "parquet":
        import pyarrow
        from pyarrow.parquet import write_table

        write_table(pyarrow.table({"path": names, "label": labels}), folder / "table.parquet")
    return folder / f"table.{kind}" if kind in TABLES else folder


def seconds(path: Path, files: int) -> dict[str, float]:
    """Wall clock and processor time of one opening."""
    wall, processor = time.perf_counter(), time.process_time()
    source = open_source(path)
    taken = {
        "seconds": round(time.perf_counter() - wall, 3),
        "processor_seconds": round(time.process_time() - processor, 3),
    }
    if len(source) != files:
        raise SystemExit(f"{len(source)} samples of {files} files")
    return taken


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--kinds", nargs="+", default=["png", "npy", "csv", "parquet"])
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["DOMAINJEPA_CACHE"] = f"{folder}/cache"
        for kind in arguments.kinds:  # imports
            open_source(make(Path(folder) / "few", kind, 10))
        for kind in arguments.kinds:
            path = make(Path(folder) / "many", kind, arguments.files)
            results[kind] = {
                "first": seconds(path, arguments.files),
                "second": seconds(path, arguments.files),
            }
    text = json.dumps(
        {
            "command": f"python benchmarks/opening.py --files {arguments.files} "
            f"--kinds {' '.join(arguments.kinds)}",
            "machine": f"{platform.machine()}, {os.cpu_count()} processors, "
            f"Python {platform.python_version()}",
            "load_average": round(os.getloadavg()[0], 1),
            "files": arguments.files,
            "opening": results,
        },
        indent=2,
    )
    Console().print_json(text)
    if arguments.out:
        arguments.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
