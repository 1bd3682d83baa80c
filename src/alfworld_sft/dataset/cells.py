"""How is the text of a table cell parsed as a list or dict? As JSON, or as the Python literal that pandas writes.

Nothing is executed: `ast.literal_eval` reads only literals. If text begins like a list or dict but is neither, the
caller refuses it with `explain_unreadable`; as plain text it would be trained on verbatim.
"""

from __future__ import annotations

import ast
import json
import re
import warnings

EXCEL_CELL = 32_767
"""Maximum length of an Excel cell, in UTF-16 units; Excel silently cuts off anything longer."""
_NESTED = re.compile(r"""\s*"?\s*(?:\[\s*)?\{\s*\\?["'\u2018-\u201f]""")
_MESSAGES = re.compile(r"""\s*\[\s*\{\s*["'](?:role|content)["']\s*:""")
_ARRAY = re.compile(r"\}\s+\{|\barray\(|\bdtype=")
_ADVICE = "write Parquet (DataFrame.to_parquet) or JSON lines instead"


def parse_cell(text: str) -> object:
    """Parse a list or dict written as JSON (also inside a JSON string) or in Python; return other text unchanged."""
    stripped = text.strip()
    if not stripped.startswith(("{", "[", '"')):
        return text
    for read in (json.loads, _parse_literal):
        try:
            value = read(stripped)
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(value, str):
            inner = parse_cell(value) if looks_nested(value) else text
            return text if isinstance(inner, str) else inner
        if isinstance(value, list | dict):
            return value
    return text


def looks_nested(text: str) -> bool:
    """Return whether a text begins like a dict or a list of dicts."""
    return _NESTED.match(text) is not None


def looks_like_messages(text: str) -> bool:
    """Return whether a text begins like a list of messages."""
    return _MESSAGES.match(text) is not None


def is_cut_by_excel(text: str) -> bool:
    """Return whether a text has exactly the length at which Excel cuts it off."""
    return (
        EXCEL_CELL // 2 < len(text) <= EXCEL_CELL and len(text.encode("utf-16-le", "surrogatepass")) == 2 * EXCEL_CELL
    )


def explain_unreadable(text: str) -> str:
    """Explain where an unreadable list or dict probably comes from, and how to fix it."""
    if is_cut_by_excel(text):
        return f"it has {EXCEL_CELL:,} characters, the most a cell of Excel holds, and was cut there; {_ADVICE}"
    if _ARRAY.search(text) and _NESTED.match(text):
        return f"it looks like a NumPy array as pandas.to_csv prints it; {_ADVICE}"
    if re.match(r"\s*\[?\s*\{\s*'", text):
        return f"it looks like a Python literal as pandas.to_csv writes it, and is not complete; {_ADVICE}"
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        return f"it begins like JSON and cannot be read ({error.msg} at character {error.pos + 1}); {_ADVICE}"
    except RecursionError:
        return f"it is nested too deep; {_ADVICE}"
    except ValueError as error:
        return f"it begins like JSON and cannot be read ({error}); {_ADVICE}"
    return f"it is none of the forms that are read; {_ADVICE}"


def _parse_literal(text: str) -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about escapes such as \w, which are kept as they are
        return ast.literal_eval(text)
