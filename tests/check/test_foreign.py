"""Foreign data is judged: what can be replayed, what really wins, which actions and answers are wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from alfworld_sft.check.foreign import report_foreign
from alfworld_sft.foreign.read import ForeignEpisode, Format, read_foreign
from alfworld_sft.games import find_games
from alfworld_sft.games.listed import list_games
from alfworld_sft.world import Game
from alfworld_sft.world.plan import shortest_plan
from tests.collecting import write_games
from tests.foreign.records import STYLES, older, record


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


def test_put_in_the_words_before_november_2024_is_played_and_counted(
    tmp_path: Path, data: Path, games: list[Game]
) -> None:
    assert "Action: move " in json.dumps(record(games[2], "eto"))
    old = [json.loads(older(json.dumps(record(game, "eto")))) for game in games]
    found = figures(tmp_path, data, old, "eto")
    assert (found["won"], found["invalid_actions"], found["answers_differing"]) == (12, 0, 0)
    assert (
        found["reworded_actions"] == sum(json.dumps(record(game, "eto")).count("Action: move ") for game in games) > 0
    )
    assert "these games refuse them" in next(f["text"] for f in found["findings"] if f["about"] == "reworded")


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
    said = next(f["text"] for f in found["findings"] if f["about"] == "answers_differing")
    assert said.endswith(", so `import` takes it for one of a game that is not at hand")


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
