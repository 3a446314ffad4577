"""How fast samples are read: each loader's own path against its library's bare loop.

Random images, 256x256x3 uint8, in files that are written first and stay in the page cache; one
process, random order, batches of 64. Loader and bare loop take turns, so that whatever else the
machine does falls on both; the ratio is the median over the turns. Tar and Parquet hold the images
as JPEG, and both sides decode them by Pillow; Parquet has 100 rows a group, and is held against
two loops: one reads a sample's row group each time, the other has the whole column in memory.
`peak_mb` is the memory of a process that opens the set and reads all of it once, at random.

    python benchmarks/loading.py --out benchmarks/results/loading-cpu.json
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zarr
from astropy.io import fits
from PIL import Image
from rich.console import Console
from rich.table import Table

from domainjepa.data.opening import open_source
from domainjepa.data.packing.prepare import prepare

SHAPE = (256, 256, 3)
BATCH = 64
Read = Callable[[list[int]], Any]


GROUP = 100
"""Rows of a row group, as Hugging Face's `datasets` writes pictures."""
PEAK = """
import re, sys
from pathlib import Path
import numpy as np
from domainjepa.data.opening import open_source
source = open_source(sys.argv[1])
order = np.random.default_rng(1).permutation(len(source)).tolist()
for at in range(0, len(order), 64):
    source.__getitems__(order[at : at + 64])
# Of this program alone: what getrusage tells is handed down by the process that started it.
print(int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024)
"""


