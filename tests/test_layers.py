"""Who may import whom: walked from the source, imports inside functions included."""

from __future__ import annotations

import ast
import importlib
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import domainjepa

ROOT = Path(domainjepa.__file__).parent

# From the ground up; a module imports from its own layer and those below.
LAYERS = [
    {
        "errors",
        "braille",
        "registry",
        "catalog",
        "config",
        "settings",
        "showing",
        "devices",
        "distributed",
        "fork_server",
        "lifeline",
        "locking",
        "pictures",
        "reading",
        "signals",
        "waiting",
        "writing",
    },
    {"data", "domains", "backbones", "objective", "tracking"},
    {"views"},
    {"encoder"},
    {"pretraining", "evaluation"},
    {
        "inspection",
        "embed",
        "embed_patches",
        "demo",
        "selection",
        "export",
        "watch",
        "doctor",
        "sharing",
    },
    {"discovery"},
    {"cli"},
    {"__main__", "__init__"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
FILES = {
    ".".join(("domainjepa", *path.relative_to(ROOT).with_suffix("").parts)): path
    for path in sorted(ROOT.rglob("*.py"))
}


def file_of(name: str) -> str | None:
    """The file that a dotted name of an import is in: a module, or a package's own."""
    while name:
        for candidate in (name, f"{name}.__init__"):
            if candidate in FILES:
                return candidate
        name = name.rpartition(".")[0]
    return None


def imports() -> dict[str, set[str]]:
    """File -> the files that it names in an import, anywhere in it."""
    found: dict[str, set[str]] = {}
    for importer, path in FILES.items():
        names: list[str] = []
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert not node.level, f"{importer}: imports are absolute"
                names += [f"{node.module}.{alias.name}" for alias in node.names]
        ours = {file_of(name) for name in names if name.partition(".")[0] == "domainjepa"}
        found[importer] = {name for name in ours if name is not None} - {importer}
    return found


def room(name: str) -> str:
    """The first part of a name below the package."""
    return name.split(".")[1]


def rooms() -> set[tuple[str, str]]:
    """Pairs (importer, imported) of rooms."""
    return {(room(a), room(b)) for a, names in imports().items() for b in names}


def test_every_room_has_its_layer() -> None:
    assert {room(name) for name in FILES} == set(LEVEL)


def test_no_room_imports_from_above() -> None:
    # The package itself holds the public names and the version: anyone may ask for those.
    wrong = {(a, b) for a, b in rooms() if b != "__init__" and LEVEL[b] > LEVEL[a]}
    assert not wrong


def test_no_file_imports_one_that_imports_it() -> None:
    # Two files that lead to each other are one concept, or a concept is missing between them.
    tree = {a: names - {"domainjepa.__init__"} for a, names in imports().items()}
    try:
        TopologicalSorter(tree).prepare()
    except CycleError as error:
        raise AssertionError(f"a circle of imports: {' -> '.join(error.args[1])}") from None


def test_a_circle_would_be_found() -> None:
    assert file_of("domainjepa.data.source.Source") == "domainjepa.data.source"
    assert file_of("domainjepa.backbones.Backbone") == "domainjepa.backbones.__init__"
    # Imported inside a function, and under TYPE_CHECKING.
    assert "domainjepa.pretraining.run" in imports()["domainjepa.cli.learn"]
    assert "domainjepa.config" in imports()["domainjepa.cli.learn"]


def test_the_objective_knows_the_reductions_alone() -> None:
    assert {b for a, b in rooms() if a == "objective"} <= {"objective", "distributed"}


def test_evaluation_and_pretraining_know_nothing_of_each_other() -> None:
    assert not rooms() & {("evaluation", "pretraining"), ("pretraining", "evaluation")}


LONG = {
    "domainjepa.pretraining.plan.make_plan": "one list of decisions, each from those before",
}
"""Functions above a screen, and why none of their parts has a name of its own."""


def lines(function: ast.FunctionDef) -> int:
    """Of the body: a signature may be the options of a command, a docstring explains."""
    first = function.body[ast.get_docstring(function) is not None :] or function.body
    return (function.end_lineno or 0) - first[0].lineno + 1


def test_functions_fit_a_screen() -> None:
    every = {
        f"{name}.{node.name}": lines(node)
        for name, path in FILES.items()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
    }
    assert {name for name, length in every.items() if length > 60} <= set(LONG)
    assert set(LONG) <= set(every)


def test_no_drawer_for_leftovers() -> None:
    names = {path.stem for path in ROOT.rglob("*.py")}
    assert not names & {"utils", "util", "helpers", "misc", "common"}


def test_the_tests_stand_where_the_code_stands() -> None:
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"cli"}
    assert packages <= {path.name for path in Path(__file__).parent.iterdir() if path.is_dir()}


def test_the_public_names_are_what_they_say_whatever_was_imported_before() -> None:
    for path in ROOT.glob("*.py"):
        if path.stem not in ("__init__", "__main__"):
            importlib.import_module(f"domainjepa.{path.stem}")
    for name in domainjepa.__all__:
        thing = getattr(domainjepa, name)
        assert callable(thing), name
        assert thing.__name__ == name
