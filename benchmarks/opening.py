"""How long a folder of many small files takes to open, the first time and the second.

Makes the files in a temporary folder, in ten sub-folders that are classes, and a table of their
paths. "First" has an empty cache of our own, "second" the cache that the first left, each in a
process of its own; the files themselves are in the page cache both times, since they were just
written. "template" is a table as that of MIMIC-CXR, whose paths are made of three columns: twenty
pictures a patient, five a study, each study a folder; the pictures are hard links.

    python benchmarks/opening.py --files 100000 --kinds png npy fits csv parquet \\
        --out benchmarks/results/opening-100000.json
    python benchmarks/opening.py --files 1000000 --kinds template \\
        --out benchmarks/results/opening-template-1000000.json
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
import os
import platform
import resource
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from PIL import Image
from rich.console import Console

from domainjepa.data.opening import open_source

PIXELS = np.random.default_rng(0).integers(0, 256, (16, 16), dtype=np.uint8)
TABLES = ("csv", "parquet")
TEMPLATE = "p{subject_id}/s{study_id}/{dicom_id}.png"
LINKS = 50_000
"""To one file, of which file systems allow no more than some 65,000."""


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


def make_studies(root: Path, files: int) -> Path:
    """A table of patients, studies and pictures, and the folders that it leads to."""
    one, linked = content("png"), Path()
    rows = [("subject_id", "study_id", "dicom_id", "label", "split")]
    for number in range(files):
        subject, study = f"{10_000_000 + number // 20}", f"{50_000_000 + number // 5}"
        dicom = hashlib.md5(str(number).encode(), usedforsecurity=False).hexdigest()
        file = root / "files" / f"p{subject}" / f"s{study}" / f"{dicom}.png"
        if number % 5 == 0:
            file.parent.mkdir(parents=True)
        if number % LINKS == 0:
            file.write_bytes(one)
            linked = file
        else:
            file.hardlink_to(linked)
        rows.append((subject, study, dicom, str(number % 14), "test" if number % 10 else "train"))
    with (root / "table.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return root / "table.csv"


def prepared(root: Path, kind: str, files: int) -> Path:
    """What is opened."""
    return make_studies(root / kind, files) if kind == "template" else make(root, kind, files)


def options_of(path: Path, kind: str) -> dict[str, str]:
    """By which options it is opened."""
    return {"root": str(path.parent / "files"), "images": TEMPLATE} if kind == "template" else {}


def apart(*calls: tuple[Any, ...]) -> Any:
    """What the last of these (function, arguments) gives, in a new process: memory is its own."""
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        return [process.submit(*call).result() for call in calls][-1]


def imported(path: Path, options: dict[str, str]) -> None:
    """Opens a small one, for what it imports."""
    open_source(path, **options)


def seconds(path: Path, files: int, options: dict[str, str]) -> dict[str, float]:
    """Wall clock, processor time and peak memory of one opening."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    load = round(os.getloadavg()[0], 1)
    wall, processor = time.perf_counter(), time.process_time()
    source = open_source(path, **options)
    taken = {
        "seconds": round(time.perf_counter() - wall, 3),
        "processor_seconds": round(time.process_time() - processor, 3),
        "peak_MiB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "MiB_before": round(before / 1024),
        "load_average": load,
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
        for kind in arguments.kinds:
            few = apart((prepared, Path(folder) / "few", kind, 10))
            few_options = options_of(few, kind)
            path = apart((prepared, Path(folder) / "many", kind, arguments.files))
            opening = (seconds, path, arguments.files, options_of(path, kind))
            results[kind] = {
                turn: apart((imported, few, few_options), opening) for turn in ("first", "second")
            }
    text = json.dumps(
        {
            "command": f"python benchmarks/opening.py --files {arguments.files} "
            f"--kinds {' '.join(arguments.kinds)}",
            "machine": f"{platform.machine()}, {os.cpu_count()} processors, "
            f"Python {platform.python_version()}",
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
