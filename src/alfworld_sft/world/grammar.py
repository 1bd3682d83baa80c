"""Which known rules and wording do the texts inside a game file follow?

A game file carries its own PDDL domain and a text grammar, and the reference evaluates expressions of that grammar
as Python code. Here nothing of it is executed: both texts are reduced to a canonical form, and its fingerprint
either belongs to a known variant, whose rules and words `rules.py` and `language.py` hold, or the file is refused.

Spacing, comments, costs and unused parts do not count: the published files differ in those.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, NamedTuple, TypeAlias

from alfworld_sft.types import Wording
from alfworld_sft.world.language import TASK_PREFIX
from alfworld_sft.world.sexpr import SExpr, parse_sexpr


@dataclass(frozen=True, slots=True)
class Variant:
    """What differs between the known games: the wording, whether `help` exists, and where one can clean."""

    version: Wording
    has_help: bool
    cleaning_types: frozenset[str]


Author = Literal["ALFWorld", "ours"]
"""Who wrote a text. Words name the parameters of the rules' actions, so the two must have one author."""


class _Domain(NamedTuple):
    author: Author
    has_help: bool
    cleaning_types: frozenset[str]


class _Grammar(NamedTuple):
    author: Author
    version: Wording
    has_help: bool


_BASIN = frozenset({"sinkbasintype"})
_SINKS = frozenset({"sinktype", "sinkbasintype"})
_DOMAINS = {
    # in the published files, since November 2024
    "6021d5884961c5bd77bbe0b8d39c342b77a465428cf414468092602e27c2178a": _Domain("ALFWorld", True, _SINKS),
    # in the package alfworld 0.4, so in games made with it
    "3953a2326cdb08783dadb6b48c2d1706930547c5aa8159c9fdbb9c791ff23546": _Domain("ALFWorld", True, _BASIN),
    # in the packages alfworld 0.2 and 0.3
    "7f42e703c4d647c3727e5bcb827869e0f6688c9da48a1a45bbdc42ef432a546c": _Domain("ALFWorld", False, _BASIN),
    # logic/domain.pddl
    "2cc673fed6d8f9ecca4f23888cd762f46f9cfe2dbd660481ec3f5d22e97bee9c": _Domain("ours", True, _SINKS),
    # logic/domain.pddl, with what alfworld 0.3 lacks taken out
    "ed862ee0a5be4aaf186b492874bd540f6bb8725d374249628208d786d8b878f0": _Domain("ours", False, _BASIN),
}
_GRAMMARS = {
    # in the published files, since November 2024
    "a2627e00182ef30569ef51c4fa3a68785a8fe7ebca35370a0cb8522462a611d7": _Grammar("ALFWorld", "move", True),
    # in the package alfworld 0.4
    "fd2ac4726c7222958ac0e42e5883de745c3ebbb8f0f96e6b83fb21dfe41ba1ab": _Grammar("ALFWorld", "move", True),
    # in the packages alfworld 0.2 and 0.3
    "966cb7fc02db5c8f6bf975da87f2e1e6803c8f37af7ac87219c976d9ef17acdb": _Grammar("ALFWorld", "put", False),
    # logic/grammar.twl2
    "30eae6a97b45e33bad3a7002e1775abcc43ff0f67ff8faf483a0684467d55c2c": _Grammar("ours", "move", True),
    # logic/grammar.twl2 in the words of alfworld 0.3
    "cb19d8bc4e1078566d31fa1185a8423894834229d0fba280ef3576888da3a215": _Grammar("ours", "put", False),
}

_ACTIONS = frozenset(
    {
        "gotolocation", "openobject", "closeobject", "pickupobject", "putobject", "examinereceptacle", "examineobject",
        "inventory", "look", "toggleobject", "heatobject", "cleanobject", "coolobject", "sliceobject", "help",
    }
)  # fmt: skip
_IMPLICIT_RULES = ("intro", "list_empty", "list_separator", "list_last_separator")
_IGNORED_SECTIONS = frozenset({"domain", ":requirements", ":predicates", ":functions"})

