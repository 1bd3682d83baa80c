"""How does a report become one HTML file that loads nothing and runs no text? Data, style and scripts → bytes.

All data is gzip in base64, so no byte of it can be markup; the page's script writes it as text only. A content security
policy names the scripts by their hashes, forbids `eval` and every request, and so holds for hostile data too.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
from collections.abc import Iterable, Iterator
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import IO

from alfworld_sft.errors import UserError
from alfworld_sft.strict_json import to_json


def write_page(file: IO[bytes], chunks: Iterable[object], summary: Iterable[object], library: str) -> None:
    """Write the report. `chunks` are parts of the episodes, each opened by the page when it is needed.

    `summary` gives one value and is asked for after the chunks, so that it may count what they hold; `library` is the
    charting library's source.
    """
    style, script, body = _asset("page.css"), _asset("page.js"), _asset("page.html")
    policy = _policy(script, library)
    file.write(body.replace("$POLICY", policy, 1).replace("$STYLE", style, 1).encode())
    for number, chunk in enumerate(chunks):
        file.write(_data_block(f"chunk-{number}", to_json(chunk, separators=(",", ":"))))
    for value in summary:
        file.write(_data_block("summary", to_json(value, separators=(",", ":"))))
    file.write(_data_block("library", library))
    file.write(f"<script>{script}</script>\n</body>\n</html>\n".encode())


def read_charting_library() -> str:
    """Return the source of plotly.js as the package plotly has it; raises UserError where it is not installed."""
    spec = find_spec("plotly")
    for folder in spec.submodule_search_locations or [] if spec else []:
        file = Path(folder) / "package_data" / "plotly.min.js"
        if file.is_file():
            return file.read_text(encoding="utf-8")
    raise UserError("report: its charts need the package plotly; pip install 'alfworld-sft[report]'")


def _policy(script: str, library: str) -> str:
    """Return the content security policy: these two scripts, and no request of any kind."""
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {_hash(script)} {_hash(library)}",
            "style-src 'unsafe-inline'",  # the charting library makes styles of its own; none can load anything
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )


def _hash(source: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}'"


def _data_block(name: str, text: str) -> bytes:
    """Return a block that no browser runs; half a surrogate pair, which UTF-8 cannot hold, becomes a question mark."""
    packed = base64.b64encode(gzip.compress(text.encode("utf-8", "replace"), compresslevel=6, mtime=0))
    return b'<script type="application/octet-stream" id="' + name.encode() + b'">' + packed + b"</script>\n"


def _asset(name: str) -> str:
    return (resources.files("alfworld_sft.report") / name).read_text(encoding="utf-8")


def in_chunks(items: Iterable[object], size: int) -> Iterator[list[object]]:
    """Yield the items in lists of this size, the last of which may be shorter."""
    chunk: list[object] = []
    for item in items:
        chunk.append(item)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
