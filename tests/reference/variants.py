"""What would a game file look like if an older or newer `alfworld` had written it?

All real games that we have carry one domain and one grammar (November 2024). Files written by older versions, and
files generated with the `logic/` folder of 0.4.2, carry slightly different texts. The differences are few, so the
other texts are made by edits, and their SHA-256 proves that they are the bytes in those packages' data folders.
"""

import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Literal, get_args

Grammar = Literal["embedded", "logic", "older"]
GRAMMARS: tuple[Grammar, ...] = get_args(Grammar)

# alfworld 0.4.2 and alfworld 0.3.5: alfworld/data/alfred.pddl and alfred.twl2
SHA256 = {
    ("logic", "pddl_domain"): "f1473041ed01da514de1f87adfd7ef0804862361f83ccf63c75e43633b0eb280",
    ("logic", "grammar"): "c5b22f0f73309a7fd7c8e5b71de42ad4803b60766ab4a51cc2feb34162be036b",
    ("older", "pddl_domain"): "e64e8c0002648c403e05adedc25be5ea8b9863924f32cc7611051bed1f386e46",
    ("older", "grammar"): "d955e6db384c68ac5797e881b795fd36d788e87a03547f9a87e48fbd7c5b361b",
}
TASK = re.compile(r'("rhs": "Your task is to: )([^"]*?)(\."|")')
UNKNOWN_GOAL = "UNKNOWN GOAL"


class VariantError(Exception):
    """The file's texts are not the embedded ones that the edits are for."""


def write_variant(path: Path, grammar: Grammar, folder: Path) -> Path:
    """Write the game at `path` with another grammar below `folder`, its `traj_data.json` beside it; the new path."""
    target = folder / path.name
    target.parent.mkdir(parents=True, exist_ok=True)
    game = json.loads(path.read_text(encoding="utf-8"))
    target.write_text(json.dumps(as_variant(game, grammar)), encoding="utf-8")
    shutil.copy(path.with_name("traj_data.json"), target.with_name("traj_data.json"))
    return target


def as_variant(game: dict[str, object], grammar: Grammar) -> dict[str, object]:
    """The same game with the texts of another version; `embedded` changes nothing."""
    if grammar == "embedded":
        return game
    domain, text, task = str(game["pddl_domain"]), str(game["grammar"]), task_of(str(game["grammar"]))
    text = TASK.sub(rf'\g<1>{UNKNOWN_GOAL}."', text, count=1)
    domain, text = (_logic_domain(domain), _logic_grammar(text)) if grammar == "logic" else _older(domain, text)
    for key, value in (("pddl_domain", domain), ("grammar", text)):
        digest = hashlib.sha256(value.encode()).hexdigest()
        if digest != SHA256[grammar, key]:
            raise VariantError(f"{key} as {grammar}: SHA-256 {digest}, not that of the package's data file")
    return game | {"pddl_domain": domain, "grammar": text.replace(UNKNOWN_GOAL, task)}


def task_of(grammar: str) -> str:
    """The task sentence in a grammar, without its full stop."""
    found = TASK.search(grammar)
    if found is None:
        raise VariantError("the grammar has no 'Your task is to: …'")
    return found[2]


def _logic_domain(domain: str) -> str:
    return _clean_in_sink_basin_only(domain).removesuffix(")\n") + "\n)\n"


def _logic_grammar(grammar: str) -> str:
    literal = _action(grammar, "help")
    shown = json.dumps(re.search(r'feedback :: "(.*?)";', literal, re.DOTALL)[1])
    as_rule = (
        'action help {\n    template :: "help";\n    feedback :: "#help.feedback#";\n\n    grammar :: """\n        {\n'
        f'            "help.feedback": [\n                {{\n                    "rhs": {shown}\n'
        '                }\n            ]\n        }\n    """;\n}'
    )
    return grammar.replace(literal, as_rule)


def _older(domain: str, grammar: str) -> tuple[str, str]:
    domain = re.sub(r"\n\(:action help\n.*?\n\)\n", "\n", _clean_in_sink_basin_only(domain), flags=re.DOTALL)
    grammar = grammar.replace("\n\n" + _action(grammar, "help"), "")
    for new, old in (
        ("You arrive at {r.name}.", "You arrive at {lend.name}."),
        ("You move the {o.name} to the {r.name}.", "You put the {o.name} in/on the {r.name}."),
        ("move {o} to {r}", "put {o} in/on {r}"),
    ):
        grammar = grammar.replace(new, old)
    return domain, grammar


def _clean_in_sink_basin_only(domain: str) -> str:
    return domain.replace("(receptacleType ?r SinkType)", ";(receptacleType ?r SinkType)")


def _action(grammar: str, name: str) -> str:
    """The text of one action, from `action` to its closing brace at the start of a line."""
    found = re.search(rf"^action {name} {{\n.*?^}}", grammar, re.DOTALL | re.MULTILINE)
    if found is None:
        raise VariantError(f"the grammar has no action {name!r}")
    return found[0]
