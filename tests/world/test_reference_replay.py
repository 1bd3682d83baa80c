"""The world says what the reference said: recorded games, replayed word for word."""

from pathlib import Path

import pytest

from alfworld_sft.world import load_game
from tests.reference.differential import OurWorld
from tests.reference.real import NO_REAL_GAMES, REAL_GAMES, TASK_TYPES
from tests.reference.transcripts import Transcript, read_transcripts
from tests.reference.variants import GRAMMARS, write_variant

TRANSCRIPTS = list(read_transcripts())
NAMES = [f"{transcript.grammar}-{transcript.game.split('/')[1]}" for transcript in TRANSCRIPTS]


@pytest.mark.real_games
@pytest.mark.skipif(not REAL_GAMES.is_dir(), reason=NO_REAL_GAMES)
@pytest.mark.parametrize("transcript", TRANSCRIPTS, ids=NAMES)
def test_the_world_answers_as_recorded(transcript: Transcript, tmp_path: Path) -> None:
    path = write_variant(REAL_GAMES / transcript.game / "game.tw-pddl", transcript.grammar, tmp_path)
    world = OurWorld()
    world.load(path)
    for number, turn in enumerate(transcript.turns):
        reply = world.reset() if turn.kind == "reset" else world.step(turn.command)
        assert (number, turn.command, reply) == (number, turn.command, turn.reply)


@pytest.mark.real_games
@pytest.mark.skipif(not REAL_GAMES.is_dir(), reason=NO_REAL_GAMES)
def test_the_task_is_the_one_that_the_reference_prints() -> None:
    for transcript in TRANSCRIPTS:
        game = load_game(REAL_GAMES / transcript.game / "game.tw-pddl")
        assert transcript.turns[0].reply.text.endswith(f"\n\nYour task is to: {game.task}")


def test_every_task_type_and_grammar_is_recorded_with_wins_and_misunderstandings() -> None:
    assert {transcript.task_type for transcript in TRANSCRIPTS} == set(TASK_TYPES)
    assert {transcript.grammar for transcript in TRANSCRIPTS} == set(GRAMMARS)
    assert all(len(transcript.turns) > 40 for transcript in TRANSCRIPTS)
    replies = [turn.reply for transcript in TRANSCRIPTS for turn in transcript.turns]
    assert any(reply.won for reply in replies)
    assert any(reply.text == "Nothing happens." for reply in replies)
