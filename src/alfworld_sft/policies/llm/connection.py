"""How is a connection to a server made and kept? By the client library of OpenAI, with the settings of the environment.

The key is read only from $OPENAI_API_KEY. It is in no config and therefore in no file.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any
from urllib.parse import urlsplit

from alfworld_sft.errors import ConfigError
from alfworld_sft.proxy_and_tls import proxy_for, tls_context

ACCOUNT = ("OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID")
"""The variables that say who asks: the key, its organization and its project."""
CONNECT_TIMEOUT_S = 15.0
KEEPALIVE_S = 3.0
"""Idle connections are closed before the server closes them (uvicorn: 5 s), which could break a request in flight."""
_NO_KEY = "none"  # sent to servers without keys; the client library requires one


class Connection:
    """Connections to the server at an address; to a `managed` one without the environment's key, proxy and TLS.

    Raises ConfigError for an unusable key.
    """

    def __init__(self, base_url: str, timeout_s: float, *, managed: bool) -> None:
        import openai  # noqa: PLC0415 - slow to import

        self.library: Any = openai
        self._timeout_s = timeout_s
        self.key, self._organization, self._project = ("" if managed else read_header(name) for name in ACCOUNT)
        limits = type(self.library.DEFAULT_CONNECTION_LIMITS)
        http_library = limits.__module__.partition(".")[0]  # httpx, or httpx2
        self.proxy = None if managed else proxy_for(base_url, http_library)
        self._tls = None if managed else tls_context()
        self._client: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def client(self, base_url: str) -> Any:
        """Return the running event loop's client: connections cannot be shared between loops."""
        loop = asyncio.get_running_loop()
        if self._client is None or self._loop is not loop:
            openai = self.library
            limits = type(openai.DEFAULT_CONNECTION_LIMITS)(  # from httpx or httpx2
                max_connections=None, max_keepalive_connections=None, keepalive_expiry=KEEPALIVE_S
            )
            timeout = openai.Timeout(self._timeout_s, connect=CONNECT_TIMEOUT_S, pool=None)
            self._loop = loop
            self._client = openai.AsyncOpenAI(
                api_key=self.key or _NO_KEY,
                organization=self._organization or None,
                project=self._project or None,
                base_url=base_url,
                max_retries=0,
                timeout=timeout,
                http_client=openai.DefaultAsyncHttpxClient(
                    limits=limits,
                    timeout=timeout,
                    trust_env=False,  # `proxy_and_tls` reads the environment
                    proxy=self.proxy.url if self.proxy else None,
                    verify=self._tls or True,
                ),
            )
        return self._client


def check_url(url: str) -> str:
    """Return the address; error messages do not repeat it, as it may contain a password."""
    url = url.strip()
    if not url:
        raise ConfigError("policy.name=server needs an address: set OPENAI_BASE_URL, such as http://127.0.0.1:8000/v1")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host, parts = None, urlsplit("")
    if parts.username or parts.password or parts.query:
        raise ConfigError("the server's address holds a password or a query; put the key into OPENAI_API_KEY alone")
    if not url.isprintable() or " " in url:
        raise ConfigError("the server's address (OPENAI_BASE_URL) holds a blank or a character that no address has")
    if parts.scheme not in ("http", "https") or not host:
        raise ConfigError("the server's address (OPENAI_BASE_URL) must begin with http:// or https:// and name a host")
    return url.rstrip("/")


def read_header(variable: str) -> str:
    """Return the value of a variable that is sent as a header of every request, or "".

    Raises ConfigError for one that no header can have.
    """
    value = os.environ.get(variable, "").strip()
    if not all("!" <= character <= "~" for character in value):
        raise ConfigError(f"{variable} holds a blank or another character that no key has")
    return value
