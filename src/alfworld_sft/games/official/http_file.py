"""One file over HTTP, resumed after interruptions if the server confirms that it is still the same file.

Until the target is complete, next to it are `NAME.part` (the bytes so far) and `NAME.part.json` (the validator they
were served under). A part is continued with `Range` and `If-Range`; a server that ignores the range, another
validator, or a part that does not fit restarts the file. The target appears only when complete.
"""

from __future__ import annotations

import json
import logging
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from alfworld_sft.errors import DownloadError
from alfworld_sft.files import rename_synced
from alfworld_sft.proxy_and_tls import proxy_for, tls_context

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger(__name__)

_TIMEOUT = httpx.Timeout(60.0, connect=20.0)
_RETRIED_STATUS = frozenset({408, 425, 429})


@dataclass(frozen=True, slots=True)
class Retry:
    """How long a download is worth trying: waits double from the first to the longest."""

    idle_attempts: int = 5
    """Failures in a row that brought no new byte."""
    attempts: int = 100
    first_wait_s: float = 1.0
    longest_wait_s: float = 30.0

    def wait_s(self, failures: int, asked_s: float | None) -> float:
        """Return the wait after so many failures in a row (from 1); what the server asks for counts, within reason."""
        own = self.first_wait_s * 2 ** (failures - 1) if failures else 0.0
        return min(max(own, asked_s or 0.0), self.longest_wait_s)


class _BrokenOffError(Exception):
    """This attempt failed, another may not."""

    def __init__(self, reason: str, asked_s: float | None = None) -> None:
        super().__init__(reason)
        self.asked_s = asked_s


def download(
    url: str,
    to: Path,
    *,
    retry: Retry | None = None,
    on_progress: Callable[[int, int | None], None] = lambda done, total: None,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Download `url` to the file `to`, which appears when it is complete; an existing file is left unchanged.

    Raises DownloadError when the server refuses or the attempts are used up (the part is kept, so that the next call
    resumes), ConfigError for a proxy or certificates that cannot be used, and OSError where the disk is full or cannot
    be written.
    """
    if to.exists():
        return
    retry = retry or Retry()
    part = _Part(to, url)
    failures = attempt = 0
    reason = ""
    with httpx.Client(follow_redirects=True, timeout=_TIMEOUT, transport=_ThroughProxies()) as client:
        for attempt in range(1, retry.attempts + 1):
            before = part.size
            try:
                _attempt(client, part, on_progress)
            except _BrokenOffError as error:
                reason = str(error)
                failures = 1 if part.size > before else failures + 1
                if failures >= retry.idle_attempts:
                    break
                logger.info("%s: attempt %d: %s; trying again", url, attempt, reason)
                sleep(retry.wait_s(failures, error.asked_s))
            else:
                part.finish(to)
                return
    raise DownloadError(
        f"{url}: {reason}; gave up after {attempt} attempts, {part.size} bytes are kept:"
        " run the same command again to resume, or name a local copy with --from ARCHIVE.zip"
    )


class _ThroughProxies(httpx.BaseTransport):
    """Sends each request through the proxy that the environment names for its host: redirects lead to others."""

    def __init__(self) -> None:
        self._verify = tls_context() or True
        self._by_proxy: dict[str | None, httpx.HTTPTransport] = {}

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        proxy = proxy_for(str(request.url))
        address = proxy.url if proxy else None
        if address not in self._by_proxy:
            self._by_proxy[address] = httpx.HTTPTransport(verify=self._verify, proxy=address)
        return self._by_proxy[address].handle_request(request)

    def close(self) -> None:
        for transport in self._by_proxy.values():
            transport.close()


class _Part:
    """The bytes that have come so far, and the validator under which they were served."""

    def __init__(self, to: Path, url: str) -> None:
        self.url = url
        self.path = to.with_name(to.name + ".part")
        self._about = to.with_name(to.name + ".part.json")

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def validator(self) -> str | None:
        """Return what If-Range needs; None where the server gave nothing that vouches for the bytes."""
        try:
            about = json.loads(self._about.read_bytes())
            validator = about["validator"] if about["url"] == self.url else None
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None
        return validator if isinstance(validator, str) else None

    def start(self, validator: str | None) -> None:
        """Begin an empty part; emptied first, so that no bytes ever stand beside another file's validator."""
        self.path.write_bytes(b"")
        self._about.write_text(json.dumps({"url": self.url, "validator": validator}), encoding="utf-8")

    def finish(self, to: Path) -> None:
        rename_synced(self.path, to)
        self._about.unlink(missing_ok=True)


def _attempt(client: httpx.Client, part: _Part, on_progress: Callable[[int, int | None], None]) -> None:
    """Ask for what is missing and append it; returns when the part is complete, else raises _BrokenOffError."""
    validator = part.validator()
    # x-ms-version: the store behind GitHub's releases serves open ranges only to clients that name a version.
    headers = {"Accept-Encoding": "identity", "x-ms-version": "2020-04-08"}
    if part.size and validator:
        headers |= {"Range": f"bytes={part.size}-", "If-Range": validator}
    try:
        with client.stream("GET", part.url, headers=headers) as response:
            total = _begin(response, part, validator)
            if total == part.size:
                return
            with part.path.open("ab") as file:
                for chunk in response.iter_raw():
                    file.write(chunk)
                    file.flush()
                    on_progress(file.tell(), total)
    except (httpx.UnsupportedProtocol, httpx.InvalidURL, httpx.TooManyRedirects) as error:
        raise DownloadError(f"{part.url}: {error}") from None
    except httpx.TransportError as error:
        raise _BrokenOffError(f"the connection broke off ({error or type(error).__name__})") from None
    if total is not None and part.size != total:
        raise _BrokenOffError(f"{part.size} bytes came, not {total}")


def _begin(response: httpx.Response, part: _Part, validator: str | None) -> int | None:
    """Decide from the response's head whether its body starts the part or continues it; return the full size."""
    status = response.status_code
    if status == 200:
        part.start(_validator_of(response))
        length = response.headers.get("Content-Length", "")
        return int(length) if length.isdigit() else None
    if status in (206, 416):
        first, total = _content_range(response)
        served = _validator_of(response)
        same = served is None or served == validator
        if same and ((status == 206 and first == part.size) or (status == 416 and total == part.size)):
            return total
        part.start(None)
        raise _BrokenOffError("the file has changed, or the server answers for another part of it")
    reason = f"HTTP {status} {response.reason_phrase}".rstrip()
    if status in _RETRIED_STATUS or status >= 500:
        after = response.headers.get("Retry-After", "")
        raise _BrokenOffError(reason, float(after) if after.isdigit() else None)
    raise DownloadError(
        f"{part.url}: {reason}; name another address with --url, or a local copy with --from ARCHIVE.zip"
    )


def _validator_of(response: httpx.Response) -> str | None:
    """Return a strong ETag, else the time of the last change: only these are allowed in If-Range."""
    tag: str | None = response.headers.get("ETag")
    return tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified")


def _content_range(response: httpx.Response) -> tuple[int | None, int | None]:
    """Return (first byte, complete size) of `bytes 5-9/10` or `bytes */10`; None for a missing value."""
    match = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", response.headers.get("Content-Range", "").strip())
    first, total = match.groups() if match else (None, None)
    return (int(first) if first else None), (int(total) if total and total != "*" else None)
