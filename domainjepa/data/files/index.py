"""Facts about many files, read once and kept: the second opening of a folder reads none of them.

A fact belongs to a name, a size and a time of writing, so a file that changes is read anew and
nothing else is. Names enter the index as hashes alone, since they may name patients.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from domainjepa.data.files.cache import cache_folder as cache_folder
from domainjepa.data.files.damage import reason
from domainjepa.data.remote.path import RemotePath, fetch_files
from domainjepa.errors import DataError, UserError
from domainjepa.reading import parse_json
from domainjepa.waiting import is_live
from domainjepa.writing import write_atomically

Fact = Any
"""Whatever JSON holds."""
MANY = 500
"""Files from which on a bar is shown, and facts are kept."""
READERS = 8
AT_ONCE = 512
"""Files that are fetched together, where they lie far away."""


def facts(
    root: Path, files: Sequence[str], kind: str, read: Callable[[Path], Fact]
) -> list[Fact | DataError]:
    """One fact for each file, from the index where it has them.

    Args:
        root: the folder.
        files: names below it.
        kind: what `read` finds, with a version that changes when `read` does, such as "dicom 1".
        read: path -> what JSON holds; runs in threads.

    Returns:
        In the order of the files; a DataError stands where a file cannot be read.
    """
    names = [_hidden(f"{root}{os.sep}", file) for file in files]
    place = cache_folder() / "index" / f"{_digest(f'{kind} {root}')}.json"
    known = _load(place) if len(files) >= MANY else {}
    missing = [number for number, name in enumerate(names) if name not in known]
    failed: dict[int, DataError] = {}

    def look(number: int) -> None:
        file = files[number]
        try:
            known[names[number]] = _as_kept(read(root / file))
        except Exception as error:  # decoders raise whatever comes to hand on damaged files
            said = str(error) if isinstance(error, UserError) else reason(error)
            failed[number] = DataError(f"{file} cannot be read: {said}")

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    console = Console(stderr=True)
    with (
        ThreadPoolExecutor(READERS) as pool,
        Progress(
            *columns,
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=len(missing) < MANY or not is_live(console),
        ) as progress,
    ):
        task = progress.add_task("indexing files", total=len(missing))
        step = AT_ONCE if isinstance(root, RemotePath) else max(len(missing), 1)
        for first in range(0, len(missing), step):
            numbers = missing[first : first + step]
            fetch_files(root / files[number] for number in numbers if step == AT_ONCE)
            for _ in pool.map(look, numbers):
                progress.advance(task)
    if missing and len(files) >= MANY:
        _keep(place, {name: known[name] for name in names if name in known})
    return [failed.get(number) or known[name] for number, name in enumerate(names)]


def _as_kept(fact: Fact) -> Fact:
    """What JSON makes of a fact: few files and many, the first opening and the second, are told
    the same; a number of NumPy's is a number."""
    return json.loads(json.dumps(fact, default=lambda value: value.item()))


def _hidden(root: str, file: str) -> str:
    status = os.stat(root + file)  # noqa: PTH116  (a fifth of the time)
    return _digest(f"{file} {status.st_size} {status.st_mtime_ns}")


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=12).hexdigest()


def _load(place: Path) -> dict[str, Fact]:
    try:
        found = parse_json(place.read_bytes())
    except (OSError, ValueError):
        return {}  # absent or damaged: read anew
    return found if isinstance(found, dict) else {}


def _keep(place: Path, known: dict[str, Fact]) -> None:
    # A cache that cannot be written costs time and nothing else.
    with contextlib.suppress(OSError, UserError):
        place.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(place, lambda file: file.write(json.dumps(known).encode()))
