"""The examples of docs/integrations.md that need a framework, for the tests in that framework's environment."""

from typing import Any

from scripts.run_documented_commands import documented_commands


def run_example(begins: str, written: str = "", run: str = "") -> dict[str, Any]:
    """Run the Python block that begins like this, with `run` in place of `written`; return its variables."""
    (text,) = {command.text for command in documented_commands() if command.text.startswith(begins)}
    assert written in text
    variables: dict[str, Any] = {}
    exec(text.replace(written, run) if written else text, variables)
    return variables
