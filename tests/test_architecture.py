"""What each room imports (the table in `docs/architecture.md`), and that nothing imports in a circle."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import alfworld_sft

PACKAGE = Path(alfworld_sft.__file__).parent
ARCHITECTURE = Path(__file__).parents[1] / "docs" / "architecture.md"
LEARNING = {"torch", "transformers", "peft", "accelerate", "safetensors", "bitsandbytes", "trl"}
"""What is installed with the extra `train` only."""
LEARNERS = ("train/", "models/", "policies/llm/local.py", "policies/llm/kv_cache.py")


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
    hidden = f"import sys; sys.modules.update(dict.fromkeys({sorted(LEARNING)!r})); import alfworld_sft.cli"
    done = subprocess.run([sys.executable, "-c", hidden], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
