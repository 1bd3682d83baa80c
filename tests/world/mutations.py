"""Thousands of ways to spoil a game file, each decided by a seed."""

import json
import random
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any

Mutation = Callable[[random.Random, bytes], bytes]

ABSURD = (
    "",
    "a",
    "_bar_",
    "x" * 10_000,
    "mug_bar_" + "9" * 5_000,
    "Mug_bar_<script>alert(1)</script>",
    "mug_bar_\u202e",
    "мug_bar_1",
    "mug_bar_$(touch hacked)",
    "../../../../etc/passwd",
    "mug_bar_%s%n{0}",
    "-",
    ";",
    "?o",
    "and",
    "(",
    ")",
    "\x00",
    "\ud800",
    "mug\nbar",
    "nan",
    "1e999",
)
WRONG: tuple[Any, ...] = (None, True, 5, 1.5, -(10**4000), [], {}, "", " ", [1], {"a": 1}, "x" * 300_000, float("nan"))
PREDICATES = (
    "atlocation",
    "inreceptacle",
    "inreceptacleobject",
    "objecttype",
    "opened",
    "full",
    "ishot",
    "holds",
    "not",
)
ALREADY_SPOILT = (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError, re.error)


def mutated(content: bytes, seed: int) -> bytes:
    """Return the file spoilt in one way, sometimes in two or three."""
    rng = random.Random(seed)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        mutation = MUTATIONS[seed % len(MUTATIONS)] if rng.random() < 0.7 else rng.choice(MUTATIONS)
        with suppress(*ALREADY_SPOILT):
            content = mutation(rng, content)
    return content


# The bytes.


def truncated(rng: random.Random, content: bytes) -> bytes:
    return content[: rng.randrange(len(content))]


def with_other_bytes(rng: random.Random, content: bytes) -> bytes:
    spoilt = bytearray(content)
    for _ in range(rng.choice((1, 1, 3, 30))):
        spoilt[rng.randrange(len(spoilt))] = rng.choice((0, 10, 34, 40, 41, 59, 92, 123, 125, 255, rng.randrange(256)))
    return bytes(spoilt)


def with_inserted_bytes(rng: random.Random, content: bytes) -> bytes:
    at = rng.randrange(len(content))
    more = rng.choice(
        (b"\x00", b"\xff", b"\xed\xa0\x80", b"\xc3", b"\\u0000", b"\\ud800", b'"', b"}", b"[" * 5_000, b"\xef\xbb\xbf")
    )
    return content[:at] + more + content[at:]


def with_moved_bytes(rng: random.Random, content: bytes) -> bytes:
    a, b, c = sorted(rng.randrange(len(content)) for _ in range(3))
    return rng.choice(
        (content[:a] + content[b:], content[:b] + content[a:], content[:a] + content[b:c] + content[a:b] + content[c:])
    )


def in_another_encoding(rng: random.Random, content: bytes) -> bytes:
    return content.decode().encode(rng.choice(("utf-16", "utf-32", "utf-8-sig", "utf-7", "cp500")))


def huge(rng: random.Random, content: bytes) -> bytes:
    return rng.choice(
        (content + b" " * 5_000_000, b"[" * 4_000_000, b'{"a":' * 500_000, b"9" * 4_000_000, b"(" * 4_000_000)
    )


# The JSON.


def with_a_wrong_type(rng: random.Random, content: bytes) -> bytes:
    data = json.loads(content)
    data[rng.choice((*data, "walkthrough"))] = rng.choice(WRONG)
    return _dumped(data)


def without_a_key(rng: random.Random, content: bytes) -> bytes:
    data = json.loads(content)
    del data[rng.choice(list(data))]
    return _dumped(data)


def with_a_key_twice(rng: random.Random, content: bytes) -> bytes:
    key = rng.choice(list(json.loads(content)))
    return content[:-1] + f', "{key}": {json.dumps(rng.choice(WRONG))}}}'.encode()


def with_strange_keys(rng: random.Random, content: bytes) -> bytes:
    return _dumped(json.loads(content) | {rng.choice(ABSURD): rng.choice(WRONG) for _ in range(5)})


def with_swapped_texts(rng: random.Random, content: bytes) -> bytes:
    data = json.loads(content)
    one, other = rng.sample(["pddl_domain", "grammar", "pddl_problem"], 2)
    data[one], data[other] = data[other], data[one]
    return _dumped(data)


