"""A small server that speaks the XML API of Google Cloud Storage as far as the store uses it, preconditions included.

No emulator that can be installed enforces `x-goog-if-generation-match` there. It can be told to ignore conditions too,
as some servers for S3's protocol do.
"""

from __future__ import annotations

import contextlib
import hashlib
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from tests.ports import kept_port

BUCKET = "state"


class Stored(NamedTuple):
    """An object; `generation` is never given twice."""

    content: bytes
    generation: int
    written: datetime


class GCSServer:
    """A server with one bucket, in threads of this process; what is stored outlives `kill`.

    Args:
        honours: whether it looks at conditions.
        allowed: whether it lets anybody in.
    """

    def __init__(self, *, honours: bool = True, allowed: bool = True) -> None:
        self.honours = honours
        self.allowed = allowed
        self.objects: dict[str, Stored] = {}
        self.mutex = threading.Lock()
        self._come = threading.Condition(self.mutex)
        self.generation = 0
        self.port = kept_port()
        self.in_flight = 0
        self.most_in_flight = 0
        self.together = 0
        """As long as there were never so many requests in flight, reads of objects wait for one another."""
        self._server: _Server | None = None

    @property
    def url(self) -> str:
        """Its endpoint."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Listen, on the same port as before."""
        self._server = _Server(("127.0.0.1", self.port), self)
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def kill(self) -> None:
        """Cut every connection, and listen no more."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server.cut()
            self._server = None

    @contextlib.contextmanager
    def counted(self, *, waits: bool = False) -> Iterator[None]:
        """Count a request as one in flight, which waits for others if there are to be more at once."""
        with self._come:
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
            self._come.notify_all()
            if waits:
                self._come.wait_for(lambda: self.most_in_flight >= self.together, timeout=30)
        try:
            yield
        finally:
            with self.mutex:
                self.in_flight -= 1


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, address: tuple[str, int], owner: GCSServer) -> None:
        self.owner = owner
        self._open: set[socket.socket] = set()
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of connections that were cut."""

    def cut(self) -> None:
        """Cut what is connected."""
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_PUT(self) -> None:
        """Write an object, under a condition if there is one."""
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        owner, key = self.server.owner, self._key()
        with owner.counted(), owner.mutex:
            if not owner.allowed:
                return self._answer(403, b"<Error><Code>AccessDenied</Code></Error>")
            if not self.path.startswith(f"/{BUCKET}/"):
                return self._answer(404, b"<Error><Code>NoSuchBucket</Code></Error>")
            wanted = self.headers.get("x-goog-if-generation-match")
            stands = owner.objects[key].generation if key in owner.objects else 0
            if owner.honours and wanted is not None and int(wanted) != stands:
                return self._answer(412, b"<Error><Code>PreconditionFailed</Code></Error>")
            owner.generation += 1
            owner.objects[key] = Stored(content, owner.generation, datetime.now(UTC))
            return self._answer(200, b"", owner.objects[key])

    def do_GET(self) -> None:
        """Read an object, or list them."""
        owner = self.server.owner
        with owner.counted(waits="list-type" not in self._query()):
            with owner.mutex:
                found = owner.objects.get(self._key())
                keys = sorted(owner.objects)
            if "list-type" in self._query():
                return self._list(keys)
            if found is None:
                return self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
            return self._answer(200, found.content, found)

    def do_HEAD(self) -> None:
        """Say what an object is like."""
        self.do_GET()

    def do_DELETE(self) -> None:
        """Delete an object."""
        owner = self.server.owner
        with owner.counted(), owner.mutex:
            gone = owner.objects.pop(self._key(), None)
            return self._answer(404 if gone is None else 204, b"")

    def _list(self, keys: list[str]) -> None:
        query, objects = self._query(), self.server.owner.objects
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        after = query.get("continuation-token") or query.get("start-after", "")
        contents: list[str] = []
        folders: dict[str, None] = {}
        some = [key for key in keys if key.startswith(prefix) and key > after]
        page = some[:1000]
        for key in page:
            head, found, _ = key.removeprefix(prefix).partition(delimiter) if delimiter else ("", "", "")
            if found:
                folders[f"{prefix}{head}{delimiter}"] = None
            elif key in objects:
                one = objects[key]
                contents.append(
                    f"<Contents><Key>{escape(key)}</Key><Size>{len(one.content)}</Size><ETag>{_etag(one)}</ETag>"
                    f"<LastModified>{one.written:%Y-%m-%dT%H:%M:%S.000Z}</LastModified></Contents>"
                )
        more = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if len(some) > len(page) else ""
        below = "".join(f"<CommonPrefixes><Prefix>{escape(one)}</Prefix></CommonPrefixes>" for one in folders)
        self._answer(200, f"<ListBucketResult>{''.join(contents)}{below}{more}</ListBucketResult>".encode())

    def _key(self) -> str:
        return unquote(urlsplit(self.path).path).removeprefix(f"/{BUCKET}/")

    def _query(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}

    def _answer(self, status: int, body: bytes, stored: Stored | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if stored is not None:
            self.send_header("ETag", _etag(stored))
            self.send_header("x-goog-generation", str(stored.generation))
            self.send_header("Last-Modified", format_datetime(stored.written, usegmt=True))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def _etag(stored: Stored) -> str:
    return f'"{hashlib.md5(stored.content, usedforsecurity=False).hexdigest()}"'
