from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from domainjepa.showing import is_text, shown
from tests import programs


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("Galaxie à droite", "Galaxie à droite"),
        ("a\u202egpj.exe", r"a\u202egpj.exe"),
        ("two\nlines\r\t", r"two\nlines\r\t"),
        (os.fsdecode(b"caf\xe9.png"), r"caf\xe9.png"),
        ("\u2028\u200b\x1b[31m\ud800", r"\u2028\u200b\x1b[31m\ud800"),
        ("星系 🌌", "星系 🌌"),
        ("", ""),
    ],
)
def test_what_would_move_hide_or_break_a_line_is_escaped(text: str, seen: str) -> None:
    assert shown(text) == seen
    assert shown(seen) == seen
    assert is_text([shown(text)])


def test_bytes_that_are_no_text_are_found() -> None:
    assert is_text(["星系", "a"])
    assert not is_text(["a", os.fsdecode(b"\xff")])


ODD = [b"caf\xe9", "evil\u202exe\nline".encode(), b"=1+1", b"a" * 200]


@pytest.fixture(scope="module")
def odd_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four classes with odd names, of files with odd names."""
    root = tmp_path_factory.mktemp("odd") / "pictures"
    draw = np.random.default_rng(0)
    for number in range(32):
        folder = os.path.join(os.fsencode(root), ODD[number % 4])  # noqa: PTH118
        os.makedirs(folder, exist_ok=True)  # noqa: PTH103
        values = draw.integers(0, 255, (32, 32, 3), np.uint8)
        with open(os.path.join(folder, b"\xff%d.png" % number), "wb") as file:  # noqa: PTH118, PTH123
            Image.fromarray(values).save(file, "PNG")
    return root


@pytest.mark.parametrize(
    "environment",
    [{"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "cp1252"}, {"LANG": "C", "LC_ALL": "C"}],
    ids=["ascii", "cp1252", "C"],
)
def test_every_encoding_of_a_terminal_will_do(
    environment: dict[str, str], odd_folder: Path, run: Path, tmp_path: Path
) -> None:
    script = (
        "import sys\nfrom domainjepa import cli\n"
        "for words in sys.argv[1].split('\\n'):\n"
        "    sys.argv = ['domainjepa', *words.split(' ')]\n"
        "    try: cli.main()\n"
        "    except SystemExit as end: assert not end.code, (words, end.code)\n"
    )
    data = f"--data {odd_folder} --set data.max_sample_bytes=1000000"
    commands = [
        f"inspect {data}",
        f"inspect {data} --json --out {tmp_path}/look.png",
        f"views --data {odd_folder} --domain natural --backbone test_resnet --out {tmp_path}/v.png",
        f"embed {run} {data} --out {tmp_path}/f.npz",
        f"embed {run} {data} --out {tmp_path}/f.h5",
        f"embed {run} {data} --out {tmp_path}/f.parquet",
        f"prepare {data} --out {tmp_path}/p.h5 --workers 0",
    ]
    words, env = ("-c", script, "\n".join(commands)), {**os.environ, **environment}
    if "LANG" in environment:  # read when Python starts
        told: dict[str, Any] = {"capture_output": True, "encoding": "utf-8", "errors": "replace"}
        done = subprocess.run([sys.executable, *words], env=env, check=False, **told)
    else:
        done = programs.run(*words, env=env)
    assert done.returncode == 0, done.stderr[-3_000:]
    assert "Traceback" not in done.stderr
    assert "\u202e" not in done.stdout
    assert r"\u202e" in done.stdout
    with np.load(tmp_path / "f.npz") as features:
        assert is_text(features["ids"].tolist()) if "ids" in features else True


def test_cells_that_a_spreadsheet_would_run_are_quoted(tmp_path: Path) -> None:
    from types import SimpleNamespace
    from typing import cast

    from domainjepa.evaluation.reporting.tables import write_csv
    from domainjepa.evaluation.results.records import Summary

    names = ["=cmd|' /C calc'!A0", "+1", "-1", "@x", "\t=1", "resnet18 -x", "tiny"]
    blank: dict[str, Any] = dict.fromkeys(Summary.__annotations__, -0.25)
    rows = [blank | {"encoder": name} for name in names]
    write_csv(cast(Any, SimpleNamespace(summary=rows)), tmp_path / "results.csv")
    with (tmp_path / "results.csv").open(newline="") as file:
        read = list(csv.DictReader(file))
    assert [row["encoder"] for row in read] == [f"'{name}" for name in names[:5]] + names[5:]
    assert {row["mean"] for row in read} == {"-0.25"}