def deeply_nested(rng: random.Random, content: bytes) -> bytes:
    depth = rng.choice((70, 1_000, 100_000))
    key, opening, closing = rng.choice((("pddl_problem", "(", ")"), ("pddl_domain", "(", ")"), ("grammar", "{", "}")))
    return _dumped(json.loads(content) | {key: opening * depth + closing * depth})


def with_a_strange_walkthrough(rng: random.Random, content: bytes) -> bytes:
    steps = [rng.choice((*ABSURD, 5, None, ["look"], "look")) for _ in range(rng.randrange(4))]
    return _dumped(json.loads(content) | {"walkthrough": steps})


# The words and the rules.


def with_hostile_words(rng: random.Random, content: bytes) -> bytes:
    """Expressions that the reference would evaluate; each would leave a file behind."""
    expression = rng.choice(
        (
            "{__import__('os').system('touch hacked')}",
            "{open('hacked', 'w')}",
            "{[c for c in ().__class__.__base__.__subclasses__()]}",
            "[{exec('import os') | atlocation(a:agent, l:location)}]",
            "#look.feedback#" * 100,
            "{(lambda: (yield))()}",
            "{9**9**9}",
        )
    )
    data = json.loads(content)
    sentences = list(re.finditer(r'(?:"rhs": |feedback :: |template :: )"()[^"]', data["grammar"]))
    at = rng.choice(sentences).start(1)
    data["grammar"] = data["grammar"][:at] + expression + data["grammar"][at:]
    return _dumped(data)


def with_a_hostile_task(rng: random.Random, content: bytes) -> bytes:
    data = json.loads(content)
    task = rng.choice(
        (*ABSURD, "{__import__('os').system('touch hacked')}", "#task#", '", "a": "', "a" * 100_000, "\\", "\\n", "//")
    )
    data["grammar"] = re.sub('Your task is to: [^"]*', lambda _: f"Your task is to: {task}", data["grammar"])
    return _dumped(data)


def with_other_words(rng: random.Random, content: bytes) -> bytes:
    return _with_other_text(rng, content, "grammar")


def with_other_rules(rng: random.Random, content: bytes) -> bytes:
    return _with_other_text(rng, content, "pddl_domain")


def with_endless_words(rng: random.Random, content: bytes) -> bytes:
    data = json.loads(content)
    more = rng.choice(
        ('"""' * 50_000, '"' * 150_001, "action " * 20_000, "::" * 50_000, "# " * 70_000, '"task": [' * 15_000)
    )
    data["grammar"] += more
    return _dumped(data)


# The problem.


def without_facts(rng: random.Random, content: bytes) -> bytes:
    share = rng.choice((0.01, 0.1, 0.5, 1))
    return _with_facts(content, lambda facts: [fact for fact in facts if rng.random() >= share])


def with_facts_twice(rng: random.Random, content: bytes) -> bytes:
    return _with_facts(content, lambda facts: facts + rng.sample(facts, min(len(facts), 20)))


def with_facts_in_another_order(rng: random.Random, content: bytes) -> bytes:
    return _with_facts(content, lambda facts: rng.sample(facts, len(facts)))


def with_more_facts(rng: random.Random, content: bytes) -> bytes:
    """Facts that fit, and facts that do not: wrong kinds, too many arguments, things that contain themselves."""

    def added(facts: list[str]) -> list[str]:
        words = sorted({word for fact in facts for word in fact.strip("()").split()[1:]})
        by_predicate: dict[str, list[str]] = {}
        for fact in facts:
            by_predicate.setdefault(fact.strip("()").split()[0], []).append(fact)
        more = []
        for _ in range(rng.choice((1, 1, 5, 50))):
            known = rng.choice(by_predicate[rng.choice(sorted(by_predicate))]).strip("()").split()
            other = rng.choice(by_predicate[rng.choice(sorted(by_predicate))]).strip("()").split()
            more.append(
                rng.choice(
                    (
                        [*known[:-1], other[-1]],
                        [known[0], *other[1:]],
                        [rng.choice(PREDICATES), *known[1:]],
                        [rng.choice(PREDICATES), *rng.choices(words, k=rng.randrange(4))],
                        ["inreceptacleobject", known[1], known[1]],
                    )
                )
            )
        return facts + [f"({' '.join(words)})" for words in more]

    return _with_facts(content, added)