def decoded(content: bytes) -> Any:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def encoded(folder: Path, images: Any) -> dict[str, tuple[Path, Read]]:
    """The same for JPEG in a tar and in a Parquet file."""
    pictures = []
    for image in images:
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=90)
        pictures.append(file.getvalue())
    tar, parquet = folder / "set.tar", folder / "set.parquet"
    with tarfile.open(tar, "w") as archive:
        for row, content in enumerate(pictures):
            member = tarfile.TarInfo(f"{row:06}.jpg")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    rows = [{"bytes": content, "path": None} for content in pictures]
    pq.write_table(pa.table({"image": rows}), parquet, row_group_size=GROUP)
    archive = tarfile.open(tar)  # noqa: SIM115  (open for as long as its loop is used)
    members = archive.getmembers()
    file = pq.ParquetFile(parquet, memory_map=True)
    column = file.read(columns=["image.bytes"]).column(0)

    def of_tar(rows: list[int]) -> list[Any]:
        return [decoded(archive.extractfile(members[row]).read()) for row in rows]

    def of_group(rows: list[int]) -> list[Any]:
        found = []
        for row in rows:
            group = file.read_row_group(row // GROUP, columns=["image.bytes"], use_threads=False)
            found.append(decoded(group.column(0)[row % GROUP]["bytes"].as_py()))
        return found

    def of_memory(rows: list[int]) -> list[Any]:
        return [decoded(column[row]["bytes"].as_py()) for row in rows]

    return {
        "tar of JPEG": (tar, of_tar),
        "Parquet of JPEG, against its row groups": (parquet, of_group),
        "Parquet of JPEG, against all in memory": (parquet, of_memory),
    }


def peak_mb(path: Path) -> int:
    """Memory of a process that reads all samples once, at random."""
    run = subprocess.run([sys.executable, "-c", PEAK, path], capture_output=True, check=True)
    return int(run.stdout)


def made(folder: Path, samples: int) -> dict[str, tuple[Path, Read]]:
    """Title -> what the loader opens, and the library's bare loop over rows."""
    images = np.random.default_rng(0).integers(0, 256, (samples, *SHAPE), dtype=np.uint8)
    plain, store, folder_of_fits = folder / "plain.h5", folder / "plain.zarr", folder / "fits"
    with h5py.File(plain, "w") as file:
        file.create_dataset("images", data=images, chunks=(1, *SHAPE))
    zarr.create_array(store, data=images, chunks=(1, *SHAPE), compressors=None)
    folder_of_fits.mkdir()
    names = [folder_of_fits / f"{row:06}.fits" for row in range(samples)]
    for name, image in zip(names, images, strict=True):
        fits.PrimaryHDU(np.ascontiguousarray(np.moveaxis(image, -1, 0))).writeto(name)
    source = open_source(plain)
    for out in (folder / "prepared.h5", folder / "prepared.zarr"):
        prepare(source, out, workers=0, console=Console(quiet=True))

    def h5py_loop(path: Path) -> Read:
        images = h5py.File(path)["images"]

        def read(rows: list[int]) -> list[Any]:
            buffer = np.empty((len(rows), *SHAPE), np.uint8)
            for place, row in enumerate(rows):
                images.read_direct(buffer, np.s_[row], np.s_[place])
            return list(buffer)

        return read

    def zarr_loop(path: Path, name: str = "") -> Read:
        array = zarr.open_array(path, path=name, mode="r")
        return lambda rows: [array[row] for row in rows]

    return {
        "HDF5, a sample a chunk": (plain, h5py_loop(plain)),
        "HDF5, prepared (checksums)": (folder / "prepared.h5", h5py_loop(folder / "prepared.h5")),
        "Zarr, a sample a chunk": (store, zarr_loop(store)),
        "Zarr, prepared (shards, checksums)": (
            folder / "prepared.zarr",
            zarr_loop(folder / "prepared.zarr", "images"),
        ),
        "FITS, a file a sample": (
            folder_of_fits,
            lambda rows: [fits.getdata(names[row]) for row in rows],
        ),
    } | encoded(folder, images)


def cpu_name() -> str:
    """The processor as Linux names it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next(line.partition(": ")[2] for line in lines if line.startswith("model name"))


def rate(read: Read, batches: list[list[int]]) -> float:
    """Samples a second."""
    start = time.perf_counter()
    for batch in batches:
        read(batch)
    return sum(map(len, batches)) / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--samples", type=int, default=2048)
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--only", default="", help="rows whose titles hold this")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    table = Table("", "samples/s", "bare loop", "ratio")
    results = []
    with tempfile.TemporaryDirectory() as name:
        for title, (path, bare) in made(Path(name), arguments.samples).items():
            if arguments.only not in title:
                continue
            source = open_source(path)
            order = np.random.default_rng(1).permutation(arguments.samples).tolist()
            if path.suffix != ".h5":
                order = order[: arguments.samples // 4]  # the slower ones
            batches = [order[at : at + BATCH] for at in range(0, len(order), BATCH)]
            for batch in batches[:2]:  # they agree
                for ours, theirs in zip(source.__getitems__(batch), bare(batch), strict=True):
                    same = theirs if theirs.shape == SHAPE else np.moveaxis(theirs, 0, -1)
                    np.testing.assert_array_equal(ours, same)
            rates = [
                (rate(source.__getitems__, batches), rate(bare, batches))
                for _ in range(arguments.turns)
            ]
            ours, theirs = (statistics.median(side) for side in zip(*rates, strict=True))
            ratio = statistics.median(one / other for one, other in rates)
            best = max(one for one, _ in rates)
            results.append(
                {
                    "data": title,
                    "samples_per_s": ours,
                    "best_samples_per_s": best,
                    "bare_loop_samples_per_s": theirs,
                    "ratio": ratio,
                }
                | ({"peak_mb": peak_mb(path)} if path.suffix in (".tar", ".parquet") else {})
            )
            table.add_row(title, f"{ours:,.0f}", f"{theirs:,.0f}", f"{ratio:.2f}")
    Console().print(table)
    if arguments.out:
        versions = (
            f"h5py {h5py.__version__}, zarr {zarr.__version__}, numpy {np.__version__}, "
            f"pyarrow {pa.__version__}"
        )
        document = {
            "command": f"python benchmarks/loading.py --samples {arguments.samples} "
            f"--turns {arguments.turns}" + (f" --only {arguments.only}" if arguments.only else ""),
            "machine": f"{cpu_name()}, one process, page cache warm; {versions}",
            "shape": SHAPE,
            "results": results,
        }
        arguments.out.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
