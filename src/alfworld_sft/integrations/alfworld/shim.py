"""How do programs that nobody wants to change get the drop-in? From two small packages on `PYTHONPATH`."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from alfworld_sft.errors import UserError, os_reason
from alfworld_sft.files import whole_folder
from alfworld_sft.integrations.alfworld.names import COVERED, PACKAGES, is_covered_package, submodules

_PACKAGE_TEXT = '''"""Stands in for {name}: its modules are those of alfworld_sft.integrations.alfworld."""

ALFWORLD_SFT_SHIM = True

from alfworld_sft.integrations.alfworld import install

install()
'''


def write_shim(folder: Path) -> None:
    """Write the packages into a new folder, or an empty one; raises UserError where there is something else."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        if not _is_ours(folder):
            raise UserError(f"{folder} is not empty; name a new folder")
        return
    try:
        with whole_folder(folder) as unfinished:
            for name in PACKAGES:
                (unfinished / name).mkdir()
                (unfinished / name / "__init__.py").write_text(_PACKAGE_TEXT.format(name=name), encoding="utf-8")
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {os_reason(error)}") from None


def _is_ours(folder: Path) -> bool:
    """Return whether a folder holds exactly what `write_shim` writes."""
    files = {name: folder / name / "__init__.py" for name in PACKAGES}
    return all(
        file.is_file() and file.read_bytes() == _PACKAGE_TEXT.format(name=name).encode() for name, file in files.items()
    )


class Import(NamedTuple):
    """A use of the two packages: `module` and a name in it, None for the module itself."""

    file: Path
    line: int
    module: str
    name: str | None

    @property
    def is_covered(self) -> bool:
        """Whether the drop-in has it."""
        if self.name is None:
            return self.module in COVERED
        return self.name in COVERED.get(self.module, {}) or f"{self.module}.{self.name}" in COVERED

    def __str__(self) -> str:
        whole = self.module if self.name is None else f"{self.module}.{self.name}"
        return f"{self.file}:{self.line}: {whole}"


def find_imports(file: Path) -> list[Import]:
    """Return what a program uses of the two packages, each once, in the order of its lines.

    Found are imports and attributes of imported modules, as `textworld.gym.make`; what is imported by a name made at
    run time is not. Raises UserError for a file that cannot be read.
    """
    try:
        tree = ast.parse(file.read_bytes())
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {os_reason(error)}") from None
    except (SyntaxError, ValueError, RecursionError) as error:
        raise UserError(f"{file}: it is no Python program: {str(error).splitlines()[0]}") from None
    modules = _module_names(tree)
    found = {(module, name): line for line, module, name in sorted(_uses(tree, modules), key=_last_first)}
    return [Import(file, line, *key) for key, line in sorted(found.items(), key=lambda item: (item[1], str(item[0])))]


def _last_first(use: tuple[int, str, str | None]) -> int:
    return -use[0]


def _module_names(tree: ast.AST) -> dict[str, str]:
    """Return the names that stand for modules of the two packages, as {"tw": "textworld"}."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in filter(lambda a: is_covered_package(a.name), node.names):
                root = alias.name.partition(".")[0]
                names[alias.asname or root] = alias.name if alias.asname else root
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level and is_covered_package(node.module):
            for alias in node.names:
                if f"{node.module}.{alias.name}" in COVERED:
                    names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return names


def _uses(tree: ast.AST, modules: dict[str, str]) -> Iterator[tuple[int, str, str | None]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name, None) for alias in node.names if is_covered_package(alias.name))
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level and is_covered_package(node.module):
            for alias in node.names:
                if alias.name == "*":
                    yield node.lineno, node.module, None
                else:
                    yield node.lineno, node.module, alias.name
        elif isinstance(node, ast.Attribute):
            module = _module_of(node.value, modules)
            if module and f"{module}.{node.attr}" not in COVERED:
                yield node.lineno, module, node.attr


def _module_of(expression: ast.expr, modules: dict[str, str]) -> str | None:
    """Return the module that an expression as `textworld.gym` names; None for any other."""
    if isinstance(expression, ast.Name):
        return modules.get(expression.id)
    if isinstance(expression, ast.Attribute) and (outer := _module_of(expression.value, modules)):
        inner = f"{outer}.{expression.attr}"
        return inner if expression.attr in submodules(outer) else None
    return None