def with_endless_facts(rng: random.Random, content: bytes) -> bytes:
    number = rng.choice((2_000, 20_000))
    declared = "".join(f"mug_bar_{i} - object\n" for i in range(number))
    facts = [f"(objecttype mug_bar_{i} mugtype)" for i in range(number)]
    data = json.loads(_with_facts(content, lambda known: known + facts))
    data["pddl_problem"] = re.sub(r"\(:objects", lambda match: f"{match[0]} {declared}", data["pddl_problem"])
    return _dumped(data)


def with_other_names(rng: random.Random, content: bytes) -> bytes:
    data = json.loads(content)
    names = sorted(set(re.findall(r"\w+_bar_\w+", data["pddl_problem"])))
    for name in rng.sample(names, min(len(names), rng.choice((1, 1, 5)))):
        data["pddl_problem"] = data["pddl_problem"].replace(
            name, rng.choice((*ABSURD, rng.choice(names), "Sink_bar_basin"))
        )
    return _dumped(data)


def with_other_kinds(rng: random.Random, content: bytes) -> bytes:
    data = json.loads(content)
    kinds = ["agent", "object", "receptacle", "location", "rtype", "otype", "cat", "-"]
    data["pddl_problem"] = re.sub(
        r"- (\w+)", lambda m: f"- {rng.choice(kinds)}" if rng.random() < 0.02 else m[0], data["pddl_problem"]
    )
    return _dumped(data)


def with_another_goal(rng: random.Random, content: bytes) -> bytes:
    data = json.loads(content)
    head, goal = data["pddl_problem"].split("(:goal")
    words = goal.split()
    change = rng.randrange(4)
    if change == 0:
        words[rng.randrange(len(words))] = rng.choice(
            ("(or", "(not", "(forall", "?o", "?r", "object", "MugType", "5", "()")
        )
    elif change == 1:
        del words[rng.randrange(len(words))]
    elif change == 2:
        rng.shuffle(words)
    else:
        words = [
            rng.choice(
                ("(and)", "()", "(isClean ?o)", "(exists (?o - object) (isHot ?o))", "a", "(and " * 60 + ")" * 60)
            ),
            ")",
            ")",
        ]
    return _dumped(data | {"pddl_problem": f"{head}(:goal {' '.join(words)}"})


def with_other_sections(rng: random.Random, content: bytes) -> bytes:
    data = json.loads(content)
    old, new = rng.choice(
        (
            ("(:goal", "(:gaol"),
            ("(:goal", "(:init) (:goal"),
            ("(:init", "(:objects) (:init"),
            ("(:init", "(:constraints (and)) (:init"),
            ("(:domain alfred)", ""),
            ("alfred", "chess"),
            ("(define", "(define (define"),
            ("(:goal", "(:metric minimize (total-cost)) (:goal"),
            ("(:objects", "(:objects ("),
        )
    )
    return _dumped(data | {"pddl_problem": data["pddl_problem"].replace(old, new, 1)})


def _with_facts(content: bytes, change: Callable[[list[str]], list[str]]) -> bytes:
    data = json.loads(content)
    problem = data["pddl_problem"]
    start, end = problem.index("(:init") + len("(:init"), problem.index("(:goal")
    facts = "\n".join(change(re.findall(r"\([^()]*\)", problem[start:end])))
    return _dumped(data | {"pddl_problem": f"{problem[:start]}\n{facts}\n)\n{problem[end:]}"})


def _with_other_text(rng: random.Random, content: bytes, key: str) -> bytes:
    data = json.loads(content)
    text = data[key]
    at = rng.randrange(len(text))
    more = rng.choice(("", "x", " ", "\n", '"', "(", ")", "{", "}", "#", ";", "//", "\x00", "not ", "\\", "é"))
    return _dumped(data | {key: text[:at] + more + text[at + rng.randrange(3) :]})


def _dumped(data: dict[str, Any]) -> bytes:
    return json.dumps(data).encode()


MUTATIONS: tuple[Mutation, ...] = (
    truncated,
    with_other_bytes,
    with_inserted_bytes,
    with_moved_bytes,
    in_another_encoding,
    huge,
    with_a_wrong_type,
    without_a_key,
    with_a_key_twice,
    with_strange_keys,
    with_swapped_texts,
    deeply_nested,
    with_a_strange_walkthrough,
    with_hostile_words,
    with_a_hostile_task,
    with_other_words,
    with_other_rules,
    with_endless_words,
    without_facts,
    with_facts_twice,
    with_facts_in_another_order,
    with_more_facts,
    with_more_facts,
    with_endless_facts,
    with_other_names,
    with_other_kinds,
    with_another_goal,
    with_other_sections,
)
