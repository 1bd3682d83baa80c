"""Our own domain and grammar texts: fit for any task, and understood by the reference as by us."""

import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from alfworld_sft.games.generator.logic import domain_text, grammar_text
from alfworld_sft.world import Env, load_game, parse_game
from tests.handmade import kitchen_file
from tests.reference.client import Reference, why_no_reference
from tests.reference.real import sample

needs_reference = pytest.mark.skipif(why_no_reference() is not None, reason=str(why_no_reference()))
IDLE = ("go to ", "look", "inventory", "help")


def test_the_task_is_all_that_differs_between_games():
    one, other = grammar_text("put a mug in desk."), grammar_text("clean some egg.")
    assert one.replace("put a mug in desk.", "") == other.replace("clean some egg.", "")


@pytest.mark.parametrize("task", ["", "{1 + 1}", 'say "mug"', "one\ntwo"])
def test_a_task_that_the_reference_would_not_print_as_it_stands_is_refused(task: str):
    with pytest.raises(ValueError, match="task"):
        grammar_text(task)


def test_the_domain_is_one_expression_with_fifteen_actions():
    assert domain_text().count("(:action ") == 15


@pytest.fixture(scope="module")
def reference() -> Iterator[Reference]:
    with Reference() as started:
        yield started


def differences(reference: Reference, file: Path, env: Env, steps: int, begin: tuple[str, ...] = ()) -> list[str]:
    """Play the same commands in both, most of them such that change something; what the two say differently."""
    rng = random.Random(0)
    reference.load(file)
    theirs, ours, command, found = reference.reset(), env.reset(), "reset", []
    for step in range(steps):
        if (theirs.text, theirs.admissible_commands, theirs.won) != (ours.text, ours.admissible_commands, ours.won):
            found.append(f"{command}: {theirs} is not {ours}")
        busy = [c for c in ours.admissible_commands if not c.startswith(IDLE)]
        command = (
            begin[step]
            if step < len(begin)
            else rng.choice(busy if busy and rng.random() < 0.7 else ours.admissible_commands)
        )
        theirs, ours = reference.step(command), env.step(command)
    return found


@needs_reference
@pytest.mark.reference
@pytest.mark.parametrize("older", [False, True])
def test_the_reference_plays_our_texts_like_us(reference: Reference, tmp_path: Path, older: bool):
    content = kitchen_file(older=older)
    (tmp_path / "game.tw-pddl").write_bytes(content)
    game = parse_game(content, game_id="kitchen")
    assert differences(reference, tmp_path / "game.tw-pddl", Env(game), steps=80) == []


@needs_reference
@pytest.mark.reference
@pytest.mark.real_games
def test_with_our_texts_the_reference_plays_real_games_as_before(
    reference: Reference, real_game_paths: list[Path], tmp_path: Path
):
    """One game of each task type, in the reference with our texts and here with its own: the walkthrough, then on."""
    games = {path: load_game(path) for path in real_game_paths}
    told = [path for path, game in games.items() if game.walkthrough]
    found = {}
    for path in sample(told, 1):
        game = games[path]
        data = json.loads(path.read_bytes()) | {"pddl_domain": domain_text(), "grammar": grammar_text(game.task)}
        file = tmp_path / "game.tw-pddl"
        file.write_text(json.dumps(data))
        found[game.id] = differences(reference, file, Env(game), steps=40, begin=game.walkthrough or ())
    assert len(found) == 6
    assert all(not different for different in found.values()), found