_TASK_RULE = re.compile(
    r'("task":\s*\[\s*\{\s*"rhs":\s*")' + re.escape(TASK_PREFIX) + r'([^"\\#{}\[\]|;<>\r\n]{1,300})(")'
)
_TASK_BLANK = "<THE TASK>"
MAX_TEXT_CHARS = 200_000

_GRAMMAR_TOKEN = re.compile(
    r'(?P<space>\s+|#[^\n]*)|"""(?P<block>.*?)"""|"(?P<string>[^"]*)"|(?P<word>[A-Za-z_]\w*)|(?P<mark>::|[;{}])',
    re.DOTALL,
)
_RULE_REFERENCE = re.compile(r"#([^#]+)#")
_SPACES = re.compile(r"\s+")

_Rules: TypeAlias = "dict[str, list[tuple[str, str]]]"
_Templates: TypeAlias = "dict[str, tuple[str, str]]"


def split_task(grammar_text: str) -> tuple[str, str]:
    """Return (grammar text with the task blanked, task sentence).

    Raises ValueError where there is no plain task sentence: one that would need evaluation is no plain sentence.
    """
    match = _TASK_RULE.search(grammar_text)
    if match is None or _TASK_BLANK in grammar_text:
        raise ValueError(f"its grammar has no plain 'task' rule (\"{TASK_PREFIX}…\")")
    task = match.group(2)
    if task != task.strip() or not task.isprintable():
        raise ValueError(f"its task sentence is not plain text: {task!r}")
    return grammar_text[: match.start(2)] + _TASK_BLANK + grammar_text[match.end(2) :], task


@lru_cache(maxsize=64)
def recognise(domain_text: str, blanked_grammar_text: str) -> Variant:
    """Return the variant of a game; raises ValueError for texts that match no known variant."""
    for name, text in (("domain", domain_text), ("grammar", blanked_grammar_text)):
        if len(text) > MAX_TEXT_CHARS:
            raise ValueError(f"its {name} has {len(text)} characters; known ones have at most {MAX_TEXT_CHARS}")
    domain = _DOMAINS.get(domain_fingerprint(domain_text))
    if domain is None:
        raise ValueError("its PDDL domain is not one of ALFWorld's; changed rules cannot be played")
    grammar = _GRAMMARS.get(grammar_fingerprint(blanked_grammar_text))
    if grammar is None:
        raise ValueError("its text grammar is none of ALFWorld's known versions; changed wording cannot be played")
    if domain.author != grammar.author:
        raise ValueError("its domain and its grammar are not made for each other")
    if domain.has_help and not grammar.has_help:
        raise ValueError("its domain has a 'help' action that its grammar has no words for")
    return Variant(grammar.version, domain.has_help, domain.cleaning_types)


def domain_fingerprint(text: str) -> str:
    """Return a hash of the rules alone: types, and each action's parameters, precondition and effect."""
    try:
        expressions = parse_sexpr(text)
    except ValueError as error:
        raise ValueError(f"its PDDL domain cannot be read: {error}") from None
    if len(expressions) != 1 or not isinstance(expressions[0], tuple) or expressions[0][:1] != ("define",):
        raise ValueError("its PDDL domain is not a single (define …)")
    sections: list[Any] = []
    for section in expressions[0][1:]:
        if not isinstance(section, tuple) or not section:
            raise ValueError(f"its PDDL domain has a stray {str(section)[:60]!r}")
        if section[0] not in _IGNORED_SECTIONS:
            sections.append(_without_costs(section))
    return _fingerprint(sorted(sections, key=repr))


def grammar_fingerprint(text: str) -> str:
    """Return a hash of the words alone: the templates and feedback of the actions, and the rules that they reach."""
    actions, rules = _parse_grammar(text)
    actions = {name: words for name, words in actions.items() if name in _ACTIONS}
    owed = [*_IMPLICIT_RULES, *_references(words for pair in actions.values() for words in pair)]
    reached: _Rules = {}
    while owed:
        name = owed.pop()
        if name not in reached:
            reached[name] = rules.get(name, [])
            owed += _references(rhs for _, rhs in reached[name])
    return _fingerprint([sorted(actions.items()), sorted(reached.items())])


