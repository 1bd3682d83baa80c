"""A server of a model as a program of its own, which behaves well or badly:

python -m tests.policies.llm.program PORT …
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.fake_server import TURN

SLEEPER = [sys.executable, "-c", "import time; time.sleep(600)"]


def serve_words(*options: object) -> str:
    """Return the command line of this program, for `policy.serve`."""
    return " ".join([sys.executable, "-m", "tests.policies.llm.program", "{port}", *map(str, options)])


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--model")
    parser.add_argument("--pids", type=Path, help="Where the process ids of this program and of its worker are noted.")
    parser.add_argument("--environment", type=Path, help="Where the names of the environment's variables are noted.")
    parser.add_argument("--die-after", type=int, help="End without a word at this request for a reply.")
    parser.add_argument("--never", action="store_true", help="Never answer.")
    parser.add_argument("--deaf", action="store_true", help="Take no notice of SIGTERM.")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    if options.deaf:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if options.environment:
        options.environment.write_text(json.dumps(sorted(os.environ)))
    if options.pids:
        worker = subprocess.Popen(SLEEPER)
        options.pids.write_text(json.dumps([os.getpid(), worker.pid]))
    print("loading the weights", flush=True)  # noqa: T201 - a server's log
    if options.never:
        time.sleep(600)
    ThreadingHTTPServer(("127.0.0.1", options.port), handler(options.die_after)).serve_forever()


def handler(die_after: int | None) -> type[BaseHTTPRequestHandler]:
    seen = 0

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.say({"object": "list", "data": []})

        def do_POST(self) -> None:
            nonlocal seen
            self.rfile.read(int(self.headers["Content-Length"]))
            seen += 1
            if seen == die_after:
                print("out of memory", flush=True)  # noqa: T201
                os._exit(3)
            message = {"role": "assistant", "content": TURN}
            self.say({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})

        def say(self, content: dict) -> None:
            body = json.dumps(content).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler


if __name__ == "__main__":
    main()
