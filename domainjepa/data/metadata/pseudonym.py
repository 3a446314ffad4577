"""Hashes in the place of identifiers: equal where these are equal, and of no other use.

The way back is through the original data alone: `pseudonym("id", "ISIC_0012345")` of every id that
one has, compared with those of a file (BLAKE2b, RFC 7693). They cannot be turned round, but who
tries all short patient numbers finds the one.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray


def pseudonym(what: str, value: str) -> str:
    """16 hexadecimal digits.

    Args:
        what: the identifier is, such as id or patient: equal values of two kinds have two hashes.
        value: the identifier.
    """
    text = value.encode("utf-8", "surrogateescape")
    return hashlib.blake2b(text, digest_size=8, key=what.encode()).hexdigest()


def pseudonyms(what: str, values: NDArray[np.str_]) -> NDArray[np.str_]:
    """(N,) hashes."""
    hashes = {one: pseudonym(what, one) for one in set(values.tolist())}
    return np.array([hashes[one] for one in values.tolist()])
