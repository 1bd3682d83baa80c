"""How do programs that import `alfworld` and `textworld` play our world without a change? `install()` gives them both.

    from alfworld_sft.integrations.alfworld import install
    install()
    from alfworld.agents.environment import get_environment

What ALFWorld's users call of alfworld 0.4.2 and textworld 1.7.0 is there, in this process and without compiling
anything: the same games in the same order, the same `(obs, scores, dones, infos)`. `names.COVERED` lists it.
`alfworld-sft shim DIR` writes two small packages that call `install()`, for programs that nobody wants to change.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from alfworld_sft.errors import UserError
from alfworld_sft.games.layout import name_data_dir
from alfworld_sft.integrations.alfworld.names import COVERED, PACKAGES, is_covered_package, submodules

_MARK = "__alfworld_sft__"


def install() -> None:
    """Put `alfworld` and `textworld` into this process; a second call does nothing.

    Raises UserError where the real ones are already imported.
    """
    name_data_dir()
    for package in PACKAGES:
        imported = sys.modules.get(package)
        if imported is not None and not hasattr(imported, _MARK) and not _is_shim(imported):
            raise UserError(f"the real {package} is already imported; call install() before anything imports it")
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
    for name in COVERED:
        if not hasattr(sys.modules.get(name), _MARK):
            sys.modules[name] = _CoveredModule(name)
    for name in COVERED:
        package, _, last = name.rpartition(".")
        if package:
            setattr(sys.modules[package], last, sys.modules[name])


def _is_shim(module: ModuleType) -> bool:
    return "ALFWORLD_SFT_SHIM" in vars(module)


def _is_installed(module: str) -> bool:
    return hasattr(sys.modules.get(module.partition(".")[0]), _MARK)


class _CoveredModule(ModuleType):
    """A module whose names are looked up here when they are first used."""

    def __init__(self, name: str) -> None:
        super().__init__(name, f"Stands in for {name}: see alfworld_sft.integrations.alfworld.")
        self.__path__: list[str] = []
        self.__spec__ = ModuleSpec(name, None, is_package=True)
        self.__all__ = [*COVERED[name], *submodules(name)]
        setattr(self, _MARK, True)

    def __getattr__(self, name: str) -> Any:
        where = COVERED[self.__name__].get(name)
        if where is None:
            raise AttributeError(
                f"{self.__name__}.{name} is not covered by alfworld-sft;"
                " `alfworld-sft shim --check FILE.py` says what a program lacks"
            )
        module, _, other_name = where.partition(":")
        value = getattr(import_module(module), other_name or name)
        setattr(self, name, value)
        return value

    def __dir__(self) -> list[str]:
        return sorted({*vars(self), *self.__all__})


class _Finder(MetaPathFinder):
    """Says by name which module of the two packages is not covered."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        """Find nothing; raises ModuleNotFoundError for what the real packages may have."""
        del path, target
        if "." in fullname and is_covered_package(fullname) and _is_installed(fullname):
            raise ModuleNotFoundError(
                f"{fullname} is not covered by alfworld-sft;"
                " `alfworld-sft shim --check FILE.py` says what a program lacks",
                name=fullname,
            )
