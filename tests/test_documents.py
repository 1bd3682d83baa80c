"""Do README.md and docs/ say what is true of the program? `make commands` runs their commands; here is all the rest."""

import re
import subprocess
import tomllib
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import typer

from alfworld_sft.cli import COMMANDS, app, load_command
from scripts.run_documented_commands import (
    REPOSITORY,
    Command,
    Table,
    by_document,
    commands_in,
    documented_commands,
    documents,
    read_table,
    run_document,
)

TEXTS = {path.relative_to(REPOSITORY).as_posix(): path.read_text("utf-8") for path in documents()}
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"(?<!`)`(alfworld-sft [^`]+)`(?!`)", re.DOTALL)


def test_commands_are_the_lines_of_bash_blocks_and_whole_python_blocks():
    bash = "```bash\nrun a \\\n    b   # why\n\n# remark\nsed s#a#b# c\n```\n"
    text = f"# x\n{bash}```toml\nx = 1\n```\n```python\na\nb\n```\n"
    assert list(commands_in("d.md", text)) == [
        Command("d.md", "d.md:4", "bash", "run a b"),
        Command("d.md", "d.md:7", "bash", "sed s#a#b# c"),
        Command("d.md", "d.md:13", "python", "a\nb\n"),
    ]


def test_a_document_s_command_is_run_once_and_another_s_again():
    twice = [Command("a.md", "a.md:1", "bash", "x"), Command("b.md", "b.md:1", "bash", "x")]
    assert by_document([*twice, Command("a.md", "a.md:9", "bash", "x")]) == {"a.md": twice[:1], "b.md": twice[1:]}


def test_a_here_document_belongs_to_its_command():
    text = "```bash\ncat > a.toml <<'END'\nx = 1  # kept\n\nEND\nrun a.toml\n```\n"
    assert list(commands_in("d.md", text)) == [
        Command("d.md", "d.md:2", "bash", "cat > a.toml <<'END'\nx = 1  # kept\n\nEND"),
        Command("d.md", "d.md:6", "bash", "run a.toml"),
    ]


def test_commands_are_made_small_and_a_failure_is_counted_and_shown(tmp_path, capsys):
    table = Table({}, [], {"1000": "3"}, [{"command": "make *", "reason": "is long", "instead": "echo instead > c"}])
    texts = ["echo 1000 > a", "exit 7", "make demo", "cat a c"]
    commands = [Command("d.md", f"d.md:{n}", "bash", text) for n, text in enumerate(texts)]
    python = Command("d.md", "d.md:9", "python", "print(open('a').read())\nassert 0, 'no'\n")
    assert run_document([*commands, python], table, tmp_path, {"PATH": "/usr/bin:/bin"}) == 2
    assert (tmp_path / "a").read_text() == "3\n"
    assert (tmp_path / "c").read_text() == "instead\n"
    shown = capsys.readouterr().out
    assert "FAILED with exit code 7: exit 7" in shown
    assert "AssertionError: no" in shown


def test_commands_stand_only_in_blocks_that_are_run():
    others = {"", "toml", "json", "yaml"}
    found = {language for text in TEXTS.values() for language, _ in BLOCK.findall(text)}
    assert found - {"bash", "python"} <= others
    plain = [body for text in TEXTS.values() for language, body in BLOCK.findall(text) if language in others]
    assert [body for body in plain if re.search(r"^(\$ |alfworld-sft |make |python |pip )", body, re.MULTILINE)] == []


def test_every_exception_has_a_reason_and_names_a_documented_command():
    texts = {command.text for command in documented_commands()}
    for entry in read_table().not_run:
        assert set(entry) <= {"command", "reason", "instead"}
        assert entry["reason"]
        assert any(fnmatchcase(text, entry["command"]) for text in texts), f"documented nowhere: {entry['command']}"


def test_every_replacement_changes_a_command_that_is_run():
    table = read_table()
    run = [command.text for command in documented_commands() if table.exception(command) is None]
    assert [written for written in table.smaller if not any(written in text for text in run)] == []


def test_commands_that_are_not_run_are_at_least_of_correct_syntax():
    table = read_table()
    for command in documented_commands():
        if table.exception(command) is None:
            continue
        if command.language == "python":
            compile(command.text, command.place, "exec")
        else:
            done = subprocess.run(["bash", "-n", "-c", command.text], capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{command.place}: {done.stderr}"


def test_every_extra_that_is_named_exists():
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    named = {
        extra
        for text in TEXTS.values()
        for found in re.findall(r"alfworld-sft\[([\w,-]+)\]", text)
        for extra in found.split(",")
    }
    assert len(named) > 3
    assert named - extras.keys() == set()


def find_command(words: list[str]) -> tuple[Any, list[str]]:
    """The command of the program that words begin with, and the words after its name."""
    command: Any = typer.main.get_command(app)
    while words and words[0] in getattr(command, "commands", {}):
        command = load_command(words[0]) if words[0] in COMMANDS else command.commands[words[0]]
        words = words[1:]
    return command, words


def test_commands_in_a_sentence_exist_and_have_these_options():
    shown = [words for text in TEXTS.values() for words in INLINE.findall(BLOCK.sub("", text))]
    assert len(shown) > 10
    for text in shown:
        command, words = find_command(text.split()[1:])
        assert not hasattr(command, "commands") or words[0].startswith("-"), f"there is no such command: {text}"
        options = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
        named = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
        assert named - {"-h", "--help"} <= options, text


def anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and mkdocs make them."""
    headings = re.findall(r"^#+ (.+)$", BLOCK.sub("", path.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\s-]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def dead_links(path: Path) -> list[str]:
    """The links of a page into this repository that lead nowhere; addresses on the net are not tried."""
    dead = []
    for link in LINK.findall(BLOCK.sub("", path.read_text("utf-8"))):
        file, _, anchor = link.partition("#")
        target = path.parent / file if file else path
        if not re.match(r"\w+:", link) and not (target.exists() and (not anchor or anchor in anchors(target))):
            dead.append(link)
    return dead


def test_a_dead_link_is_found(tmp_path):
    (tmp_path / "b.md").write_text("# What it *is*, here\n")
    page = tmp_path / "a.md"
    page.write_text(
        "# A\n[1](b.md) [2](b.md#what-it-is-here) [3](#a) [4](https://x.y/#z) [5](c.md) [6](b.md#a) [7](#b)\n"
    )
    assert dead_links(page) == ["c.md", "b.md#a", "#b"]


@pytest.mark.parametrize("document", [*TEXTS, "CHANGELOG.md"])
def test_links_lead_to_files_and_headings_that_exist(document):
    assert dead_links(REPOSITORY / document) == []
