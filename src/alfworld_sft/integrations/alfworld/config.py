"""How does `alfworld.agents.modules.generic.load_config` read a config? From the file that the command line names."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from alfworld_sft.errors import UserError


def load_config() -> dict[str, Any]:
    """Read `CONFIG_FILE [-p KEY=VALUE …]` from the command line; the values of -p stay texts, as in the reference.

    Raises UserError for a file that cannot be read and for a key that the config lacks.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("config_file", help="a YAML file as ALFWorld's base_config.yaml")
    parser.add_argument(
        "-p", "--params", nargs="+", default=[], metavar="KEY=VALUE", help="replace values, as dataset.data_path=FOLDER"
    )
    args = parser.parse_args()
    config = read_yaml(Path(args.config_file))
    for param in args.params:
        _replace(config, param)
    return config


def read_yaml(file: Path) -> dict[str, Any]:
    """Read a YAML mapping; raises UserError where the file is none, or PyYAML is not installed."""
    try:
        import yaml  # noqa: PLC0415 (an extra)
    except ImportError:
        raise UserError("a YAML config needs PyYAML; install alfworld-sft[alfworld]") from None
    try:
        config = yaml.safe_load(file.read_text("utf-8"))
    except OSError as error:
        raise UserError(f"{file}: cannot read the config: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: it is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(config, dict):
        raise UserError(f"{file}: it is not a YAML mapping")
    return config


def _replace(config: dict[str, Any], param: str) -> None:
    key, is_assignment, value = param.partition("=")
    *sections, last = key.split(".")
    place: Any = config
    for section in sections:
        place = place.get(section) if isinstance(place, dict) else None
    if not is_assignment or not isinstance(place, dict):
        raise UserError(f"-p {param}: give it as SECTION.KEY=VALUE with a section that the config has")
    place[last] = value
