"""Rows and turns as the page gets them."""

from dataclasses import replace

from alfworld_sft.report.replay import Replayed
from alfworld_sft.report.tokens import Token
from alfworld_sft.report.turns import loop_start, row_of, turns_of
from tests.episodes import episode, step


def test_a_row_says_how_it_ended():
    replayed = [Replayed(5, 4, "look")] * 3
    row = row_of(1, episode(7), replayed, 120, 8)
    assert (row.run, row.index, row.won, row.reason, row.turns, row.shortest, row.tokens) == (1, 7, True, "", 3, 5, 120)
    lost = row_of(0, episode(success=False), None, None, 8)
    assert (lost.won, lost.reason, lost.shortest, lost.replayed) == (False, "loop", None, False)


def test_turns_keep_the_texts_of_the_journal():
    played = episode(turns=2)
    turns = turns_of(played, [Replayed(3, 2, "look")], [[Token("a", True)], []])
    assert [(t.observation, t.reply, t.next) for t in turns] == [
        (s.observation, s.reply.text, s.next_observation) for s in played.steps
    ]
    assert [(t.think, t.prediction, t.action) for t in turns] == [
        ("thought 1", "guess 1", "look"),
        ("thought 2", "guess 2", "look"),
    ]
    assert [(t.replayed, t.before, t.after, t.expert) for t in turns] == [
        (True, 3, 2, "look"),
        (False, None, None, None),
    ]
    assert [t.tokens for t in turns] == [(Token("a", True),), ()]


def test_a_loop_begins_with_the_first_of_the_exchanges_that_come_again():
    walk = [replace(step(n + 1), command=f"go {n}") for n in range(3)]
    circle = [replace(step(), command=("open", "close")[n % 2], next_observation="ok") for n in range(20)]
    assert loop_start([*walk, *circle], 8) == 3
    assert loop_start(walk, 8) is None
