"""URLs: what speaks their protocol, what to call them, and what their errors mean for the user."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from domainjepa.data.files.damage import reason
from domainjepa.errors import DataError, UserError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

PACKAGES = {
    **dict.fromkeys(("http", "https"), "'domainjepa[remote]'"),
    **dict.fromkeys(("s3", "s3a"), "'domainjepa[remote]'"),
    **dict.fromkeys(("gs", "gcs"), "gcsfs"),
    **dict.fromkeys(("az", "abfs", "abfss"), "adlfs"),
}
"""What to install for a protocol; fsspec's own messages do not always name it."""
_S3 = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; a public bucket: "
_GS = "set GOOGLE_APPLICATION_CREDENTIALS to the file of a key; a public bucket: "
_HTTP = """set FSSPEC_HTTPS='{"headers": {"Authorization": "Bearer …"}}'"""
_AZ = "set AZURE_STORAGE_CONNECTION_STRING, or AZURE_STORAGE_ACCOUNT_NAME and _KEY"
CREDENTIALS = {
    **dict.fromkeys(("s3", "s3a"), f"{_S3}FSSPEC_S3_ANON=true"),
    **dict.fromkeys(("gs", "gcs"), f"{_GS}FSSPEC_GS_TOKEN=anon"),
    **dict.fromkeys(("http", "https"), _HTTP),
    **dict.fromkeys(("az", "abfs", "abfss"), _AZ),
}
"""Where each store's own library looks for credentials; domainjepa reads none of them."""
AT_ONCE = 32
"""Requests that wait for a store at the same time. 32 of 20 ms are 1,600 a second."""

WRONG = (TypeError, AttributeError, LookupError, ValueError, NotImplementedError)
"""What is raised where a request makes no sense to a file system, whenever it is made."""
SILENCE = 30
"""Seconds after which a connection that sends nothing is taken for dead."""

_URLS = re.compile(r"\w+:/{1,2}\S+|\?\S*=\S*")

_connected: dict[tuple[int, str], AbstractFileSystem] = {}


def is_url(place: str) -> bool:
    """Whether data lies behind a URL, such as s3://bucket/store.zarr."""
    return "://" in place


def public(place: str) -> str:
    """What to call a place in messages: its last part, without what a URL asks for."""
    last = place.partition("?")[0].rstrip("/").rpartition("/")[2]
    return last.rpartition("@")[2] or place.partition(":")[0]  # without a user and a password


def protocol(url: str) -> str:
    """The part of a URL before ://, such as s3."""
    return url.partition("://")[0].lower()


def bucket(url: str) -> str:
    """The store that a URL is of: s3://bucket of s3://bucket/a/b."""
    return "/".join(url.split("/", 3)[:3])


def filesystem(url: str) -> AbstractFileSystem:
    """The file system behind a URL, of this process alone: its sockets and its event loop must not
    be shared with a forked one.

    Raises:
        UserError: a package that speaks the protocol is missing, or credentials are.
        DataError: no such protocol.
    """
    own = (os.getpid(), protocol(url))
    if own not in _connected:
        try:
            import fsspec

            filed = fsspec.get_filesystem_class(own[1])
            _connected[own] = filed(skip_instance_cache=True, **_options(own[1]))
        except ImportError as error:
            raise missing(url, error) from error
        except ValueError as error:
            raise DataError(f"{own[1]}:// is no protocol that fsspec knows.") from error
        except Exception as error:  # each file system has errors of its own
            raise fatal(error, url) or unreachable(error, url) from error
    return _connected[own]


def _options(name: str) -> dict[str, Any]:
    """What makes a file system answer many requests at once; what FSSPEC_… sets goes before."""
    from fsspec.config import conf

    told = conf.get(name, {})
    if name in ("s3", "s3a"):
        pool = {"max_pool_connections": AT_ONCE, "read_timeout": SILENCE}
        return {"config_kwargs": {**pool, **told.get("config_kwargs", {})}}
    if name in ("http", "https"):
        from aiohttp import ClientTimeout

        patience = {"timeout": ClientTimeout(sock_connect=10, sock_read=SILENCE)}
        return {"client_kwargs": {**patience, **told.get("client_kwargs", {})}}
    return {}


def missing(url: str, error: Exception) -> UserError:
    """The package that speaks a protocol is not there."""
    name = protocol(url)
    packages = PACKAGES.get(name)
    remedy = f"pip install {packages}" if packages else reason(error)
    return UserError(f"{name}:// needs one more package: {remedy}")


def unreachable(error: Exception, url: str) -> DataError:
    """A store that does not answer, or not as it should."""
    return DataError(f"{public(url)} cannot be reached: {said(error)}")


def said(error: Exception) -> str:
    """What an error says, without the URLs in it: they may hold signatures and passwords."""
    while isinstance(error, FileNotFoundError) and isinstance(error.__cause__, Exception):
        error = error.__cause__
    return _URLS.sub("…", reason(error))[:300]


def fatal(error: Exception, url: str) -> UserError | None:
    """What to tell the user of an error that no waiting mends; None where waiting may."""
    if isinstance(error, UserError):
        return error
    if isinstance(error, FileNotFoundError):
        cause = error.__cause__  # fsspec takes all that a web server refuses for absent
        web = protocol(url) in ("http", "https") and isinstance(cause, Exception)
        if web and not isinstance(cause, FileNotFoundError) and getattr(cause, "status", 0) != 404:
            return fatal(cause, url)  # type: ignore[arg-type]
        return DataError(f"{public(url)} is not there, or has been removed.")
    if isinstance(error, ImportError):
        return missing(url, error)
    status = getattr(error, "status", None)
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if kinds & {
        *("NoCredentialsError", "PartialCredentialsError", "ProfileNotFound"),
        *("PermissionError", "DefaultCredentialsError", "ClientAuthenticationError"),
    } or status in (401, 403):
        name = protocol(url)
        how = CREDENTIALS.get(name, "see the documentation of its fsspec file system")
        return UserError(
            f"{name}://…/{public(url)} asks for credentials, and those at hand are none, or not "
            f"enough: {how}."
        )
    if isinstance(error, WRONG):
        return unreachable(error, url)
    if isinstance(status, int) and 400 <= status < 500 and status not in (408, 425, 429):
        return unreachable(error, url)
    return None
