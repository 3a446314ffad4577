"""A patient's name, planted wherever there is room for it, is in nothing that is written.

By construction: every function of the package that writes a file must run here, under names that
would be found. A new writer makes the last test fail until a command below reaches it.
"""

from __future__ import annotations

import ast
import csv
import io
import sys
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FrameType

import h5py
import numpy as np
import pytest
import typer
from PIL import Image

import domainjepa
from domainjepa import cli
from domainjepa.data.files import index
from domainjepa.data.formats.archives import index as archives
from domainjepa.data.formats.tables import kept
from tests.data.formats.dicom.test_dicom_privacy import CANARY, contents, plant

PACKAGE = Path(domainjepa.__file__).parent
NAMES_NOBODY = {
    ("data/simulated/survey.py", "simulate_survey"): "galaxies that were never there",
    ("doctor/doctor.py", "_galaxies"): "the same, in a folder that is gone again",
    ("data/remote/objects.py", "take"): "a copy of the data, in the cache, for the user alone",
    ("data/remote/objects.py", "_download"): "the same",
    ("data/remote/mirror.py", "_remove"): "an empty file to lock",
    ("data/remote/mirror.py", "__init__"): "the same",
}
"""Writers that no data of the user's reach, and why."""


def writers() -> set[tuple[str, str]]:
    """(file, function) of the package that write a file, or may: told by what they call."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef) and any(
                isinstance(node, ast.Call) and _writes(node) for node in ast.walk(function)
            ):
                found.add((path.relative_to(PACKAGE).as_posix(), function.name))
    return found


ALWAYS = {
    "write_atomically", "write_text", "write_bytes", "savefig", "savez", "savez_compressed",
    "save_for_hf", "write_table", "create_group", "tofile", "dump", "save_file", "touch", "mkstemp",
    "NamedTemporaryFile", "TemporaryDirectory", "to_csv", "to_parquet", "imwrite", "writestr",
}  # fmt: skip
BY_MODE = {"open", "File", "open_group", "ZipFile", "TarFile", "fdopen"}


def _writes(call: ast.Call) -> bool:
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    if name in ALWAYS:
        return True
    modes = [*call.args, *(word.value for word in call.keywords if word.arg == "mode")]
    return name in BY_MODE and any(
        isinstance(one, ast.Constant)
        and isinstance(one.value, str)
        and one.value.rstrip("bt+") in ("w", "a", "x", "r")
        and (one.value[0] != "r" or "+" in one.value)
        for mode in modes
        for one in ast.walk(mode)
    )


@pytest.fixture
def called() -> Iterator[dict[int, CodeType]]:
    """The code of every function that runs meanwhile."""
    found: dict[int, CodeType] = {}

    def note(frame: FrameType, event: str, argument: object) -> None:
        found[id(frame.f_code)] = frame.f_code  # None: nothing is noted of its lines

    sys.settrace(note)  # a profile would stop at the functions of C, too
    threading.settrace(note)
    yield found
    sys.settrace(None)
    threading.settrace(None)  # type: ignore[arg-type]


def pictures(folder: Path) -> Path:
    """A table, a tar and a folder of pictures that are called after a patient."""
    draw = np.random.default_rng(0)
    folder.mkdir()
    with (
        tarfile.open(folder / f"{CANARY}.tar", "w") as archive,
        (folder / f"{CANARY}.csv").open("w", newline="") as table,
    ):
        rows = csv.writer(table)
        rows.writerow(["path", "patient", "comment"])
        for number in range(24):
            name = f"{CANARY}_{number}.png"
            buffer = io.BytesIO()
            values = draw.integers(0, 255, (32, 32, 3), np.uint8)
            Image.fromarray(values).save(buffer, "PNG")
            (folder / name).write_bytes(buffer.getvalue())
            entry = tarfile.TarInfo(name)
            entry.size = buffer.tell()
            archive.addfile(entry, io.BytesIO(buffer.getvalue()))
            rows.writerow([name, f"{CANARY}{number % 6}", CANARY])
    return folder


def pairs(folder: Path) -> Path:
    """Pictures and masks of theirs that are called after a patient."""
    draw = np.random.default_rng(0)
    for number in range(9):
        values = draw.integers(0, 1000, (32, 32)).astype(np.uint16)  # as those of the scans
        for kind, one in (("image", values), ("label", (values > 400).astype(np.uint8))):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(one).save(folder / kind / f"{CANARY}_{number}.png")
    return folder


def volume(folder: Path) -> None:
    """A volume that is called after a patient, to be taken for one that is too large."""
    values = np.random.default_rng(0).integers(0, 1000, (40, 40, 40), np.uint16)
    with h5py.File(folder / f"{CANARY}.h5", "w") as file:
        told = file.create_dataset("raw", data=values, chunks=(8, 8, 8)).attrs
        told["patient"], told["comment"] = CANARY, CANARY


def commands(out: Path, table: Path) -> list[list[str]]:
    small = [
        *("--backbone", "test_vit", "--batch-size", "8", "--steps", "3"),
        *("--set", "data.workers=0", "--set", "projector.hidden=32", "--set", "projector.out=8"),
        *("--set", "views.num_local=0", "--set", "objective.num_slices=16"),
        *("--set", "backbone.stem_reduction=1", "--set", "log.every_steps=1"),
    ]
    data, run = ["--data", "."], f"{out}/run"
    return [
        ["inspect", *data, "--json", "--out", f"{out}/montage.png"],
        ["views", *data, "--out", f"{out}/views.png"],
        ["pretrain", *data, *small, "--out", run, "--track", "tests.tracking.fakes:Recorder"],
        ["watch", run, "--once"],
        ["pretrain", *data, *small, "--init", run, "--set", "checkpoint.encoders_every=2",
         "--out", f"{out}/begun"],
        ["pretrain", *data, "--extend", run, "--steps", "2", "--out", f"{out}/longer"],
        ["evaluate", run, *data, "--protocol", "knn", "--baseline", "pixels", "--maps", "0,1",
         "--out", f"{out}/scores"],
        *(["embed", run, *data, "--out", f"{out}/f.{kind}"]
          for kind in ("npz", "h5", "parquet", "zarr", "fits")),
        *(["embed", run, *data, "--patches", "--out", f"{out}/patches.{kind}"]
          for kind in ("h5", "zarr")),
        *(["prepare", *data, "--out", f"{out}/p.{kind}", "--workers", "0"]
          for kind in ("h5", "zarr")),
        ["inspect", *data, "--set", "data.tile=16"],
        ["export", run, "--to", "onnx", "--out", f"{out}/encoder.onnx"],
        ["export", run, "--to", "timm", "--out", f"{out}/timm"],
        ["export", run, "--to", "sklearn", *data, "--out", f"{out}/encoder.skops"],
        ["similar", run, *data, "--query", "0,1", "--out", f"{out}/alike.png",
         "--csv", f"{out}/alike.csv"],
        ["outliers", run, *data, "--features", f"{out}/f.h5", "--out", f"{out}/odd.png",
         "--csv", f"{out}/odd.csv"],
        ["explore", run, *data, "--features", f"{out}/f.h5", "--axes", "pca",
         "--out", f"{out}/explore.html"],
        ["explore", run, *data, "--axes", "pca", "--out", f"{out}/explorer"],
        ["label", run, *data, "--suspects", "--csv", f"{out}/doubt.csv",
         "--out", f"{out}/doubt.png"],
        ["label", run, *data, "--labels", f"{table}/filled.csv", "--answers", f"{out}/answers.csv"],
        ["select", run],
        ["share", run, "--out", f"{out}/shared", "--evaluation", f"{out}/scores"],
        ["inspect", "--data", f"{table}/{CANARY}.csv", "--out", f"{out}/table.png"],
        ["inspect", "--data", f"{table}/{CANARY}.tar", "--out", f"{out}/tar.png"],
        ["prepare", "--data", f"{table}/{CANARY}.h5", "--out", f"{out}/volume.zarr",
         "--workers", "0", "--set", "data.dimensions=3", "--set", "data.max_sample_bytes=20000"],
        ["evaluate", run, "--data", f"{table}/pairs", "--baseline", "intensity",
         "--protocol", f"{table}/short.toml", "--out", f"{out}/masks"],
    ]  # fmt: skip


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    return plant(tmp_path / "data" / f"{CANARY}_ROOT")


def test_nothing_that_is_written_names_a_patient_and_every_writer_was_asked(
    planted: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    called: dict[int, CodeType],
) -> None:
    out, cache, table = tmp_path / "out", tmp_path / "cache", pictures(tmp_path / "pictures")
    pairs(table / "pairs")
    volume(table)
    (table / "short.toml").write_text(
        'name = "masks"\nfeatures = "patches"\nprobe = "linear"\nshots = ["all"]\n'
    )
    filled = "".join(f"{row},{'ab'[row % 2]}\n" for row in range(6))
    (table / "filled.csv").write_text(f"row,label\n{filled}")
    out.mkdir()
    monkeypatch.setenv("DOMAINJEPA_CACHE", str(cache))
    for module in (index, archives, kept):
        monkeypatch.setattr(module, "MANY", 4)  # indices are written for many files alone
    monkeypatch.setenv("RECORDED", str(out / "tracked.jsonl"))
    monkeypatch.chdir(planted)  # the path that is typed may be printed: here it names nobody
    for command in commands(out, table):
        monkeypatch.setattr(sys, "argv", ["domainjepa", *command])
        status = 0
        try:
            cli.main()
        except SystemExit as end:
            status = int(end.code or 0)
        except typer.Exit as end:
            status = end.exit_code
        printed = capfd.readouterr()
        typed = CANARY in " ".join(command)
        wrong = [line for line in (printed.out + printed.err).splitlines() if CANARY in line]
        assert typed or not wrong, (command, wrong)
        assert status == 0, (command, printed.err)
    everything = [*contents(out), *contents(cache)]
    names = {name for name, _ in everything}
    assert {"montage.png", "views.png", "encoder.safetensors", "f.npz", "encoder.onnx"} <= names
    for name, content in everything:
        for code in ("utf-8", "utf-16-le", "utf-32-le"):
            assert CANARY.encode(code) not in content, name
            assert str(tmp_path).encode(code) not in content, name
    sys.settrace(None)  # what follows would add to what is counted
    ran = {
        (Path(code.co_filename).relative_to(PACKAGE).as_posix(), code.co_name)
        for code in list(called.values())
        if code.co_filename.startswith(str(PACKAGE))
    }
    unasked = writers() - ran - NAMES_NOBODY.keys()
    assert not unasked, "these write files, and no command above reaches them"


def test_a_new_writer_would_be_found() -> None:
    assert len(writers()) > 20
    assert ("embed/parts.py", "put") in writers()
    for text, found in {
        "open(p, 'w')": True, "p.open('ab')": True, "p.open()": False, "p.open('rb')": False,
        "h5py.File(p, 'r')": False, "h5py.File(p, 'r+' if x else 'w')": True,
        "write_atomically(p, f)": True, "figure.savefig(p)": True, "open(p, mode='x')": True,
    }.items():  # fmt: skip
        (call,) = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
        assert _writes(call) is found, text
