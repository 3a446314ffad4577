"""What a store says of its objects: names, sizes, checksums and times, before any is read."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple
from urllib.parse import unquote

from domainjepa.data.remote.addresses import AT_ONCE, filesystem, protocol, public
from domainjepa.data.remote.transfer import patiently
from domainjepa.errors import DataError

_PLAIN_MD5 = re.compile(r"[0-9a-f]{32}")
CHECKSUMS = ("ETag", "etag", "md5Hash", "content_md5", "Content-MD5", "crc32c", "sha256")
MD5 = "md5:"
"""How a checksum begins that can be compared with the content."""
TIMES = ("LastModified", "updated", "last_modified", "mtime", "created", "Last-Modified")


class Entry(NamedTuple):
    """An object as its store tells it.

    Attributes:
        size: in bytes.
        etag: what the store tells its content by; empty where it tells nothing.
        written: nanoseconds since 1970; where the store tells no time, a number from the above.
    """

    size: int
    etag: str
    written: int


def look(url: str) -> Entry | None:
    """One object; None where the URL is that of a folder.

    Raises:
        UserError, DataError: it is not there, or cannot be reached.
    """
    if url.partition("?")[0].endswith("/"):
        return None
    filesystem(url).invalidate_cache()  # what it was told before may be so no longer
    info = patiently(url, lambda: filesystem(url).info(url))
    if info.get("type") == "directory" or str(info.get("url", "")).endswith("/"):
        return None  # a web server leads from a folder's name to the same with a slash
    return _entry(info, url)


def below(url: str) -> dict[str, Entry]:
    """Name below a folder, with `/` -> its object; the names are as the store gives them.

    Raises:
        UserError, DataError: as `look`.
    """
    folder = url.rstrip("/") + "/"
    system = filesystem(url)
    system.invalidate_cache()
    found: dict[str, Any] = patiently(url, lambda: system.find(folder, detail=True))
    prefix = str(system._strip_protocol(folder)).rstrip("/") + "/"
    infos = {name.removeprefix(prefix): info for name, info in found.items()}
    if protocol(url) in ("http", "https"):  # links of a page: to other orders of it, and quoted
        infos = {unquote(name): one for name, one in infos.items() if not set("?#") & set(name)}
    unsized = [name for name, info in infos.items() if info.get("size") is None]
    if unsized:  # a web server lists names alone
        if system.async_impl:
            from fsspec.asyn import _run_coros_in_chunks, sync

            async def ask() -> list[Any]:
                return await _run_coros_in_chunks(  # type: ignore[no-any-return]
                    [system._info(prefix + name) for name in unsized], batch_size=AT_ONCE
                )

            told = patiently(url, lambda: sync(system.loop, ask))
        else:
            told = [patiently(url, lambda at=name: system.info(prefix + at)) for name in unsized]  # type: ignore[misc]
        infos |= dict(zip(unsized, told, strict=True))
    return {
        name: _entry(info, folder + name)
        for name, info in infos.items()
        if info.get("type") != "directory" and name and not name.endswith("/")
    }


def _entry(info: Mapping[str, Any], url: str) -> Entry:
    size = info.get("size")
    if not isinstance(size, int) or size < 0:
        raise DataError(
            f"{public(url)} cannot be read from {protocol(url)}://: the server does not tell its "
            "size. Download it, and give its path."
        )
    etag = _checksum(info, url)
    return Entry(size, etag, _written(info, f"{size} {etag}"))


def _checksum(info: Mapping[str, Any], url: str) -> str:
    """Of the content, as the store tells it: an MD5 where it is one."""
    name = next((name for name in CHECKSUMS if info.get(name)), None)
    if name is None:
        return ""
    told = str(info[name]).removeprefix("W/").strip('"')
    if name in ("md5Hash", "content_md5", "Content-MD5"):  # RFC 1864
        with suppress(ValueError):
            return MD5 + base64.b64decode(told, validate=True).hex()
    if protocol(url) in ("s3", "s3a") and _PLAIN_MD5.fullmatch(told):  # not of many parts
        return MD5 + told
    return told


def _written(info: Mapping[str, Any], else_from: str) -> int:
    value = next((info[name] for name in TIMES if info.get(name)), None)
    try:
        if isinstance(value, str):
            dated = "," in value
            value = parsedate_to_datetime(value) if dated else datetime.fromisoformat(value)
        if isinstance(value, datetime):
            aware = value if value.tzinfo else value.replace(tzinfo=UTC)
            return int(aware.timestamp()) * 10**9
        if isinstance(value, float | int) and 0 < value < 2**33:
            return int(value * 1e6) * 1000
    except ValueError:
        pass
    digest = hashlib.blake2b(else_from.encode(), digest_size=4).digest()
    return (10**9 + int.from_bytes(digest, "little") % 10**9) * 10**9
