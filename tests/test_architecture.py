"""What each room imports (the table in `docs/architecture.md`), no import in a circle, and what stands only once."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import alfworld_sft
from alfworld_sft.evaluate.worldmodel import ACTION_KINDS
from alfworld_sft.world import language
from alfworld_sft.world.treatments import TREATMENTS

PACKAGE = Path(alfworld_sft.__file__).parent
ARCHITECTURE = Path(__file__).parents[1] / "docs" / "architecture.md"
LEARNING = {"torch", "transformers", "peft", "accelerate", "safetensors", "bitsandbytes", "trl"}
"""What is installed with the extra `train` only."""
LEARNERS = (
    "train/",
    "rl/",
    "models/",
    *(f"policies/llm/{name}.py" for name in ("local", "padded_batch", "packed_batch", "picking")),
    "integrations/trl.py",
)


def imports(source: str, module: str = "alfworld_sft.module") -> set[str]:
    """The full names of all modules that a source imports, wherever in it; `module` is its own name."""
    return set(_imports(ast.parse(source), module.split(".")))


def _imports(tree: ast.AST, module: list[str]) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = [*module[: -node.level], *(node.module or "").split(".")] if node.level else [node.module or ""]
            name = ".".join(filter(None, base))
            # `from alfworld_sft import games` imports a module, too.
            yield from (f"{name}.{alias.name}" for alias in node.names) if name == "alfworld_sft" else (name,)


def modules(folder: str = "") -> dict[str, set[str]]:
    """What each file of a folder of the package imports, by the file's path in the package."""
    found = {}
    for path in sorted((PACKAGE / folder).rglob("*.py")):
        name = path.relative_to(PACKAGE)
        found[name.as_posix()] = imports(
            path.read_text("utf-8"), ".".join(("alfworld_sft", *name.with_suffix("").parts))
        )
    return found


def test_all_forms_of_import_are_found():
    source = """
import torch.nn as nn
from . import sibling
from ..types import View
from alfworld_sft import games
def late():
    from transformers import AutoModel
"""
    assert imports(source, "alfworld_sft.world.rules") == {
        "torch.nn",
        "alfworld_sft.world",
        "alfworld_sft.types",
        "alfworld_sft.games",
        "transformers",
    }


def room_of(module: str) -> str:
    """The room of a module's full name; the entry points `__main__` belong to the command line."""
    parts = module.split(".")
    return "cli" if parts[-1] == "__main__" else parts[1] if len(parts) > 1 else "package"


def drawn_arrows() -> dict[str, set[str]]:
    """The rooms that each room imports, as the documented table says."""
    rows = re.findall(r"^\| `(\w+)(?:\.py|/)` \|.*\| ([^|]*) ?\|$", ARCHITECTURE.read_text("utf-8"), re.MULTILINE)
    return {room: set(re.findall(r"`(\w+)`", names)) for room, names in rows}


def imported_modules() -> dict[str, set[str]]:
    """The modules of the package that each module imports, by full names."""
    files = {
        ".".join(("alfworld_sft", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): path
        for path in PACKAGE.rglob("*.py")
    }
    graph = {}
    for name, path in files.items():
        tree = ast.parse(path.read_text("utf-8"))
        found = {f"{n.module}.{a.name}" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) for a in n.names}
        found |= {alias.name for n in ast.walk(tree) if isinstance(n, ast.Import) for alias in n.names}
        graph[name] = {m for m in (f if f in files else f.rpartition(".")[0] for f in found) if m in files}
    return graph


def test_a_room_imports_exactly_the_rooms_that_the_architecture_names():
    arrows: dict[str, set[str]] = {room: set() for room in drawn_arrows()}
    for module, imported in imported_modules().items():
        if module != "alfworld_sft":
            arrows.setdefault(room_of(module), set()).update(map(room_of, imported))
    assert {room: names - {room, "package"} for room, names in arrows.items()} == drawn_arrows()


def test_the_rooms_stand_from_the_bottom_up():
    order = list(drawn_arrows())
    assert {
        room: {n for n in names if order.index(n) >= order.index(room)} for room, names in drawn_arrows().items()
    } == {room: set() for room in order}


def test_no_module_imports_another_in_a_circle():
    graph = {module: set(names) for module, names in imported_modules().items()}
    while leaves := {module for module, names in graph.items() if not names}:
        graph = {module: names - leaves for module, names in graph.items() if module not in leaves}
    assert graph == {}


