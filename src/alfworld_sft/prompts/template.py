"""How is a template file read, and how does it render a prompt, in single-turn and multi-turn form?

A template file is TOML: `tags` that a reply must have, `lists_admissible`, `[sections]`, and the layouts
`[single]` and `[multi]` with `first` and `later`. `extends` names a template to inherit sections and layouts from.
`reply_format` names how a reply is written, with `tags` by default; `system`, in `[multi]`, is a system message before
the first. `$name` stands for a section or for one of `VALUES`. Substitution is plain text: nothing in a file is
evaluated.
"""

from __future__ import annotations

import string
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache, lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, get_args

from alfworld_sft.errors import TemplateError
from alfworld_sft.prompts.examples import Example, as_lines, as_thoughts_and_actions, examples, stored_examples
from alfworld_sft.prompts.listing import (
    list_commands,
    list_grouped_commands,
    list_history,
    list_lines,
    list_short_history,
    list_special_commands,
    shorten,
)
from alfworld_sft.prompts.tags import Tag
from alfworld_sft.types import TASK_TYPES, Exchange, Message, ReplyFormat, View
from alfworld_sft.world.language import PUT

VALUES = {
    "task": "the goal sentence",
    "short_task": "the same without its full stop",
    "observation": "what the game said last",
    "short_observation": "the same in few words",
    "admissible": "all admissible commands",
    "without_help": "all admissible commands but help",
    "grouped": "the same, those of one kind together, `1-3` for a run of numbers",
    "special": "the admissible commands that are special to the place, grouped",
    "steps": "how many steps were taken, in words",
    "number": "the number of the step to take now, from 1",
    "shown": "how many past steps the history shows, in words",
    "history": "the past steps that the window shows",
    "short_history": "the same in few words",
    "lines": "the past steps as lines: what was seen, then what was done after `> `",
    "put_form": "how this game has an object put down, as (object) and (receptacle)",
    "line_examples": "two games of the task's type, played in lines of `> command` and `> think: …`",
    "thought_example": "one game, played in replies of `Thought: …` and `Action: …`",
}
"""The values that a template can show besides its own sections."""

_LISTING_VALUES = frozenset({"admissible", "without_help", "grouped", "special"})

_EXAMPLE_VALUES = frozenset({"line_examples", "thought_example"})


@dataclass(frozen=True, slots=True)
class Template:
    """A template, ready to render. `lists_admissible`: whether the policy may see the admissible commands."""

    name: str
    tags: tuple[Tag, ...]
    lists_admissible: bool
    single_first: string.Template
    single_later: string.Template
    multi_first: string.Template
    multi_later: string.Template
    multi_system: string.Template | None = None
    reply_format: ReplyFormat = "tags"

    @property
    def written_tags(self) -> tuple[Tag, ...]:
        """The tags that this package's rules of tags apply to: none where a reply has another format."""
        return self.tags if self.reply_format == "tags" else ()

    def view(
        self,
        task: str,
        history: Sequence[Exchange],
        observation: str,
        admissible_commands: tuple[str, ...],
        history_length: int | None = None,
    ) -> View:
        """Return what this template shows of a game; `history_length` None shows the full history."""
        step = len(history)
        shown = history if history_length is None else history[max(0, step - history_length) :]
        return View(task, step, tuple(shown), observation, admissible_commands if self.lists_admissible else None)

    def single_turn(self, view: View) -> str:
        """Return the user message that asks for one action, including the view's history."""
        layout = self.single_later if view.step else self.single_first
        return layout.substitute(_values(view, layout))

    def opening(self, view: View) -> tuple[Message, ...]:
        """Return what stands before a conversation's first user message: the system message, if there is one."""
        layout = self.multi_system
        return () if layout is None else (Message("system", layout.substitute(_values(view, layout))),)

    @property
    def texts(self) -> tuple[str, ...]:
        """All that decides what this template asks: templates of equal texts ask the same."""
        layouts = (self.single_first, self.single_later, self.multi_first, self.multi_later)
        plain = (*self.tags, str(self.lists_admissible), *(layout.template for layout in layouts))
        system = () if self.multi_system is None else (self.multi_system.template,)
        shown = {value for text in (*plain, *system) for value in _identifiers(text)}
        stored = (stored_examples(),) if shown & _EXAMPLE_VALUES else ()
        other_format = () if self.reply_format == "tags" else (self.reply_format,)
        return (*plain, *system, *other_format, *stored)

    def multi_turn(self, view: View) -> str:
        """Return the next user message of a conversation; the conversation itself is the history."""
        layout = self.multi_later if view.step else self.multi_first
        return layout.substitute(_values(view, layout))


def load_template(name_or_path: str) -> Template:
    """Load a packaged template by name, or a user's `.toml` file by path.

    Raises TemplateError, which names the file and the problem.
    """
    if name_or_path.endswith(".toml"):
        path = Path(name_or_path)
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise TemplateError(f"cannot read the template {path}: {error}") from None
        return _compose(path.stem, _parse_toml(str(path), text))
    return _load_packaged(name_or_path)


@cache
def template_names() -> tuple[str, ...]:
    """Return the names of the packaged templates."""
    folder = resources.files("alfworld_sft.prompts") / "templates"
    return tuple(sorted(file.name.removesuffix(".toml") for file in folder.iterdir() if file.name.endswith(".toml")))


def reply_format_of(name: object) -> ReplyFormat:
    """Return the reply format of a packaged template; "tags" where the name is of no such one."""
    return _load_packaged(name).reply_format if isinstance(name, str) and name in template_names() else "tags"


