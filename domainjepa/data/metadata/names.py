"""What the names of files say: labels, groups, split, ids and targets by `name:REGEX`.

The first group of the expression on the path below the root is the value. Expressions are RE2's
(https://github.com/google/re2/wiki/Syntax), as pyarrow has them: their time is linear in the name
whatever the user writes, so none can hang; look-around and back-references do not exist in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from domainjepa.data.metadata.fields import typed
from domainjepa.errors import DataError

NAMED = "name:"
MOST_PATTERN = 1_000
"""Characters."""


def matched(names: Sequence[str], pattern: str, group: int = 1) -> list[str]:
    """What a group of an expression matches in each name; "" where it matches nothing.

    Args:
        names: paths with `/`.
        pattern: RE2; searched for anywhere, so `^` begins a path.
        group: from 1.

    Raises:
        DataError: no such expression, or it has no such group.
    """
    import pyarrow as pa
    import pyarrow.compute as compute

    if len(pattern) > MOST_PATTERN:
        raise DataError(f"an expression has at most {MOST_PATTERN:,} characters")
    texts = pa.array([name.encode("utf-8", "replace").decode() for name in names], pa.string())
    try:
        # By itself first: in brackets, what is wrong with it could come to mean something.
        found = compute.match_substring_regex(texts, pattern=pattern)
        whole = rf"(?s)^.*?(?:{pattern}).*$"
        groups = compute.replace_substring_regex(texts, pattern=whole, replacement=rf"\{group}")
    except (pa.ArrowException, ValueError) as error:
        said = str(error).partition("\n")[0].rstrip(".")
        if "parenthesized subexpressions" in said or "Rewrite" in said:
            said = f"it has no group {group}: put what is looked for in ( )"
        raise DataError(f"the expression {pattern!r} cannot be used: {said}") from None
    kept: list[str] = compute.if_else(found, groups, "").to_pylist()
    return kept


def named_column(
    names: Sequence[str] | None, told: str, blank: Sequence[str] = (), *, hidden: bool = False
) -> NDArray[Any]:
    """(N,) the column `name:REGEX`: integers, numbers or text, as fields of a CSV file are typed.

    Args:
        names: of the files, one a sample; None where samples are not files of their own.
        told: `name:REGEX`.
        blank: what the user calls no value.
        hidden: names may be those of patients: no message shows one.

    Raises:
        DataError: there are no names, or the expression is wrong or matches none.
    """
    return typed(texts_of(names, told.removeprefix(NAMED), told, hidden=hidden), blank)


def texts_of(
    names: Sequence[str] | None, pattern: str, told: str, group: int = 1, *, hidden: bool = False
) -> list[str]:
    """What a group of an expression matches in the name of each sample's file.

    Args:
        told: what the user wrote, for messages.

    Raises:
        DataError: as `named_column`.
    """
    if names is None:
        raise DataError(f"{told}: the samples are not files of their own and have no names.")
    try:
        texts = matched(names, pattern, group)
    except DataError as error:
        raise DataError(f"{told}: {error}.") from error
    if not any(texts):
        such = "" if hidden else f", such as {names[0]!r}"
        raise DataError(f"{told}: the expression matches none of {len(names):,} names{such}.")
    return texts
