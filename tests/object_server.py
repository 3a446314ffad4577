"""An object store on the loopback: a folder served as a web server and as S3, slow and fallible.

Understands GET and HEAD with Range, lists folders as HTML, and speaks as much of S3 as a reader
needs (ListObjectsV2, path style). Every answer waits; `--down` makes it refuse for a while.
"""

from __future__ import annotations

import contextlib
import hashlib
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar
from urllib.parse import parse_qs, quote, unquote, urlsplit


@dataclass
class Store:
    """A folder whose sub-folders are buckets.

    Attributes:
        latency: seconds before each answer.
        failures: answers that will be 503, each once.
        secret: that requests have to carry in their Authorization, where it is one.
        asked: how often each "METHOD path" was asked for.
        damaged: paths of which wrong bytes come, so many times.
    """

    root: Path
    latency: float = 0.0
    failures: int = 0
    secret: str = ""
    damaged: Counter[str] = field(default_factory=Counter)
    asked: Counter[str] = field(default_factory=Counter)
    sent: int = 0
    port: int = 0
    server: ThreadingHTTPServer | None = None

    def start(self) -> None:
        """Answer; on the same port as before."""

        class Handler(_Handler):
            store = self

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            allow_reuse_address = True
            request_queue_size = 128
            open_: ClassVar[set[socket.socket]] = set()

            def process_request(self, request: socket.socket, address: object) -> None:
                self.open_.add(request)
                super().process_request(request, address)

        self.server = Server(("127.0.0.1", self.port), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Refuse, and drop who is connected."""
        if self.server is not None:
            self.server.shutdown()
            self.server.server_close()
            for one in list(self.server.open_):
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
            self.server = None

    @property
    def http(self) -> str:
        return f"http://127.0.0.1:{self.port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True
    store: Store

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        store = self.store
        time.sleep(store.latency)
        parts = urlsplit(self.path)
        name, asked = unquote(parts.path).strip("/"), parse_qs(parts.query, True)
        store.asked[f"{self.command} {name}"] += 1
        if store.failures > 0:
            store.failures -= 1
            return self._send(503, b"", body)
        if store.secret and store.secret not in self.headers.get("Authorization", ""):
            return self._send(403, b"", body)
        place = (store.root / name).resolve()
        if "list-type" in asked:
            return self._send(200, self._s3_list(name, asked), body, {"Content-Type": "text/xml"})
        if place.is_dir() and "x-amz-date" in self.headers:
            return self._send(404, b"", body)  # S3 knows objects alone
        if place.is_dir():
            if not parts.path.endswith("/"):
                return self._send(301, b"", body, {"Location": f"{parts.path}/"})
            return self._send(200, _page(place), body, {"Content-Type": "text/html"})
        if not place.is_file():
            return self._send(404, b"", body)
        return self._send_file(place, name, body)

    def _send_file(self, place: Path, name: str, body: bool) -> None:
        size = place.stat().st_size
        told = {
            "ETag": f'"{_md5(place, place.stat().st_mtime_ns)}"',
            "Last-Modified": formatdate(place.stat().st_mtime, usegmt=True),
            "Accept-Ranges": "bytes",
        }
        start, stop, status = 0, size, 200
        wanted = self.headers.get("Range")
        if wanted:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start, stop = int(first), min(int(last or size - 1) + 1, size)
            told["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
            status = 206
        if not body:
            return self._send(status, b"", False, told, stop - start)
        with place.open("rb") as file:
            file.seek(start)
            content = file.read(stop - start)
        if self.store.damaged[name] > 0:
            self.store.damaged[name] -= 1
            content = bytes(len(content))
        self.store.sent += len(content)
        return self._send(status, content, True, told)

    def _s3_list(self, bucket: str, asked: dict[str, list[str]]) -> bytes:
        root = self.store.root / bucket
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
            written = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(file.stat().st_mtime))
            lines.append(
                f"<Contents><Key>{escape(key)}</Key><Size>{file.stat().st_size}</Size>"
                f"<LastModified>{written}</LastModified>"
                f"<ETag>&quot;{_md5(file, file.stat().st_mtime_ns)}&quot;</ETag></Contents>"
            )
        lines += [
            f"<CommonPrefixes><Prefix>{escape(one)}</Prefix></CommonPrefixes>" for one in folders
        ]
        return (
            '<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<Name>{bucket}</Name><IsTruncated>false</IsTruncated>{''.join(lines)}"
            f"<KeyCount>{len(lines)}</KeyCount></ListBucketResult>"
        ).encode()

    def _send(
        self,
        status: int,
        content: bytes,
        body: bool,
        told: dict[str, str] | None = None,
        length: int | None = None,
    ) -> None:
        self.send_response_only(status)
        for name, value in (told or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content) if length is None else length))
        self.end_headers()
        if body and content:
            self.wfile.write(content)
        self.wfile.flush()

    def log_message(self, *_: object) -> None:
        pass


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
