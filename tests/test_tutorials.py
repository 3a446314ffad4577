"""The tutorials of docs/tutorials/, run as they stand there, in fewer steps."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import pytest
import tomli_w

from domainjepa.catalog import find
from tests import programs

TUTORIALS = Path(__file__).parent.parent / "docs" / "tutorials"
STEPS = "3"
"""In the place of what a page says, by the environment that the first page of them names."""
FEW = {"shots": [5], "draws": 2}
"""The same of a protocol."""
LESS = {"EACH": "20", "PATIENTS": "40", "FIELDS": "32"}
"""The same of the data that are made."""


def blocks(page: str) -> list[tuple[str, str]]:
    """(language, code) of each fenced block that a reader runs, in order."""
    return re.findall(r"^```(sh|python)\n(.*?)^```", page, flags=re.S | re.M)


def commands(code: str) -> list[list[str]]:
    """The words of each command of a shell block, where the environment names fewer steps, and a
    protocol of fewer draws in the current folder."""
    code = re.sub(r"\$\{STEPS:-\d+\}", STEPS, code.replace("\\\n", " "))
    code = re.sub(r"\$\{PROTOCOL:-(.+?)\}", r"quick-\1.toml", code)
    return [shlex.split(line, comments=True) for line in code.splitlines() if line.strip()]


@pytest.mark.parametrize(
    "page",
    sorted(page for page in TUTORIALS.glob("*.md") if page.stem != "index"),
    ids=lambda p: p.stem,
)
def test_a_tutorial_runs_as_it_stands(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STEPS", STEPS)
    for name, count in LESS.items():
        monkeypatch.setenv(name, count)
    for name in ("few-shot", "segmentation"):
        protocol = {**tomllib.loads(find("eval", name).read_text()), **FEW}
        protocol.pop("ladder", None)
        (tmp_path / f"quick-{name}.toml").write_text(tomli_w.dumps(protocol))
    scope: dict[str, object] = {"__name__": "__main__"}
    ran = blocks(page.read_text())
    assert ran
    for language, code in ran:
        if language == "python":
            exec(compile(code, page.name, "exec"), scope)
            continue
        for name, *words in commands(code):
            assert name == "domainjepa", name
            done = programs.run("-m", "domainjepa", *words, cwd=tmp_path)
            assert done.returncode == 0, (words, done.stderr[-3000:])


def test_the_commands_of_a_block() -> None:
    code = "domainjepa a \\\n  --steps ${STEPS:-200}  # so\n\ndomainjepa b ${PROTOCOL:-knn} 'x y'\n"
    assert commands(code) == [
        ["domainjepa", "a", "--steps", STEPS],
        ["domainjepa", "b", "quick-knn.toml", "x y"],
    ]
