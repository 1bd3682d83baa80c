from collections import Counter

from alfworld_sft.runs.probes import choose_alternatives
from alfworld_sft.world.language import verb_of

COMMANDS = [*(f"go to shelf {n}" for n in range(1, 30)), "take mug 1 from desk 1", "look", "inventory", "help"]


def test_one_of_each_kind_comes_before_two_of_any():
    for seed in range(20):
        kinds = Counter(map(verb_of, choose_alternatives(COMMANDS, 6, seed)))
        assert kinds == {"go": 3, "take": 1, "look": 1, "inventory": 1}


def test_the_seed_chooses_and_help_is_never_tried():
    chosen = [choose_alternatives(COMMANDS, 2, seed) for seed in range(50)]
    assert chosen == [choose_alternatives(COMMANDS, 2, seed) for seed in range(50)]
    assert len(set(map(tuple, chosen))) > 20
    assert sorted(choose_alternatives(COMMANDS, 100, 1)) == sorted(COMMANDS[:-1])


def test_without_commands_nothing_is_tried():
    assert choose_alternatives([], 3, 1) == choose_alternatives(["help"], 3, 1) == []
