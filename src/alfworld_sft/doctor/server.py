"""Does a model's server answer, by a proxy or without, and does it serve the model?"""

from __future__ import annotations

from collections.abc import Iterator
from urllib.request import getproxies

import httpx

from alfworld_sft.doctor.line import Line, fine, fix
from alfworld_sft.errors import ConfigError
from alfworld_sft.policies.llm.connection import ACCOUNT, read_header
from alfworld_sft.proxy_and_tls import proxy_for, tls_context

TIMEOUT_S = 10.0
_ELSEWHERE = ("http://example.com", "https://example.com")
"""Stands for any address that is not this machine: does the proxy's own address make sense?"""


def judge_proxies(base_url: str | None) -> Iterator[Line]:
    """Yield a line on the proxies that the environment names; values are not repeated, they may hold passwords."""
    try:
        tls_context()
        used = [proxy for url in ([base_url] if base_url else _ELSEWHERE) if (proxy := proxy_for(url))]
    except ConfigError as error:
        yield fix("proxies", "cannot be used", str(error))
        return
    except ValueError as error:
        yield fix("proxies", f"{base_url} is no address ({error})", "correct --base-url, as http://HOST:PORT/v1")
        return
    names = sorted({proxy.variable for proxy in used})
    found = f"used: {', '.join(names)}" if names else "set, but not used" if getproxies() else "none"
    yield fine("proxies", found)


def judge_server(base_url: str, model: str | None) -> Iterator[Line]:
    """Yield a line on whether the server answers and knows the model; key and account are sent to it as in a run."""
    url = base_url.rstrip("/")
    try:
        key, organization, project = map(read_header, ACCOUNT)
        said = {
            "Authorization": key and f"Bearer {key}",
            "OpenAI-Organization": organization,
            "OpenAI-Project": project,
        }
        headers = {name: value for name, value in said.items() if value}
        proxy = proxy_for(url)
        with httpx.Client(
            timeout=TIMEOUT_S, trust_env=False, proxy=proxy.url if proxy else None, verify=tls_context() or True
        ) as client:
            answer = client.get(f"{url}/models", headers=headers)
    except ConfigError as error:
        yield fix("server", f"{url} cannot be reached", str(error))
        return
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        yield fix("server", f"{url} does not answer ({reason})", "start it, e.g. vllm serve MODEL; check --base-url")
        return
    yield _judge_answer(url, answer, model)


def _judge_answer(url: str, answer: httpx.Response, model: str | None) -> Line:
    if answer.status_code in (401, 403):
        return fix("server", f"{url} refuses the key ({answer.status_code})", "export OPENAI_API_KEY=…")
    try:
        answer.raise_for_status()
        names = [str(entry["id"]) for entry in answer.json()["data"]]
    except (httpx.HTTPStatusError, ValueError, KeyError, TypeError):
        advice = "the address of an OpenAI-compatible server ends in /v1, as http://127.0.0.1:8000/v1"
        return fix("server", f"{url}/models gives no list of models ({answer.status_code})", advice)
    if model and model not in names:
        served = ", ".join(names[:5]) or "none"
        return fix(
            "server", f"{url} does not serve {model!r}", f"name one that it serves ({served}), or serve this one"
        )
    return fine("server", f"{url} answers{f' and serves {model}' if model else ''}")