def test_the_world_imports_only_the_standard_library():
    for file, names in modules("world").items():
        outside = {n.partition(".")[0] for n in names} - {"alfworld_sft"} - set(sys.stdlib_module_names)
        assert outside == set(), file


def test_only_the_learning_parts_import_learning_libraries():
    files = {file: names for file, names in modules().items() if not file.startswith(LEARNERS)}
    found = {file: bad for file, names in files.items() if (bad := {n for n in names if n.split(".")[0] in LEARNING})}
    assert found == {}


def test_the_commands_start_without_the_learning_libraries():
    """Whether these are installed or not: here importing one is an error."""
    hidden = f"import sys; sys.modules.update(dict.fromkeys({sorted(LEARNING)!r}))\n"
    commands = "from alfworld_sft.cli import COMMANDS, load_command\nfor name in COMMANDS: load_command(name)"
    done = subprocess.run(
        [sys.executable, "-c", hidden + commands], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


LANGUAGE = "world/language.py"
AGENTS_OWN_WORDS = {"policies/expert/thoughts.py", "models/chat_template.py"}
"""Where English is not the game's: what the expert thinks, and a conversation that only tries out a chat template."""


def written_texts(source: str) -> set[str]:
    """All texts of a source but its docstrings, as the source writes them; a gap in an f-string is "desk 1"."""
    tree = ast.parse(source)
    documents = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant)}
    parts = {id(part) for n in ast.walk(tree) if isinstance(n, ast.JoinedStr) for part in n.values}
    texts = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            texts.add("".join(str(part.value) if isinstance(part, ast.Constant) else "desk 1" for part in node.values))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documents | parts:
            texts.add(node.value)
    return texts


def words_of_the_game(texts: set[str]) -> set[str]:
    """Those of the texts that are a command or a sentence of the game, or hold the words that one begins with."""
    openings = {p.prefix for p in (*language.COMMANDS, *language.SENTENCES) if p.slots and p.prefix.count(" ") > 1}
    fixed = {language.EMPTY_HANDED, language.NOTHING_HAPPENS, language.BANNER, language.TASK_PREFIX, " in/on "}
    starts = {command.prefix for command in language.COMMANDS if command.slots}
    return {
        text
        for text in texts
        if text in starts
        or (language.read_command(text) and text.count(" "))
        or language.read_sentence(text)
        or any(words in text for words in openings | fixed)
    }


def test_words_of_the_game_are_found():
    source = '''
def f(x, y):
    """Doc: go to desk 1"""
    g(f"take {x} from {y}", "go to ", f"You pick up the {x}", r"You arrive at (.+)", x.partition(" in/on "), "look")
    g(f"The {x} is closed.", f"take {x} away", "Nothing happens.", f"I take {x}.", {"take": 1})
'''
    assert words_of_the_game(written_texts(source)) == {
        "take desk 1 from desk 1", "go to ", "You pick up the desk 1", "You arrive at (.+)", " in/on ",
        "The desk 1 is closed.", "Nothing happens.",
    }  # fmt: skip


def test_the_language_of_the_game_stands_in_one_file():
    found = {
        file: words
        for file in modules()
        if file != LANGUAGE and (words := words_of_the_game(written_texts((PACKAGE / file).read_text("utf-8"))))
    }
    assert found.pop("evaluate/worldmodel.py") < set(ACTION_KINDS)  # names of metrics
    assert found.keys() <= AGENTS_OWN_WORDS, found


def tables_of_treatments(source: str) -> list[str]:
    """The dict displays of a source that have an entry for heating alone."""
    own = {TREATMENTS["heat"].verb, TREATMENTS["heat"].flag, TREATMENTS["heat"].task_type}
    dicts = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Dict)]
    return [ast.unparse(d) for d in dicts if any(isinstance(key, ast.Constant) and key.value in own for key in d.keys)]


def test_tables_of_treatments_are_found():
    assert tables_of_treatments('A = {"clean": 1, "heat": 2}\nB = {"cook": 1}\nC = {t.verb: 1 for t in T}\n') == [
        "{'clean': 1, 'heat': 2}"
    ]


def test_what_belongs_to_a_treatment_stands_in_its_record_alone():
    found = {
        file: tables for file in modules() if (tables := tables_of_treatments((PACKAGE / file).read_text("utf-8")))
    }
    assert found == {}
