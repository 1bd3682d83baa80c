"""How is the text of an override read? The type of its key decides; nothing is ever cut off as a comment.

| the key holds | the text is |
|---|---|
| text, or one of some words | the text as it stands: `#`, `&`, `:`, quotes, numbers and blanks belong to it |
| a list of texts | one item, as it stands; or, between `[` and `]`, items separated by commas; quotes keep a comma |
| anything else | `true` or `false`, a number, or a list such as `[0.9,0.95]` |

Where a key may be unset, `null` unsets it. A file that is really called `null` is `./null`. No text at all is refused:
a shell variable that is not set would otherwise, as `num_episodes=$N`, play every game.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

_NULL = re.compile(r"null|Null|NULL")
_BOOL = re.compile(r"true|false", re.IGNORECASE)
_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_ITEM = re.compile(r"""\s*(?:'(?P<single>[^']*)'|"(?P<double>[^"]*)"|(?P<plain>[^,]*?))\s*(?:,|\Z)""")


def read_value(text: str, annotation: Any) -> Any:
    """Return the value that the text of an override means for a key of this type; the config then validates it.

    Raises ValueError, whose message says what to write instead, where a text or an item of a list is empty.
    """
    kinds = set(_kinds(annotation))
    if not text.strip():
        unset = ", or null for none" if NoneType in kinds else ""
        raise ValueError(f"no value is given; give one{unset}, or leave the key out")
    if NoneType in kinds and _NULL.fullmatch(text):
        return None
    if kinds & {int, float, bool, tuple}:
        return _read_plain(text.strip())
    if list in kinds and (found := re.fullmatch(r"\s*\[(.*)\]\s*", text, re.DOTALL)):
        return list(_items(found[1]))
    return [text] if list in kinds and str not in kinds else text


def _kinds(annotation: Any) -> Iterator[type]:
    """Yield the plain types of an annotation: `Annotated[list[str], …] | None` gives list and NoneType."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _kinds(get_args(annotation)[0])
    elif origin in (Union, UnionType):
        for part in get_args(annotation):
            yield from _kinds(part)
    elif origin is Literal:
        yield from (type(word) for word in get_args(annotation))
    else:
        yield origin or annotation


def _read_plain(text: str) -> Any:
    """Return a number, a truth value, None or a list of them; any other text stays text, for the config to refuse."""
    if _NULL.fullmatch(text) or text == "~":
        return None
    if _BOOL.fullmatch(text):
        return text.lower() == "true"
    if _INT.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    if text.startswith("[") and text.endswith("]"):
        return [_read_plain(item) for item in _items(text[1:-1])]
    return text


def _items(text: str) -> Iterator[str]:
    """Yield what commas separate; quotes around an item are no part of it, and one comma may end the list."""
    position = 0
    while text[position:].strip():
        found = _ITEM.match(text, position)
        assert found, "the third way to write an item takes any text up to a comma"
        item = next(part for part in found.groups() if part is not None)
        if not item:
            raise ValueError("an item of the list is empty")
        yield item
        position = found.end()
