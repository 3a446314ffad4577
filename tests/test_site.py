"""The pages of docs/: made from the code where they can be, linked, and built without a warning."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

import domainjepa
from domainjepa import settings
from domainjepa.cli import app
from tests.test_settings_page import reference

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
MADE = "commands.md"  # when the site is built
WRITTEN = sorted(page for page in DOCS.rglob("*.md") if page.name != MADE)
PAGES = [*WRITTEN, *sorted(ROOT.glob("*.md"))]


def prose(text: str) -> str:
    """A page without its code."""
    text = re.sub(r"^( *)(`{3,}).*?^\1\2$", "", text, flags=re.S | re.M)
    return re.sub(r"`[^`\n]*`", "", text)


def anchors(text: str) -> set[str]:
    """Anchors of the headings of a page, as GitHub makes them."""
    text = re.sub(r"^( *)(`{3,}).*?^\1\2$", "", text, flags=re.S | re.M)
    heads = re.findall(r"^#+ (.+)$", text, flags=re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def text_of(page: Path) -> str:
    made: str = reference.commands_page() if page == DOCS / MADE else page.read_text()
    return made


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page.read_text())):
        if re.match(r"https?://", link):
            continue
        place, _, anchor = link.partition("#")
        target = (page.parent / place).resolve() if place else page
        assert target.exists() or target == DOCS / MADE, link
        if anchor:
            assert anchor in anchors(text_of(target)), link


def test_links_and_anchors_are_told_as_github_makes_them() -> None:
    assert anchors("# A `b` c: d, e\n```sh\n# no\n```\n## What's here?\n") == {
        "a-b-c-d-e",
        "whats-here",
    }
    assert prose("x [a](b)\n```\n[c](d)\n```\n`[e](f)`\n").strip() == "x [a](b)"


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: page.stem)
def test_every_page_is_reached_from_the_first_one(page: Path) -> None:
    shown, left = set(), [DOCS / "index.md"]
    while left:
        one = left.pop()
        shown.add(one)
        for tree in re.findall(r"^```{toctree}\n(.*?)^```", one.read_text(), flags=re.S | re.M):
            names = [line for line in tree.splitlines() if line and not line.startswith(":")]
            found = [(one.parent / f"{name}.md").resolve() for name in names]
            left += [each for each in found if each.name != MADE and each not in shown]
    assert page in shown


def test_the_page_of_commands_has_every_command_and_option() -> None:
    page = reference.commands_page()
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        part = page.partition(f"## {name}\n")[2].partition("\n## ")[0]
        assert part, name
        for option in command.params:
            assert any(f"`{way}" in part for way in option.opts), (name, option.opts)
        assert all(example in part for example in command.examples)


def test_the_page_of_python_has_every_public_name() -> None:
    page = (DOCS / "api.md").read_text()
    for name in domainjepa.__all__:
        assert f"domainjepa.{name}" in page, name


def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    for package in ("sphinx", "myst_parser", "furo", "sphinx_copybutton"):
        pytest.importorskip(package, reason="the extra docs is not installed")
    quiet = ("-W", "--keep-going", "-q", "-d", str(tmp_path / "trees"))
    made = subprocess.run(
        [sys.executable, "-m", "sphinx", *quiet, str(DOCS), str(tmp_path / "site")],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert made.returncode == 0, made.stderr[-4000:]
    for page in WRITTEN:
        built = (tmp_path / "site" / page.relative_to(DOCS)).with_suffix(".html").read_text()
        assert "http://" not in re.sub(r'href="[^"]*"', "", built).replace("http://www.w3.org", "")
        assert not re.search(r'<(?:script|link|img)[^>]+(?:src|href)="https?:', built), page


def shown(language: str) -> list[tuple[str, str]]:
    """(page, block) of each fenced block in a language."""
    found = []
    for page in PAGES:
        for block in re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.S | re.M):
            found.append((str(page.relative_to(ROOT)), block))
    return found


COMMANDS = [
    (page, line)
    for page, block in shown("sh")
    for line in re.sub(r"\$\{\w+:-(.+?)\}", r"\1", block.replace("\\\n", " ")).splitlines()
    if line.startswith("domainjepa ")
]


@pytest.mark.parametrize(("page", "line"), COMMANDS)
def test_every_command_of_a_page_parses(page: str, line: str) -> None:
    _, name, *words = shlex.split(line, comments=True)
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    context = command.make_context(name, words)
    for assignment in context.params.get("set_") or ():
        settings.parse_assignment(assignment)


@pytest.mark.parametrize(("page", "block"), shown("python"))
def test_every_snippet_of_a_page_is_python(page: str, block: str) -> None:
    compile(block, page, "exec")