@lru_cache(maxsize=16)
def _load_packaged(name: str) -> Template:
    return _compose(name, _read_packaged(name))


def _read_packaged(name: str) -> dict[str, Any]:
    if name not in template_names():
        close = get_close_matches(name, template_names(), 1)
        hint = f"did you mean '{close[0]}'?" if close else f"there are {', '.join(template_names())}"
        raise TemplateError(f"unknown template '{name}'; {hint} (a file of your own ends in .toml)")
    file = resources.files("alfworld_sft.prompts") / "templates" / f"{name}.toml"
    return _parse_toml(name, file.read_text(encoding="utf-8"))


def _parse_toml(name: str, text: str) -> dict[str, Any]:
    """Parse a template file and merge it into the template it extends."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise TemplateError(f"template {name} is not TOML: {error}") from None
    unknown = data.keys() - {"extends", "tags", "reply_format", "lists_admissible", "sections", "single", "multi"}
    if unknown:
        raise TemplateError(f"template {name} has the unknown key '{min(unknown)}'")
    for table in ("sections", "single", "multi"):
        if not isinstance(data.get(table, {}), dict):
            raise TemplateError(
                f"template {name}: '{table}' is not a table; write [{table}] and what belongs to it below"
            )
    if "extends" not in data:
        return data
    base = _read_packaged(str(data.pop("extends")))
    for table in ("sections", "single", "multi"):
        base[table] = {**base.get(table, {}), **data.pop(table, {})}
    return {**base, **data}


def _compose(name: str, data: Mapping[str, Any]) -> Template:
    tags = data.get("tags")
    if not isinstance(tags, list) or not set(tags) <= set(get_args(Tag)) or (tags and "action" not in tags):
        raise TemplateError(f"template {name}: 'tags' must list some of {', '.join(get_args(Tag))}, with action")
    sections = data.get("sections", {})
    layouts: list[string.Template] = []
    for form in ("single", "multi"):
        for turn in ("first", "later"):
            text = data.get(form, {}).get(turn)
            if not isinstance(text, str):
                raise TemplateError(f"template {name} lacks the text '{turn}' in [{form}]")
            layouts.append(string.Template(_expand(name, text, sections, ())))
    reply_format = data.get("reply_format", "tags")
    if reply_format not in get_args(ReplyFormat):
        raise TemplateError(f"template {name}: 'reply_format' must be one of {', '.join(get_args(ReplyFormat))}")
    said = data.get("multi", {}).get("system")
    system = None if said is None else string.Template(_expand(name, str(said), sections, ()))
    listing = bool(data.get("lists_admissible", True))
    shown = {value for layout in [*layouts, *filter(None, [system])] for value in layout.get_identifiers()}
    if not listing and shown & _LISTING_VALUES:
        raise TemplateError(f"template {name} shows ${min(shown & _LISTING_VALUES)} but says lists_admissible = false")
    return Template(name, tuple(tags), listing, layouts[0], layouts[1], layouts[2], layouts[3], system, reply_format)


def _expand(name: str, text: str, sections: Mapping[str, Any], within: tuple[str, ...]) -> str:
    """Replace `$section` by its text until only values are left; a section may contain the value of the same name.

    What is returned is a layout again, so `$$` stays as it is.
    """
    layout = string.Template(text.strip("\n"))
    if not layout.is_valid():
        raise TemplateError(f"template {name}: a lone '$' in {within[-1] if within else 'a layout'}; write '$$'")
    expanded: dict[str, str] = {}
    for key in layout.get_identifiers():
        if key in sections and key not in within:
            expanded[key] = _expand(name, str(sections[key]), sections, (*within, key))
        elif key not in VALUES:
            close = get_close_matches(key, [*sections, *VALUES], 1)
            hint = f"; did you mean '${close[0]}'?" if close else ""
            raise TemplateError(f"template {name}: '${key}' is neither a section nor a value{hint}")
    return string.Template(layout.template.replace("$$", "$$$$")).safe_substitute(expanded)


def _values(view: View, layout: string.Template) -> dict[str, str]:
    """Return the values that a layout shows."""
    shown = len(view.history)
    derive = {
        "task": lambda: view.task,
        "short_task": lambda: view.task.removesuffix("."),
        "observation": lambda: view.observation,
        "short_observation": lambda: shorten(view.observation),
        "admissible": lambda: list_commands(view.admissible_commands or ()),
        "without_help": lambda: list_commands(c for c in view.admissible_commands or () if c != "help"),
        "grouped": lambda: list_grouped_commands(view.admissible_commands or ()),
        "special": lambda: list_special_commands(view.admissible_commands or ()),
        "steps": lambda: _steps_in_words(view.step),
        "number": lambda: str(view.step + 1),
        "shown": lambda: _steps_in_words(shown),
        "history": lambda: list_history(view.history, view.step - shown + 1),
        "short_history": lambda: list_short_history(view.history),
        "lines": lambda: list_lines(view.history),
        "put_form": lambda: PUT[view.wording].format("(object)", "(receptacle)"),
        "line_examples": lambda: "\n\n".join(map(as_lines, _examples(view))),
        "thought_example": lambda: as_thoughts_and_actions(examples(TASK_TYPES[0], view.wording)[0]),
    }
    return {name: derive[name]() for name in _identifiers(layout.template)}


@lru_cache(maxsize=256)
def _identifiers(text: str) -> tuple[str, ...]:
    return tuple(string.Template(text).get_identifiers())


def _examples(view: View) -> tuple[Example, ...]:
    return examples(view.task_type or TASK_TYPES[0], view.wording)


def _steps_in_words(number: int) -> str:
    return "1 step" if number == 1 else f"{number} steps"
