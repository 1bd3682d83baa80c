"""`alfworld-sft play`: chooses a game, and lets a person or a policy play it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from alfworld_sft.config import Section, build_config
from alfworld_sft.errors import ConfigError
from alfworld_sft.games.sources import resolve_source
from alfworld_sft.play.choose import choose_game
from alfworld_sft.play.person import Table
from alfworld_sft.play.reader import line_reader
from alfworld_sft.play.save import save_episode
from alfworld_sft.play.session import Session
from alfworld_sft.play.watch import watch_policy
from alfworld_sft.policies.config import PolicySection
from alfworld_sft.policies.make import check_constrain, make_policy
from alfworld_sft.prompts.template import load_template
from alfworld_sft.runs.rollout import Protocol
from alfworld_sft.terminal import printable
from alfworld_sft.types import MAX_STEPS, MOST_STEPS

_STYLES = {"game": "", "policy": "cyan", "note": "bold"}


class WatchConfig(Section):
    """The policy keys that `play --policy` accepts."""

    policy: PolicySection = PolicySection()


def play_command(
    game: Annotated[str | None, typer.Argument(help="A game file, a game's id or a part of it; default: any.")] = None,
    overrides: Annotated[
        list[str] | None, typer.Argument(help="With --policy: its keys, such as policy.model=NAME.")
    ] = None,
    source: Annotated[
        str | None, typer.Option(help="Source of the games. Default: $ALFWORLD_DATA, else embedded.")
    ] = None,
    split: Annotated[str, typer.Option(help="Split of the games.")] = "train",
    seed: Annotated[int, typer.Option(help="Chooses the game where none is named, and seeds a policy.")] = 0,
    max_steps: Annotated[int, typer.Option(min=1, max=MOST_STEPS, help="Maximum steps.")] = MAX_STEPS,
    template: Annotated[str, typer.Option(help="Template of saved replies and of a policy's prompts.")] = "default",
    policy: Annotated[str | None, typer.Option(help="Watch this policy play, e.g. expert, planner, server.")] = None,
    live: Annotated[float | None, typer.Option(min=0, help="Seconds between a policy's steps; else Enter.")] = None,
    allow_eval_split: Annotated[bool, typer.Option(help="Allow saving a game of an evaluation split as data.")] = False,
) -> None:
    """Play a game yourself in the terminal, with hints, undo and distances; or watch a policy play."""
    words = [word for word in (game, *(overrides or [])) if word and "=" in word]
    name = game if game and "=" not in game else None
    if (words or live is not None) and not policy:
        raise ConfigError("policy keys and --live go with --policy NAME; without it you play yourself")
    ref, games = choose_game(name, source, split, seed)
    loaded, chosen = ref.load(), load_template(template)
    console = Console(soft_wrap=True, highlight=False)

    def show(kind: str, text: str) -> None:
        console.print(Text(printable(text), _STYLES[kind]))

    if policy:
        options = build_config(WatchConfig, [f"policy.name={policy}", *words]).policy
        check_constrain(options, chosen)
        made = make_policy(options)
        watch_policy(loaded, made, chosen, Protocol(max_steps), show, _pauses(live), seed=seed)
        return

    def save(session: Session, folder: Path) -> Path:
        place = str(resolve_source(source))
        return save_episode(session.episode(), ref, place, folder, template=template, allow_eval_split=allow_eval_split)

    show("note", f"{ref.id} ({games.description})")
    Table(Session(loaded, chosen, max_steps), lambda text: show("game", text), save).play(line_reader())


def _pauses(live: float | None) -> Callable[[], None]:
    """Return what waits before a turn: for Enter on a terminal, for some seconds, or not at all in a pipe."""
    if live is not None:
        return lambda: time.sleep(live)
    if not sys.stdin.isatty():
        return lambda: None

    def wait_for_enter() -> None:
        input()

    return wait_for_enter
