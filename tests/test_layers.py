"""Who may import whom: walked from the source, imports inside functions included."""

from __future__ import annotations

import ast
from pathlib import Path

import domainjepa

ROOT = Path(domainjepa.__file__).parent

# From the ground up; a module imports from its own layer and those below.
LAYERS = [
    {
        "errors",
        "registry",
        "catalog",
        "config",
        "settings",
        "distributed",
        "pictures",
        "signals",
        "launch",
        "writing",
    },
    {"data", "domains", "backbones"},
    {
        "checkpoint",
        "objective",
        "network",
        "views",
        "shortcuts",
        "volume_views",
        "resampling",
        "windows",
        "samples",
        "artefact",
        "encoder",
    },
    {"machine", "plan", "volume_plan", "evaluation", "inspect"},
    {"progress", "report", "run_folder", "batches", "state", "monitor", "pretraining"},
    {"embed", "demo", "selection", "export"},
    {"cli"},
    {"__main__", "__init__"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


def imports() -> list[tuple[str, str]]:
    """Pairs (importer, imported): first parts of the names below the package."""
    found = []
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            for name in names:
                first, *rest = name.split(".")
                if first == "domainjepa" and rest:
                    found.append((parts[0], rest[0]))
    return found


def test_every_module_has_its_layer() -> None:
    modules = {path.relative_to(ROOT).with_suffix("").parts[0] for path in ROOT.rglob("*.py")}
    assert modules - {"_catalog"} <= set(LEVEL), modules - set(LEVEL)


def test_no_module_imports_from_above() -> None:
    wrong = {
        (importer, imported)
        for importer, imported in imports()
        if imported in LEVEL and LEVEL[imported] > LEVEL[importer]
    }
    assert not wrong


def test_the_objective_knows_the_reductions_alone() -> None:
    allowed = {"objective", "distributed"}
    assert {b for a, b in imports() if a == "objective"} <= allowed


def test_evaluation_knows_nothing_of_pretraining() -> None:
    assert not {b for a, b in imports() if a == "evaluation"} & {
        "pretrain",
        "plan",
        "run_folder",
        "state",
    }


def test_no_drawer_for_leftovers() -> None:
    names = {path.stem for path in ROOT.rglob("*.py")}
    assert not names & {"utils", "util", "helpers", "misc", "common"}


def test_the_public_names_are_what_they_say_whatever_was_imported_before() -> None:
    import importlib

    for path in ROOT.glob("*.py"):
        if path.stem not in ("__init__", "__main__"):
            importlib.import_module(f"domainjepa.{path.stem}")
    for name in domainjepa.__all__:
        thing = getattr(domainjepa, name)
        assert callable(thing), name
        assert thing.__name__ == name
