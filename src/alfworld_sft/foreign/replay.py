"""Which game is another project's episode of, and what becomes of it there? Its actions are played again.

The wording follows the game, not the data: a `put x in/on y` of before November 2024 is played as `move x to y` in a
game that says so, and counted, since a model trained on it would say what those games do not understand. So is a name
in other letters, as in "credit card 1"; published data has some. For the same reason answers are compared by what they
tell, not by the version's words: an arrival counts by what is seen there.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache

from alfworld_sft.foreign.read import ForeignEpisode
from alfworld_sft.games.finder import GameFinder, is_named
from alfworld_sft.world import Env, Game
from alfworld_sft.world.language import ARRIVED, NOTHING_HAPPENS, PUT, PUT_DOWN, read_command, read_sentence

MOST_TRIALS = 64
"""How many games that begin alike are tried for one episode."""
LEAST_AGREEMENT = 0.9
"""The share of an episode's answers that a game must give as recorded to be its game, unless the record names it."""


@dataclass(frozen=True, slots=True)
class ForeignReplay:
    """An episode replayed in one game. `reworded` actions are in the other version's words; `answers` were compared,
    of which `different` tell something else than the game."""

    game_id: str
    won: bool
    actions: int
    invalid: int
    reworded: int
    answers: int
    different: int
    missing: int

    @property
    def agreement(self) -> tuple[int, int]:
        """How well the game fits: more answers as recorded, fewer invalid actions."""
        return self.answers - self.different, -self.invalid


def replay_foreign(episode: ForeignEpisode, game: Game) -> ForeignReplay:
    """Play an episode's actions in a game; after the game is won the rest is not played."""
    env = Env(game, max_steps=len(episode.turns) + 1)
    now = env.reset()
    invalid = reworded = answers = different = missing = actions = 0
    for turn in episode.turns:
        if now.won:
            break
        if turn.action is None:
            missing += 1
            continue
        actions += 1
        command = command_for(turn.action, game, now.admissible_commands)
        playable = command in now.admissible_commands
        reworded += playable and command != " ".join(turn.action.lower().split())
        invalid += not playable
        now = env.step(command)
        if turn.answer is not None:
            answers += 1
            different += not tells(turn.answer, now.text)
    return ForeignReplay(game.id, now.won, actions, invalid, reworded, answers, different, missing)


def command_for(action: str, game: Game, admissible: Collection[str]) -> str:
    """Return a recorded action in the game's words: the admissible command of the same letters, else its wording."""
    said = " ".join(action.lower().split())
    if said in admissible:
        return said
    letters = _letters(said)
    if same := next((command for command in admissible if letters in _spellings(command)), None):
        return same
    read = read_command(said)
    return PUT[game.grammar].format(*read.names) if read and read.command.verb == "put" else said


@lru_cache(maxsize=1 << 14)
def _spellings(command: str) -> frozenset[str]:
    """Return the letters of a command, and of what other versions and people say for it."""
    read = read_command(command)
    if read is None or read.command.verb != "put":
        return frozenset({_letters(command)})
    forms = (form.format(*read.names) for form in PUT.values())
    loose = (f"put {read.names[0]} {where} {read.names[1]}" for where in ("in", "on"))
    return frozenset(map(_letters, (*forms, *loose)))


def _letters(text: str) -> str:
    """Return the letters, digits and stops of a text, to compare what is written otherwise but says the same."""
    return re.sub(r"[^a-z0-9.]+", "", re.sub(r"\ban\b", "a", text.lower()))


def tells(answer: str, text: str) -> bool:
    """Return whether a recorded answer tells what the game says; a prompt may say more around it."""
    told = _letters(told_by(text))
    return _letters(told_by(answer)).rstrip(".") == told.rstrip(".") or told in _letters(answer)


def told_by(answer: str) -> str:
    """Return what an answer tells, the same for both versions: an arrival by what is seen, a thing put down by where.

    Data sets leave out the arrival itself.
    """
    text = " ".join(answer.split())
    said = read_sentence(text)
    if said and said.sentence is ARRIVED:
        return said.values[1]
    if said and said.sentence in PUT_DOWN.values():
        return PUT_DOWN["move"].format(*said.values)
    return NOTHING_HAPPENS if text.rstrip(".").lower() in ("nothing happens", "nothing happened") else text


def find_replay(episode: ForeignEpisode, finder: GameFinder) -> tuple[Game, ForeignReplay] | None:
    """Return the game that fits best and the replay in it, None where no game begins like this."""
    best: tuple[Game, ForeignReplay] | None = None
    for number, game in enumerate(finder.find(episode.task, episode.opening, episode.game)):
        if number == MOST_TRIALS:
            break
        replay = replay_foreign(episode, game)
        if best is None or replay.agreement > best[1].agreement:
            best = game, replay
        if not replay.different and not replay.invalid and replay.answers:
            break
    return best


def is_its_game(recorded: ForeignEpisode, replay: ForeignReplay) -> bool:
    """Return whether a replay shows that an episode is of this game, rather than of one that begins alike."""
    if is_named(replay.game_id, recorded.game):
        return True
    return replay.answers - replay.different >= LEAST_AGREEMENT * replay.answers
