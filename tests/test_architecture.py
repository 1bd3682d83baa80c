"""The two arrows of the design: what each room may import (`docs/architecture.md`)."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import alfworld_sft

PACKAGE = Path(alfworld_sft.__file__).parent
LEARNING = {"torch", "transformers", "peft", "accelerate", "safetensors", "bitsandbytes", "trl"}
"""What is installed with the extra `train` only."""
LEARNERS = ("train/", "chat.py", "policies/local.py", "policies/kv_cache.py")


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


def test_the_world_imports_the_standard_library_types_and_errors_alone():
    def allowed(name: str) -> bool:
        if name.partition(".")[0] in sys.stdlib_module_names:
            return True
        return name in ("alfworld_sft.types", "alfworld_sft.errors") or f"{name}.".startswith("alfworld_sft.world.")

    files = modules("world")
    assert {file: bad for file, names in files.items() if (bad := {n for n in names if not allowed(n)})} == {}
    assert {"world/gamefile.py", "world/rules.py", "world/plan.py"} <= files.keys()


def test_only_the_learning_parts_import_learning_libraries():
    files = {file: names for file, names in modules().items() if not file.startswith(LEARNERS)}
    found = {file: bad for file, names in files.items() if (bad := {n for n in names if n.split(".")[0] in LEARNING})}
    assert found == {}


def test_the_commands_start_without_the_learning_libraries():
    """Whether these are installed or not: here importing one is an error."""
    hidden = f"import sys; sys.modules.update(dict.fromkeys({sorted(LEARNING)!r})); import alfworld_sft.cli"
    done = subprocess.run([sys.executable, "-c", hidden], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
