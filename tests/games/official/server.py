"""A small HTTP server for tests: it serves one file and misbehaves as told, request by request."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Answer:
    """How one request is answered: `cut` breaks the connection after so many bytes of the body."""

    status: int = 200
    cut: int | None = None
    ranges: bool = True
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class FileServer:
    """Serves `content` under any path; `answers` are used up one by one, then all goes well."""

    content: bytes
    etag: str | None = '"v1"'
    last_modified: str | None = None
    length: bool = True
    answers: list[Answer] = field(default_factory=list)
    requested: list[str | None] = field(default_factory=list)
    """The Range header of each request."""
    url: str = ""


@contextmanager
def serving(server: FileServer) -> Iterator[FileServer]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            _answer(self, server)

        def log_message(self, *args: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    server.url = f"http://127.0.0.1:{http.server_address[1]}/games.zip"
    try:
        yield server
    finally:
        http.shutdown()
        thread.join()
        http.server_close()


def _answer(handler: BaseHTTPRequestHandler, server: FileServer) -> None:
    asked = handler.headers.get("Range")
    server.requested.append(asked)
    answer = server.answers.pop(0) if server.answers else Answer()
    validators = {server.etag, server.last_modified} - {None}
    first = int(asked[6:-1]) if asked and re.fullmatch(r"bytes=\d+-", asked) else 0
    honoured = bool(asked) and answer.ranges and handler.headers.get("If-Range") in validators
    status, body = answer.status, server.content
    size = len(server.content)
    headers: dict[str, str] = {}
    if status == 200 and honoured:
        status, body = (206, body[first:]) if first < size else (416, b"")
        headers["Content-Range"] = f"bytes {first}-{size - 1}/{size}" if status == 206 else f"bytes */{size}"
    elif status != 200:
        body = b""
    handler.send_response(status)
    headers |= {"ETag": server.etag or "", "Last-Modified": server.last_modified or ""}
    headers |= {"Content-Length": str(len(body)) if server.length else ""} | answer.headers
    for name, value in headers.items():
        if value:
            handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body[: answer.cut])
    handler.close_connection = True
