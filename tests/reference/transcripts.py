"""What did the reference say? Recorded games, one JSON line each in a compressed file, to be replayed without it.

A transcript holds commands and answers, no game file: to replay it, the real game must be there.
"""

import gzip
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.reference.client import Reply, World
from tests.reference.commands import Player
from tests.reference.facts import Facts
from tests.reference.real import REPOSITORY
from tests.reference.variants import Grammar

TRANSCRIPTS = REPOSITORY / "tests" / "data" / "reference_transcripts.jsonl.gz"


@dataclass(frozen=True)
class Turn:
    """One command, why it was tried, and the reference's reply; the first turn is the reset, of kind "reset"."""

    kind: str
    command: str
    reply: Reply


@dataclass(frozen=True)
class Transcript:
    """One game as the reference played it."""

    game: str
    grammar: Grammar
    turns: tuple[Turn, ...]

    @property
    def task_type(self) -> str:
        """The task type, from the id (`valid_seen/pick_two_obj_and_place-…/trial_…`)."""
        return self.game.split("/")[-2].split("-", 1)[0]


def record(
    world: World, path: Path, facts: Facts, *, seed: int | str, steps: int, goal_first: bool
) -> tuple[Turn, ...]:
    """Play one game and keep all that is said."""
    world.load(path)
    reply = world.reset()
    turns = [Turn("reset", "", reply)]
    player = Player(facts, reply, seed=seed, steps=steps, goal_first=goal_first)
    for _ in range(steps):
        play = player.play()
        reply = world.step(play.command)
        turns.append(Turn(play.kind, play.command, reply))
        player.saw(reply)
    return tuple(turns)


def write_transcripts(transcripts: Iterable[Transcript], path: Path = TRANSCRIPTS) -> None:
    """Write them compressed: the same transcripts make the same bytes."""
    lines = [json.dumps(_to_json(transcript), ensure_ascii=True) + "\n" for transcript in transcripts]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress("".join(lines).encode("ascii"), compresslevel=9, mtime=0))


def read_transcripts(path: Path = TRANSCRIPTS) -> Iterator[Transcript]:
    """Every transcript in the file."""
    for line in gzip.decompress(path.read_bytes()).decode("ascii").splitlines():
        yield _from_json(json.loads(line))


def _to_json(transcript: Transcript) -> dict[str, object]:
    return {
        "game": transcript.game,
        "grammar": transcript.grammar,
        "turns": [
            [turn.kind, turn.command, turn.reply.text, turn.reply.admissible_commands, turn.reply.won, turn.reply.done]
            for turn in transcript.turns
        ],
    }


def _from_json(line: dict[str, list[list]]) -> Transcript:
    turns = tuple(
        Turn(kind, command, Reply(text, tuple(admissible), won, done))
        for kind, command, text, admissible, won, done in line["turns"]
    )
    return Transcript(line["game"], line["grammar"], turns)
