"""Long names in little room: they are cut in the middle, and stay apart."""

from __future__ import annotations

from collections.abc import Sequence

UNTRAINED = " untrained"
CLASS_LETTERS = 28
ENCODER_LETTERS = 28


def short(name: str, letters: int) -> str:
    """A name of one line and at most so many letters, cut in the middle."""
    name = " ".join(name.split())
    if len(name) <= letters:
        return name
    head = (letters - 1) // 2
    return f"{name[:head]}…{name[head + 1 - letters :]}"


def all_short(names: Sequence[str], letters: int) -> tuple[str, ...]:
    """Names cut so that no two of them become one."""
    found: list[str] = []
    for name in names:
        cut, number = short(name, letters), 2
        while cut in found:
            mark = f" ({number})"
            cut, number = short(name, letters - len(mark)) + mark, number + 1
        found.append(cut)
    return tuple(found)


def encoder_names(names: Sequence[str]) -> dict[str, str]:
    """Encoder -> its name in tables; the one untrained twin of an evaluation is just that."""
    twins = [name for name in names if name.endswith(UNTRAINED)]
    plain = [
        UNTRAINED.strip() if twins == [name] and UNTRAINED.strip() not in names else name
        for name in names
    ]
    return dict(zip(names, all_short(plain, ENCODER_LETTERS), strict=True))