def _without_costs(expression: SExpr) -> SExpr:
    if isinstance(expression, str):
        return expression
    return tuple(_without_costs(part) for part in expression if part[:1] != ("increase",))


def _references(texts: Any) -> list[str]:
    return [name for text in texts for name in _RULE_REFERENCE.findall(text)]


def _fingerprint(canonical: object) -> str:
    return hashlib.sha256(json.dumps(canonical, ensure_ascii=True).encode()).hexdigest()


def _parse_grammar(text: str) -> tuple[_Templates, _Rules]:
    """Read the `grammar :: {json};` and `action Name { key :: value; … }` parts; later rules replace earlier ones."""
    tokens = _tokens(text)
    actions: _Templates = {}
    rules: _Rules = {}
    position = 0
    while position < len(tokens):
        match tokens[position : position + 3]:
            case [("word", "grammar"), ("mark", "::"), _]:
                _, block, position = _field(tokens, position)
                rules.update(_parse_rules(block))
            case [("word", "action"), ("word", name), ("mark", "{")]:
                position += 3
                fields: dict[str, str] = {}
                while tokens[position : position + 1] != [("mark", "}")]:
                    key, value, position = _field(tokens, position)
                    if key in fields:
                        raise ValueError(f"action {name[:40]!r} of its grammar has two fields {key!r}")
                    fields[key] = value
                position += 1
                if not {"template", "feedback"} <= fields.keys():
                    raise ValueError(f"action {name[:40]!r} of its grammar lacks a template or a feedback")
                actions[name.lower()] = (fields["template"], fields["feedback"])
                rules.update(_parse_rules(fields.get("grammar", "{}")))
            case wrong:
                raise _unreadable(wrong)
    return actions, rules


def _tokens(text: str) -> list[tuple[str, str]]:
    tokens: list[tuple[str, str]] = []
    position = 0
    while position < len(text):
        match = _GRAMMAR_TOKEN.match(text, position)
        if match is None or (match.lastgroup == "string" and text.startswith('"""', position)):
            raise ValueError(f"its grammar cannot be read near {text[position : position + 40]!r}")
        if match.lastgroup and match.lastgroup != "space":
            tokens.append((match.lastgroup, match[match.lastgroup]))
        position = match.end()
    return tokens


def _field(tokens: list[tuple[str, str]], position: int) -> tuple[str, str, int]:
    """Read `key :: value;` at `position`; return key, value and the position behind it."""
    match tokens[position : position + 4]:
        case [("word", "template" | "feedback" as key), ("mark", "::"), ("string", value), ("mark", ";")]:
            return key, value, position + 4
        case [("word", "grammar"), ("mark", "::"), ("block", value), ("mark", ";")]:
            return "grammar", value, position + 4
        case wrong:
            raise _unreadable(wrong)


def _unreadable(tokens: list[tuple[str, str]]) -> ValueError:
    return ValueError(f"its grammar cannot be read near {' '.join(word for _, word in tokens)[:40]!r}")


def _parse_rules(block: str) -> _Rules:
    """Read {name: [{condition, rhs}]}; of the alternatives of a rule the first whose condition holds is taken."""
    lines = (line for line in block.split("\n") if not line.lstrip().startswith("#"))
    rules: _Rules = {}
    try:
        for name, alternatives in json.loads("\n".join(lines)).items():
            rules[name] = [(_SPACES.sub("", rule.get("condition", "")), rule["rhs"]) for rule in alternatives]
            if not all(isinstance(rhs, str) for _, rhs in rules[name]):
                raise TypeError
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise ValueError("a rule block of its grammar is not JSON of the form {name: [{condition, rhs}]}") from None
    return rules
