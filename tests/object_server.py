"""An object store on the loopback: a folder served as a web server and as S3, slow and fallible.

Understands GET and HEAD with Range, lists folders as HTML, and speaks as much of S3 as a reader
needs (ListObjectsV2, path style). Every answer waits. One thread answers all, at about a tenth of a
millisecond each, so that a benchmark beside it measures the reader.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from html import escape
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlsplit


@dataclass
class Store:
    """A folder whose sub-folders are buckets.

    Attributes:
        latency: seconds before each answer.
        failures: answers that will be 503, each once.
        secret: that requests have to carry in their Authorization, where it is one.
        damaged: paths of which wrong bytes come, so many times.
        asked: how often each "METHOD path" was asked for.
        sent: bytes of objects.
        port: chosen when it first starts.
    """

    root: Path
    latency: float = 0.0
    failures: int = 0
    secret: str = ""
    damaged: Counter[str] = field(default_factory=Counter)
    asked: Counter[str] = field(default_factory=Counter)
    sent: int = 0
    port: int = 0
    loop: asyncio.AbstractEventLoop | None = None
    thread: threading.Thread | None = None
    connected: set[asyncio.Transport] = field(default_factory=set)

    def start(self) -> None:
        """Answer; on the same port as before."""
        ready = threading.Event()
        self.thread = threading.Thread(target=self._serve, args=(ready,), daemon=True)
        self.thread.start()
        assert ready.wait(30)

    def _serve(self, ready: threading.Event) -> None:
        self.loop = loop = asyncio.new_event_loop()
        made = loop.create_server(lambda: _Connection(self), "127.0.0.1", self.port)
        server = loop.run_until_complete(made)
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        loop.run_forever()
        server.close()
        for one in list(self.connected):
            one.abort()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()

    def stop(self) -> None:
        """Refuse, and drop who is connected."""
        if self.loop is not None and self.thread is not None:
            self.loop.call_soon_threadsafe(self.loop.stop)
            self.thread.join(30)
            self.loop = None

    @property
    def http(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def answer(self, method: str, target: str, headers: dict[str, str]) -> bytes:
        """Head and body of an answer."""
        parts = urlsplit(target)
        name, asked = unquote(parts.path).strip("/"), parse_qs(parts.query, True)
        self.asked[f"{method} {name}"] += 1
        if self.failures > 0:
            self.failures -= 1
            return _answer(method, "503 Slow Down")
        if self.secret and self.secret not in headers.get("authorization", ""):
            return _answer(method, "403 Forbidden")
        if "list-type" in asked:
            return _answer(method, "200 OK", _s3_list(self.root / name, asked), "text/xml")
        place = self.root / name
        if place.is_dir() and "x-amz-date" not in headers:  # S3 knows objects alone
            if not parts.path.endswith("/"):
                return _answer(method, "301 Moved", told={"Location": f"{parts.path}/"})
            return _answer(method, "200 OK", _page(place), "text/html")
        if not place.is_file():
            return _answer(method, "404 Not Found")
        return self._object(method, place, name, headers.get("range", ""))

    def _object(self, method: str, place: Path, name: str, wanted: str) -> bytes:
        status = place.stat()
        start, stop, code = 0, status.st_size, "200 OK"
        told = {
            "ETag": f'"{_md5(place, status.st_mtime_ns)}"',
            "Last-Modified": formatdate(status.st_mtime, usegmt=True),
            "Accept-Ranges": "bytes",
        }
        if wanted:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start, stop = int(first), min(int(last or stop - 1) + 1, stop)
            told["Content-Range"] = f"bytes {start}-{stop - 1}/{status.st_size}"
            code = "206 Partial Content"
        if method == "HEAD":
            return _answer(method, code, told=told, length=stop - start)
        with place.open("rb") as file:
            file.seek(start)
            content = file.read(stop - start)
        if self.damaged[name] > 0:
            self.damaged[name] -= 1
            content = bytes(len(content))
        self.sent += len(content)
        return _answer(method, code, content, told=told)


class _Connection(asyncio.Protocol):
    """Requests without bodies, one after the other."""

    def __init__(self, store: Store) -> None:
        self.store, self.received = store, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.store.connected.add(transport)

    def connection_lost(self, error: Exception | None) -> None:
        self.store.connected.discard(self.transport)

    def data_received(self, data: bytes) -> None:
        self.received += data
        while b"\r\n\r\n" in self.received:
            head, _, self.received = self.received.partition(b"\r\n\r\n")
            first, *lines = head.decode("latin-1").split("\r\n")
            method, target, _ = first.split(" ")
            pairs = (line.partition(":") for line in lines)
            headers = {name.lower(): value.strip() for name, _, value in pairs}
            loop = asyncio.get_running_loop()
            loop.call_later(self.store.latency, self._send, method, target, headers)

    def _send(self, method: str, target: str, headers: dict[str, str]) -> None:
        if not self.transport.is_closing():
            self.transport.write(self.store.answer(method, target, headers))


def _answer(
    method: str,
    status: str,
    content: bytes = b"",
    kind: str = "application/octet-stream",
    told: dict[str, str] | None = None,
    length: int | None = None,
) -> bytes:
    size = len(content) if length is None else length
    lines = [f"{name}: {value}" for name, value in (told or {}).items()]
    head = [f"HTTP/1.1 {status}", f"Content-Length: {size}", f"Content-Type: {kind}", *lines]
    return "\r\n".join([*head, "", ""]).encode() + (b"" if method == "HEAD" else content)


def _s3_list(root: Path, asked: dict[str, list[str]]) -> bytes:
    prefix, slash = asked.get("prefix", [""])[0], asked.get("delimiter", [""])[0]
    lines, folders = [], set()
    for file in sorted(one for one in root.rglob("*") if one.is_file()):
        key = file.relative_to(root).as_posix()
        if not key.startswith(prefix):
            continue
        rest = key[len(prefix) :]
        if slash and slash in rest:
            folders.add(prefix + rest.partition(slash)[0] + slash)
            continue
        status = file.stat()
        written = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(status.st_mtime))
        lines.append(
            f"<Contents><Key>{escape(key)}</Key><Size>{status.st_size}</Size>"
            f"<LastModified>{written}</LastModified>"
            f"<ETag>&quot;{_md5(file, status.st_mtime_ns)}&quot;</ETag></Contents>"
        )
    lines += [f"<CommonPrefixes><Prefix>{escape(one)}</Prefix></CommonPrefixes>" for one in folders]
    return (
        '<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<Name>{root.name}</Name><IsTruncated>false</IsTruncated>{''.join(lines)}"
        f"<KeyCount>{len(lines)}</KeyCount></ListBucketResult>"
    ).encode()


_sums: dict[tuple[Path, int], str] = {}


def _md5(path: Path, written: int) -> str:
    if (path, written) not in _sums:
        _sums[path, written] = hashlib.md5(path.read_bytes()).hexdigest()
    return _sums[path, written]


def _page(folder: Path) -> bytes:
    names = sorted(f"{one.name}/" if one.is_dir() else one.name for one in folder.iterdir())
    links = "".join(f'<a href="{quote(name)}">{escape(name)}</a>\n' for name in names)
    return f"<html><body>{links}</body></html>".encode()


@contextlib.contextmanager
def serving(root: Path, latency: float = 0.0) -> Iterator[Store]:
    """A store in this process, for as long as the block lasts."""
    store = Store(root, latency)
    store.start()
    try:
        yield store
    finally:
        store.stop()


@contextlib.contextmanager
def process(
    root: Path, latency: float, port: int = 0
) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """The same in a process of its own, which may be killed: (port, process)."""
    command = [sys.executable, __file__, str(root), str(latency), str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        try:
            yield int(running.stdout.readline()), running
        finally:
            running.kill()


if __name__ == "__main__":
    served = Store(Path(sys.argv[1]), float(sys.argv[2]), port=int(sys.argv[3]))
    served.start()
    print(served.port, flush=True)  # noqa: T201
    threading.Event().wait()
