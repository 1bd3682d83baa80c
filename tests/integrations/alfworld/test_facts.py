"""The facts of a game are those that Fast Downward reports, as checked beside the reference."""

import pytest

from alfworld_sft.games import find_games
from alfworld_sft.integrations.alfworld.facts import Facts, Variable
from alfworld_sft.world.rules import Action


@pytest.mark.parametrize(("kind", "reported"), [("pan", []), ("lettuce", []), ("tomato", ["not_ishot"])])
def test_cooling_undoes_heat_only_of_what_can_be_hot(kind, reported):
    refs = find_games("embedded", "train").refs
    game = next(game for ref in refs if (game := ref.load()).task.startswith(f"cool some {kind} "))
    cooled = next(number for number, thing in enumerate(game.objects) if thing.type.lower().startswith(kind))
    facts = Facts([], Variable("agent1", "agent"), reports_more=True)
    facts.apply(game, game.initial, Action("cool", cooled, 0))
    assert [fact.name for fact in facts] == ["iscool", *reported]
