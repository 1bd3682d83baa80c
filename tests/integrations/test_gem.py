"""GEM's `make`, `make_vec` and `spawn` play our games."""

import random
from typing import Any

import pytest

from alfworld_sft.errors import UserError
from alfworld_sft.games import find_games
from alfworld_sft.world import Env
from alfworld_sft.world.plan import shortest_plan
from tests.integrations.documented import run_example

gem = pytest.importorskip("gem", reason="the extra gem is not installed")

from alfworld_sft.integrations.gem import ID

GAMES: dict[str, Any] = {"source": "embedded", "split": "valid_seen"}


def reply(command: str) -> str:
    """What a model says to play a command."""
    return f"<think>…</think><action>{command}</action>"


def test_64_games_give_our_rewards():
    for number, ref in enumerate(find_games("embedded", "valid_seen")):
        env = gem.make(ID, **GAMES, game=number, max_turns=20, seed=number)
        ours = Env(ref.load(), max_steps=20)
        message, info = env.reset()
        seen = ours.reset()
        assert info == {"game": ref.id, "task": ours.game.task, "task_type": ours.game.task_type}
        assert ours.game.task in message
        plan = list(shortest_plan(ours.game)) if number % 2 else []
        while not seen.over:
            said = reply(plan.pop(0)) if plan else env.sample_random_action()
            message, reward, terminated, truncated, info = env.step(said)
            seen = ours.step(info["command"])
            assert (reward, terminated, truncated) == (float(seen.won), seen.terminated, seen.truncated)
            assert seen.text in message
            assert info == {"won": seen.won, "command": info["command"], "problem": None}
        assert terminated or not number % 2


def test_the_seed_decides_the_games_and_no_global_generator_is_touched():
    env = gem.make(ID, **GAMES)
    state = random.getstate()
    drawn = [env.reset(seed=5)[1]["game"], *(env.reset()[1]["game"] for _ in range(9))]
    assert random.getstate() == state
    assert drawn == [env.reset(seed=5)[1]["game"], *(env.reset()[1]["game"] for _ in range(9))]
    assert len(set(drawn)) > 5


def test_a_spawn_in_the_same_state_continues_by_itself():
    env = gem.make(ID, **GAMES, game=3)
    env.reset()
    plan = shortest_plan(env._game)
    for command in plan[:-1]:
        env.step(reply(command))
    twin = env.spawn(same_state=True)
    assert (twin.env_id, twin.entry_point) == (ID, env.entry_point)
    assert twin.step(reply(plan[-1]))[1:3] == (1.0, True)
    assert env.step(reply("look"))[1:3] == (0.0, False)
    assert env.step(reply(plan[-1]))[1:3] == (1.0, True)


def test_a_twin_draws_the_same_games_later():
    env = gem.make(ID, **GAMES, seed=1)
    env.reset()
    twin = env.spawn(same_state=True)
    assert [env.reset()[1]["game"] for _ in range(5)] == [twin.reset()[1]["game"] for _ in range(5)]


def test_a_spawn_takes_changes_unless_it_is_to_have_the_same_state():
    env = gem.make(ID, **GAMES)
    ids = [ref.id for ref in find_games("embedded", "valid_seen")]
    assert env.spawn(game=9).reset()[1]["game"] == ids[9]
    other = env.spawn(split="valid_unseen", game=0).reset()[1]["game"]
    assert other == find_games("embedded", "valid_unseen").refs[0].id
    with pytest.raises(UserError, match=r"^an environment in the same state cannot have another game$"):
        env.spawn(same_state=True, game=9)


def test_a_vector_of_games():
    env = gem.make_vec([ID] * 4, seed=11, vec_kwargs=[{"game": number} for number in (0, 1, 2, 2)], **GAMES)
    messages, infos = env.reset()
    assert [info["game"] for info in infos] == [find_games("embedded", "valid_seen").refs[n].id for n in (0, 1, 2, 2)]
    assert messages[2] == messages[3] != messages[0]
    _, rewards, terminated, truncated, _ = env.step([reply("look")] * 4)
    assert (rewards.tolist(), terminated.any(), truncated.any()) == ([0.0] * 4, False, False)
    drawn = gem.make_vec([ID] * 4, seed=11, **GAMES)
    assert [i["game"] for i in drawn.reset()[1]] == [
        gem.make(ID, **GAMES, seed=11 + n).reset()[1]["game"] for n in range(4)
    ]


def test_what_cannot_be_is_refused():
    with pytest.raises(UserError, match="max_turns must be at least 1, not 0"):
        gem.make(ID, **GAMES, max_turns=0)
    with pytest.raises(UserError, match="unknown template 'defualt'; did you mean 'default'"):
        gem.make(ID, **GAMES, template="defualt")
    with pytest.raises(UserError, match="template=trinity: GEM has no place for its system message"):
        gem.make(ID, **GAMES, template="trinity")
    with pytest.raises(UserError, match="no game 64 among"):
        gem.make(ID, **GAMES, game=64)
    with pytest.raises(RuntimeError, match=r"call reset\(\) first"):
        gem.make(ID, **GAMES).step("look")


def test_the_documented_example_steps_and_copies_its_game(monkeypatch):
    monkeypatch.delenv("ALFWORLD_DATA", raising=False)
    shown = run_example("import alfworld_sft.integrations.gem")
    assert shown["info"]["command"]
    assert shown["twin"] is not shown["env"]
    assert shown["twin"].step(reply("look"))[0] == shown["env"].step(reply("look"))[0]
