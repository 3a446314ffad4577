from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer

from domainjepa.cli import app

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
GUIDE = (ROOT / "docs" / "guide.md").read_text()
COMMANDS = [
    line.split("#")[0].strip()
    for block in re.findall(r"```sh\n(.*?)```", README + GUIDE, flags=re.S)
    for line in block.splitlines()
    if line.startswith("domainjepa ")
]


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_of_readme_and_guide_parses(line: str) -> None:
    _, name, *arguments = shlex.split(line)
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    command.make_context(name, arguments)


def test_the_objective_as_the_guide_shows_it() -> None:
    (code,) = [
        block
        for block in re.findall(r"```python\n(.*?)```", GUIDE, flags=re.S)
        if "LeJEPALoss" in block
    ]
    scope: dict[str, object] = {}
    exec(code, scope)
    assert scope["embeddings"].grad.isfinite().all()  # type: ignore[attr-defined]


def test_every_linked_page_is_there() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert links
    for link in links:
        assert (Path(__file__).parent.parent / link).exists(), link
