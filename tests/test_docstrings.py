"""What is public says what it is: every function and class, and the public names with shapes."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

import domainjepa

ROOT = Path(domainjepa.__file__).parent


def public() -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]]:
    """Module-level functions and classes without an underscore, and files themselves."""
    for path in sorted(ROOT.rglob("*.py")):
        tree = ast.parse(path.read_text())
        place = path.relative_to(ROOT).as_posix()
        assert ast.get_docstring(tree) or path.name == "__main__.py", place
        for node in tree.body:
            named = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            if named and not node.name.startswith("_"):  # type: ignore[union-attr]
                yield f"{place}: {node.name}", node  # type: ignore[misc]


def test_every_public_function_and_class_has_a_docstring() -> None:
    found = list(public())
    assert len(found) > 500
    assert [name for name, node in found if not ast.get_docstring(node)] == []


SHAPES = {
    "FrozenEncoder.transform": ("(N, H, W", "(N, D) float32", "DataError", "UserError"),
    "FrozenEncoder.patches": ("Args:", "Raises:"),
    "LeJEPALoss.forward": ("(V, N, K)", "Raises:"),
    "SIGReg.forward": ("(V, N, K)", "Raises:"),
    "SIGReg.statistic_of": ("(..., N, M)",),
    "load_backbone": ("Args:", "UserError"),
    "open_source": ("Args:", "Raises:"),
    "pretrain": ("Args:", "Raises:"),
    "evaluate": ("Args:", "Raises:"),
    "Network": ("(N,",),
}
"""What the docstrings of the public names must say: shapes, dtypes, errors."""


@pytest.mark.parametrize("name", [*SHAPES, "PretrainConfig", "UserError"])
def test_the_public_names_say_shapes_and_errors(name: str) -> None:
    first, *rest = name.split(".")
    thing = getattr(domainjepa, first)
    for part in rest:
        thing = getattr(thing, part)
    text = inspect.getdoc(thing) or ""
    assert [word for word in SHAPES.get(name, ()) if word not in text] == []
    assert len(text) > 40
    if not inspect.isclass(thing):
        given = set(inspect.signature(thing).parameters) - {"self"}
        assert {one for one in given if one not in text} == set()


def test_every_public_name_is_asked() -> None:
    asked = {name.split(".")[0] for name in SHAPES} | {"PretrainConfig", "UserError"}
    assert asked == set(domainjepa.__all__)
