"""Finds dataset cards, recipes and evaluation protocols by name or by path.

They are TOML files in `datasets/`, `recipes/` and `eval/` of the repository and travel inside the
wheel as `domainjepa/_catalog/`; an editable install falls back on the repository.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from domainjepa.errors import UserError, did_you_mean

Kind = Literal["datasets", "recipes", "eval"]
_SINGULAR = {"datasets": "dataset card", "recipes": "recipe", "eval": "protocol"}
_PACKAGE = Path(__file__).resolve().parent


def folder(kind: Kind) -> Path:
    """The folder that holds the shipped files of one kind."""
    inside_wheel = _PACKAGE / "_catalog" / kind
    return inside_wheel if inside_wheel.is_dir() else _PACKAGE.parent / kind


def names(kind: Kind) -> list[str]:
    """The names of the shipped files of one kind, sorted."""
    return sorted(path.stem for path in folder(kind).glob("*.toml"))


def find(kind: Kind, name: str) -> Path:
    """The file behind a name or a path.

    Raises:
        UserError: there is no such name or file; the message lists near names.
    """
    if name in names(kind):
        return folder(kind) / f"{name}.toml"
    path = Path(name)
    if path.suffix == ".toml" and path.is_file():
        return path
    what = _SINGULAR[kind]
    raise UserError(f"no {what} {name!r}.{did_you_mean(name, names(kind))} A path ends in .toml.")
