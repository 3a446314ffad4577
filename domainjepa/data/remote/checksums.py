"""Whether what came of an object is what its store tells of it."""

from __future__ import annotations

from domainjepa.data.remote import listing
from domainjepa.data.remote.addresses import bucket, public
from domainjepa.data.remote.listing import MD5
from domainjepa.data.remote.mirror import Held
from domainjepa.errors import DataError

_came: dict[str, str] = {}
_without_md5: set[str] = set()


def md5_of(held: Held) -> str | None:
    """The MD5 that a store tells of an object, in hexadecimal; None where it tells none."""
    if not held.etag.startswith(MD5) or bucket(held.url) in _without_md5:
        return None
    return held.etag.removeprefix(MD5)


def is_as_told(held: Held, asked: str, came: str) -> bool:
    """Whether what came is what the store tells by its MD5; False where it has to come again.

    What comes twice with the same MD5, while the store tells what it told before, is accepted: then
    that is no MD5. S3 tells something else of objects that it encrypts by keys of KMS.

    Raises:
        DataError: it came in two forms, or is another object than was listed.
    """
    before = _came.pop(held.url, None)
    if came == asked:
        return True
    if before is None:
        _came[held.url] = came
        return False
    if listing.look(held.url) != (held.size, held.etag, held.written):
        raise DataError(f"{public(held.url)} has changed since it was listed: open it again.")
    if before != came:
        raise DataError(
            f"{public(held.url)} came in two forms, and neither is the one that its store tells by "
            "its MD5: the way to it is damaged. Try again."
        )
    _without_md5.add(bucket(held.url))
    return True
