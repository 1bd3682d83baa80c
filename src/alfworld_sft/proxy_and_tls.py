"""Which proxy and which certificates lead to a server, according to the environment?

The environment is read only here, so that any problem with it is one line that names the variable.
"""

from __future__ import annotations

import ipaddress
import os
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from alfworld_sft.errors import ConfigError

PROXY_SCHEMES = ("http", "https", "socks5", "socks5h")


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy from the environment, and the variable that names it."""

    url: str
    variable: str


def proxy_for(url: str, library: str = "httpx") -> Proxy | None:
    """Return the proxy for an address, or None; this machine itself needs none.

    `library` is the HTTP client, httpx or httpx2. Raises ConfigError if the proxy cannot be used; the message does not
    repeat it, since it may contain a password.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if is_loopback(host) or _is_bypassed(host, parts.port):
        return None
    proxies = getproxies()
    kind = next((kind for kind in (parts.scheme, "all") if proxies.get(kind, "").strip()), None)
    if kind is None:
        return None
    variable, value = _variable(f"{kind}_proxy"), proxies[kind].strip()
    address = value if "://" in value else f"http://{value}"
    way_out = f"correct or unset {variable}, or add {host} to NO_PROXY"
    try:
        proxy = urlsplit(address)
        named = bool(proxy.hostname) and (proxy.port or 1) > 0
    except ValueError:
        raise ConfigError(f"{variable} is not the address of a proxy; {way_out}") from None
    if proxy.scheme not in PROXY_SCHEMES:
        meant = "; did you mean socks5://?" if proxy.scheme.startswith("socks") else ""
        raise ConfigError(
            f"{variable} begins with {proxy.scheme}://, but a proxy is one of {', '.join(PROXY_SCHEMES)}{meant};"
            f" {way_out}"
        )
    if not named or re.search(r"\s", address):
        raise ConfigError(f"{variable} is not the address of a proxy; {way_out}")
    if proxy.scheme.startswith("socks") and find_spec("socksio") is None:
        raise ConfigError(
            f"{variable} names a SOCKS proxy, which needs the package socksio: pip install '{library}[socks]';"
            f" or {way_out}"
        )
    return Proxy(address, variable)


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine."""
    if host.lower().rstrip(".") == "localhost" or host.lower().endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback or ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def tls_context() -> ssl.SSLContext | None:
    """Return the TLS context for SSL_CERT_FILE or SSL_CERT_DIR; None if neither is set.

    Raises ConfigError if the variable names no certificates.
    """
    file, folder = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    if file:
        try:
            return ssl.create_default_context(cafile=file)
        except OSError as error:
            reason = "holds no certificates" if isinstance(error, ssl.SSLError) else error.strerror
            raise ConfigError(
                f"SSL_CERT_FILE={file}: {reason}; name a file of PEM certificates, or unset SSL_CERT_FILE"
            ) from None
    if folder:
        if not any(Path(part).is_dir() for part in folder.split(os.pathsep)):
            raise ConfigError(
                f"SSL_CERT_DIR={folder}: no such folder; name one with certificates, or unset SSL_CERT_DIR"
            )
        return ssl.create_default_context(capath=folder)
    return None


def _is_bypassed(host: str, port: int | None) -> bool:
    """Return whether NO_PROXY names the host, a suffix of it, or a network that contains it."""
    if proxy_bypass(f"{host}:{port}" if port and ":" not in host else host):
        return True
    listed = [part.strip() for part in getproxies().get("no", "").split(",")]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return any(part.startswith("*.") and host.lower().endswith(part[1:].lower()) for part in listed)
    return any(address in network for network in map(_network, listed) if network is not None)


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text.strip("[]"), strict=False)
    except ValueError:
        return None


def _variable(name: str, environment: Mapping[str, str] = os.environ) -> str:
    """Return the name under which a variable is set: as given, or in capitals."""
    return name if environment.get(name) else name.upper()
