"""Foreign data: the published shapes are read, replayed in the right one of similar games, and judged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from alfworld_sft.check.finder import GameFinder
from alfworld_sft.check.foreign import replay_foreign, report_foreign, told_by
from alfworld_sft.check.lookup import list_games
from alfworld_sft.dataset.foreign import ForeignEpisode, ForeignTurn, Format, find_action, read_foreign
from alfworld_sft.games import find_games
from alfworld_sft.world import Env, Game
from alfworld_sft.world.observations import opening_look
from alfworld_sft.world.plan import shortest_plan
from tests.collecting import write_games

STYLES: dict[Format, dict[str, str]] = {
    "sharegpt": {
        "start": "Here is your task. {look}\nYour task is to: {task}\nAVAILABLE ACTIONS: look, inventory",
        "reply": "THOUGHT: I go on. ACTION: {command}",
        "answer": "{text}",
    },
    "agentgym": {
        "start": "{look}\n\nYour task is to: {task}\n AVAILABLE ACTIONS: look,inventory",
        "reply": "Thought:\nI go on.\n\nAction:\n{command}",
        "answer": "{text}\nAVAILABLE ACTIONS: look,inventory",
    },
    "eto": {
        "start": "{look}\n\nYour task is to: {task}",
        "reply": "Thought: I go on.\nAction: {command}",
        "answer": "Observation: {text}",
    },
}


def record(game: Game, kind: Format, commands: list[str] | None = None, **more: Any) -> dict[str, Any]:
    """A conversation in another project's shape; the answers are the game's own."""
    style, env = STYLES[kind], Env(game)
    env.reset()
    look = opening_look(game)
    conversation = [
        {"from": "human", "value": "Interact with a household. Your output: ACTION: your next action"},
        {"from": "gpt", "value": "OK. I'll follow your instructions."},
        {"from": "human", "value": style["start"].format(look=look, task=game.task)},
    ]
    for command in shortest_plan(game) if commands is None else commands:
        text = env.step(command).text
        conversation.append({"from": "gpt", "value": style["reply"].format(command=command)})
        conversation.append({"from": "human", "value": style["answer"].format(text=text)})
    return {"id": "x", "item_id": "alfworld_7", "conversations": conversation, **more}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_games(tmp_path_factory.mktemp("foreign"), 12)


@pytest.fixture(scope="module")
def games(data: Path) -> list[Game]:
    return [ref.load() for ref in find_games(data, "train")]


def figures(tmp_path: Path, data: Path, records: list[dict[str, Any]], kind: Format = "sharegpt") -> dict[str, Any]:
    file = tmp_path / "foreign.json"
    file.write_text(json.dumps(records))
    return report_foreign(file, kind, list_games([str(data)])).as_dict()


@pytest.mark.parametrize("kind", STYLES)
def test_episodes_of_each_format_are_replayed_and_won(
    tmp_path: Path, data: Path, games: list[Game], kind: Format
) -> None:
    found = figures(tmp_path, data, [record(game, kind) for game in games], kind)
    assert (found["records"], found["replayed"], found["won"]) == (12, 12, 12)
    assert (found["invalid_actions"], found["answers_differing"], found["turns_without_action"]) == (0, 0, 0)
    assert found["actions"] == sum(len(shortest_plan(game)) for game in games)
    assert [finding for finding in found["findings"] if finding["severity"] != "fact"] == []


def test_an_episode_is_found_in_that_one_of_games_that_begin_alike_which_answers_like_it(data: Path) -> None:
    """Games that are alike but for a book in the bin: all tell the same until somebody goes there."""
    loaded = {ref.id: ref.load() for ref in find_games(data, "train")}
    finder = GameFinder(find_games(data, "train"))
    game = next(game for game_id, game in loaded.items() if "pick_and_place" in game_id)
    alike = [found.id for found in finder.find(game.task, opening_look(game))]
    assert len(alike) == 2
    assert next(finder.find(game.task, opening_look(game), named=f"data/{alike[1]}/game.tw-pddl")).id == alike[1]
    for game_id in alike:
        told = record(loaded[game_id], "eto", ["go to garbagecan 1", *shortest_plan(loaded[game_id])])
        assert _best(told, finder) == game_id


def _best(told: dict[str, Any], finder: GameFinder) -> str:
    from alfworld_sft.check.foreign import find_replay
    from alfworld_sft.dataset.foreign import read_conversation

    replay = find_replay(read_conversation(told, "x"), finder)
    assert replay is not None
    return replay.game_id


def test_put_in_the_words_before_november_2024_is_played_and_counted(
    tmp_path: Path, data: Path, games: list[Game]
) -> None:
    assert "Action: move " in json.dumps(record(games[2], "eto"))
    old = [json.loads(_older(json.dumps(record(game, "eto")))) for game in games]
    found = figures(tmp_path, data, old, "eto")
    assert (found["won"], found["invalid_actions"], found["answers_differing"]) == (12, 0, 0)
    assert (
        found["reworded_actions"] == sum(json.dumps(record(game, "eto")).count("Action: move ") for game in games) > 0
    )
    assert "these games refuse" in next(f["text"] for f in found["findings"] if f["about"] == "reworded")


def _older(text: str) -> str:
    import re

    text = re.sub(r"Action: move (\w+ \d+) to (\w+ \d+)", r"Action: put \1 in/on \2", text)
    text = re.sub(r"You move the (\w+ \d+) to the (\w+ \d+)\.", r"You put the \1 in/on the \2.", text)
    return re.sub(r"You arrive at \w+ \d+\. ", "", text)


def test_invalid_actions_lost_episodes_and_false_claims_are_counted(
    tmp_path: Path, data: Path, games: list[Game]
) -> None:
    lost = record(games[0], "sharegpt", ["go to desk 1", "fly to moon 1", "look"], success=True)
    found = figures(tmp_path, data, [lost, record(games[1], "sharegpt", ["look"])])
    assert (found["won"], found["invalid_actions"], found["actions"], found["claimed_and_lost"]) == (0, 1, 4, 1)
    kinds = {finding["about"]: finding["severity"] for finding in found["findings"]}
    assert (kinds["claimed_and_lost"], kinds["lost"]) == ("fault", "warning")


def test_an_answer_that_the_game_does_not_give_is_found(tmp_path: Path, data: Path, games: list[Game]) -> None:
    told = record(games[0], "eto")
    told["conversations"][4]["value"] = "Observation: On the desk 1, you see a unicorn 1."
    found = figures(tmp_path, data, [told], "eto")
    assert (found["answers_differing"], found["won"]) == (1, 1)


def test_records_that_are_no_games_are_named(tmp_path: Path, data: Path, games: list[Game]) -> None:
    records = [
        {"conversations": "x"},
        {"conversations": [{"from": "human", "value": "Hello"}]},
        {"conversations": [7]},
        record(games[0], "sharegpt"),
    ]
    found = figures(tmp_path, data, records)
    assert (found["records"], found["not_read"], found["replayed"]) == (4, 3, 1)
    (tmp_path / "mixed.json").write_text(json.dumps([{**records[3], "item_id": "webshop_1"}, records[3]]))
    read = list(read_foreign(tmp_path / "mixed.json", "agentgym"))
    assert read[0] == "mixed.json record 0: item_id 'webshop_1' is of another environment"
    assert isinstance(read[1], ForeignEpisode)


def test_nothing_replayed_is_a_fault(tmp_path: Path, data: Path, games: list[Game]) -> None:
    told = json.loads(json.dumps(record(games[0], "sharegpt")).replace("desk 1", "throne 1"))
    found = figures(tmp_path, data, [told])
    assert (found["game_not_found"], found["replayed"]) == (1, 0)
    assert found["findings"][1]["severity"] == "fault"


def test_evaluation_games_are_found(tmp_path: Path) -> None:
    data = write_games(tmp_path / "data", 6, "valid_seen")
    (ref, *_) = find_games(data, "valid_seen")
    found = figures(tmp_path, data, [record(ref.load(), "eto")], "eto")
    assert found["evaluation_games"] == [ref.id]


@pytest.mark.parametrize(
    ("reply", "action"),
    [
        ("ACTION: look", "look"),
        ("Thought: the action: is hard.\nAction:\ngo to desk 1.\nmore", "go to desk 1"),
        ("<think>action: x</think><action>look</action>", "look"),
        ("OK.", None),
        ("Action:", None),
    ],
)
def test_the_action_of_a_reply(reply: str, action: str | None) -> None:
    assert find_action(reply) == action


def test_both_versions_tell_the_same() -> None:
    assert told_by("You arrive at loc 4. On the desk 1, you see nothing.") == "On the desk 1, you see nothing."
    assert told_by("You put the mug 1 in/on the desk 1.") == told_by("You move the mug 1 to the desk 1.")
    assert told_by("Nothing happened") == "Nothing happens."


def test_after_the_game_is_won_nothing_more_is_played(games: list[Game]) -> None:
    plan = shortest_plan(games[0])
    turns = tuple(ForeignTurn(command, None) for command in (*plan, "fly"))
    replay = replay_foreign(ForeignEpisode("x", games[0].task, "", turns), games[0])
    assert (replay.won, replay.actions, replay.invalid) == (True, len(plan), 0)
