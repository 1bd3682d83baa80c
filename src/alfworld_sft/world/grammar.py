"""Which known rules and wording do the texts inside a game file follow?

A game file carries its own PDDL domain and a text grammar, and the reference evaluates expressions of that grammar
as Python code. Here nothing of it is executed: both texts are reduced to a canonical form, and its fingerprint
either belongs to a known variant, whose rules `rules.py` and `text.py` implement, or the file is refused.

Spacing, comments, costs and unused parts do not count: the published files differ in those.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, TypeAlias

from alfworld_sft.world.sexpr import SExpr, parse_sexpr

GrammarVersion = Literal["move", "put"]
"""How objects are put down: `move x to y` since November 2024, `put x in/on y` before."""


@dataclass(frozen=True, slots=True)
class Variant:
    """What differs between the known games: the wording, whether `help` exists, and where one can clean."""

    version: GrammarVersion
    has_help: bool
    cleaning_types: frozenset[str]


_SINKS = frozenset({"sinktype", "sinkbasintype"})
_DOMAINS: dict[str, tuple[bool, frozenset[str]]] = {
    # fingerprint → (has help, receptacle types that clean)
    "6021d5884961c5bd77bbe0b8d39c342b77a465428cf414468092602e27c2178a": (True, _SINKS),  # in published files, 2024 on
    "3953a2326cdb08783dadb6b48c2d1706930547c5aa8159c9fdbb9c791ff23546": (True, _SINKS - {"sinktype"}),  # alfworld 0.4
    "7f42e703c4d647c3727e5bcb827869e0f6688c9da48a1a45bbdc42ef432a546c": (False, _SINKS - {"sinktype"}),  # 0.2 and 0.3
}
_GRAMMARS: dict[str, tuple[GrammarVersion, bool]] = {
    # fingerprint → (version, has words for help)
    "2fc52ac8afd491a5cc60752d777862117c684e1116c28e45e157f04d04a47566": ("move", True),  # in published files, 2024 on
    "30a5ae8edde6ae8b83cc6b4313a0c854fac7d5d5f4068cf0e1a8456ead43eb91": ("move", True),  # alfworld 0.4
    "9467a53c2c023c31820cc63bef2eee426ea63ec338bb8514e4a939d7e45631d4": ("put", False),  # alfworld 0.2-0.3
}

_ACTIONS = frozenset(
    {
        "gotolocation", "openobject", "closeobject", "pickupobject", "putobject", "examinereceptacle", "examineobject",
        "inventory", "look", "toggleobject", "heatobject", "cleanobject", "coolobject", "sliceobject", "help",
    }
)  # fmt: skip
_IMPLICIT_RULES = ("intro", "list_empty", "list_separator", "list_last_separator")
_IGNORED_SECTIONS = frozenset({"domain", ":requirements", ":predicates", ":functions"})

TASK_PREFIX = "Your task is to: "
_TASK_RULE = re.compile(r'("task":\s*\[\s*\{\s*"rhs":\s*")Your task is to: ([^"\\#{}\[\]|;\r\n]{1,300})(")')
_TASK_BLANK = "THE TASK"
MAX_TEXT_CHARS = 200_000

_GRAMMAR_TOKEN = re.compile(
    r'(?P<space>\s+)|"""(?P<block>.*?)"""|"(?P<string>[^"]*)"|(?P<word>[A-Za-z_]\w*)|(?P<mark>::|[;{}])', re.DOTALL
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
    if match is None:
        raise ValueError("its grammar has no plain 'task' rule (\"Your task is to: …\")")
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
    (has_help, cleaning_types), (version, has_words_for_help) = domain, grammar
    if has_help and not has_words_for_help:
        raise ValueError("its domain has a 'help' action that its grammar has no words for")
    return Variant(version, has_help, cleaning_types)


def domain_fingerprint(text: str) -> str:
    """Return a hash of the rules alone: types, and each action's parameters, precondition and effect."""
    expressions = parse_sexpr(text)
    if len(expressions) != 1 or not isinstance(expressions[0], tuple) or expressions[0][:1] != ("define",):
        raise ValueError("its PDDL domain is not a single (define …)")
    sections: list[Any] = []
    for section in expressions[0][1:]:
        if not isinstance(section, tuple) or not section:
            raise ValueError(f"its PDDL domain has a stray {section!r}")
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
        if tokens[position : position + 2] == [("word", "grammar"), ("mark", "::")]:
            block, position = _value(tokens, position)
            rules.update(_parse_rules(block))
        elif tokens[position] == ("word", "action") and tokens[position + 2 : position + 3] == [("mark", "{")]:
            name = tokens[position + 1][1].lower()
            position += 3
            fields: dict[str, str] = {}
            while tokens[position : position + 1] != [("mark", "}")]:
                key = tokens[position][1] if position < len(tokens) else ""
                fields[key], position = _value(tokens, position)
            position += 1
            if not {"template", "feedback"} <= fields.keys() <= {"template", "feedback", "grammar"}:
                raise ValueError(f"action '{name}' of its grammar has the fields {sorted(fields)}")
            actions[name] = (_folded(fields["template"]), _folded(fields["feedback"]))
            rules.update(_parse_rules(fields.get("grammar", "{}")))
        else:
            raise ValueError(f"its grammar cannot be read near {tokens[position][1][:40]!r}")
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


def _value(tokens: list[tuple[str, str]], position: int) -> tuple[str, int]:
    """Read `key :: "value";` at `position`; return the value and the position behind it."""
    match tokens[position : position + 4]:
        case [("word", _), ("mark", "::"), ("string" | "block", value), ("mark", ";")]:
            return value, position + 4
        case wrong:
            raise ValueError(f"its grammar cannot be read near {' '.join(word for _, word in wrong)[:40]!r}")


def _parse_rules(block: str) -> _Rules:
    lines = (line for line in block.split("\n") if not line.lstrip().startswith("#"))
    try:
        data = json.loads("\n".join(lines))
        return {
            name: [(_SPACES.sub("", rule.get("condition", "")), _folded(rule["rhs"])) for rule in alternatives]
            for name, alternatives in data.items()
        }
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise ValueError("a rule block of its grammar is not JSON of the form {name: [{condition, rhs}]}") from None


def _folded(text: str) -> str:
    return text.strip("\n").replace("\\n", "\n")
