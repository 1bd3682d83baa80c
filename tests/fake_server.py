"""A small server that speaks OpenAI's chat protocol and does what a test tells it: answer, wait, refuse, break off."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "sk-1234567890abcdef"
"""The key that the fixture `openai_key` sets."""
TURN = "<think>I look.</think>\n<action>look</action>"


@dataclass(frozen=True)
class Answer:
    """What the server does with one request; `status` 0 breaks the connection off."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    after_s: float = 0.0


def says(text: str = TURN, finish: str = "stop", after_s: float = 0.0, choice: dict | None = None, **whole) -> Answer:
    """Answer as a model does."""
    first = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish, **(choice or {})}
    usage = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
    body = {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [first], "usage": usage}
    return Answer(body=json.dumps(body | whole).encode(), after_s=after_s)


def gives(message: dict[str, Any], finish: str = "stop") -> Answer:
    """Answer with a message that is not plain text alone."""
    return says(finish=finish, choice={"message": {"role": "assistant", **message}})


def fails(status: int, message: str = "no", code: str | None = None, **headers: str) -> Answer:
    """Answer with an error as OpenAI words it."""
    body = json.dumps({"error": {"message": message, "type": "error", "code": code}}).encode()
    return Answer(status, body, {name.replace("_", "-"): value for name, value in headers.items()})


BREAKS_OFF = Answer(0)
GARBAGE = Answer(body=b"<html>not JSON")


@dataclass
class FakeServer:
    """`requests` and `keys` are what was received, `times` when; `peak` is how many were open at once."""

    answers: Callable[[dict[str, Any], int], Answer]
    url: str = ""
    requests: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    open: int = 0
    peak: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, request: dict[str, Any], key: str) -> Answer:
        with self.lock:
            number = len(self.requests)
            self.requests.append(request)
            self.keys.append(key)
            self.times.append(time.monotonic())
            self.open += 1
            self.peak = max(self.peak, self.open)
        answer = self.answers(request, number)
        time.sleep(answer.after_s)
        with self.lock:
            self.open -= 1
        return answer


@contextmanager
def serving(answers: Sequence[Answer] | Callable[[dict[str, Any], int], Answer]) -> Iterator[FakeServer]:
    """Serve on a free port; a list of answers is given in order, its last one for ever."""
    listed = answers if callable(answers) else (lambda _, number: answers[min(number, len(answers) - 1)])
    fake = FakeServer(listed)
    server = _Server(("127.0.0.1", 0), _handler(fake))
    fake.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def free_port() -> int:
    """A port where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request, client_address):
        """A client that left is no error here."""


def _handler(fake: FakeServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            answer = fake.answer(request, self.headers.get("Authorization", ""))
            if not answer.status:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            self.send_response(answer.status)
            for name, value in {"Content-Type": "application/json", **answer.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler
