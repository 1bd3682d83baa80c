"""A person plays: hints, undo, distance and saved data; and a policy is watched. The world is the real one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from alfworld_sft.check.cli import check_command
from alfworld_sft.dataset.read import Columns, read_rows
from alfworld_sft.errors import UserError
from alfworld_sft.games import find_games
from alfworld_sft.play.choose import choose_game
from alfworld_sft.play.cli import play_command
from alfworld_sft.play.person import Table
from alfworld_sft.play.session import Session
from alfworld_sft.prompts.formats import read_reply, shown_answer
from alfworld_sft.prompts.template import load_template, template_names
from alfworld_sft.world import Env, Game
from alfworld_sft.world.observations import opening_look
from alfworld_sft.world.plan import shortest_plan
from tests.collecting import write_games

app = typer.Typer()
app.command("play")(play_command)
app.command("check")(check_command)


def session(game: Game, max_steps: int = 50) -> Session:
    return Session(game, load_template("default"), max_steps)


def told(game: Game, lines: Sequence[str], max_steps: int = 50) -> list[str]:
    """What a person is told who types these lines, without the opening."""
    said: list[str] = []
    waiting = iter(lines)

    def read(_: Sequence[str]) -> str:
        try:
            return next(waiting)
        except StopIteration:
            raise EOFError from None

    Table(session(game, max_steps), said.append, lambda *_: Path("nowhere")).play(read)
    return said[2:]


def test_following_the_hints_wins(kitchen: Game) -> None:
    playing = session(kitchen)
    while not playing.observation.over:
        playing.play(playing.hint().action)
    assert playing.observation.won
    assert playing.episode().success
    assert playing.hint().reason


@pytest.mark.parametrize("name", template_names())
def test_what_is_played_is_written_as_the_template_asks_for_it(kitchen: Game, name: str) -> None:
    template, plan = load_template(name), shortest_plan(kitchen)
    playing = Session(kitchen, template, 50)
    playing.play("fly")
    for command in plan:
        playing.play(command, "I know.")
    episode = playing.episode()
    assert episode.success
    for step, command in zip(episode.steps[1:], plan, strict=True):
        parsed = read_reply(template.reply_format, step.reply.text, template.tags, step.admissible_commands)
        assert (parsed.action, parsed.problem) == (command, None)
    refused = read_reply(template.reply_format, episode.steps[0].reply.text, template.tags, ())
    answer = shown_answer(template.reply_format, refused, episode.steps[0].next_observation)
    assert (episode.steps[0].observation, episode.steps[1].observation) == (opening_look(kitchen), answer)


def test_undo_takes_back_a_step_as_if_it_had_not_been_played(kitchen: Game) -> None:
    playing, plan = session(kitchen), shortest_plan(kitchen)
    for command in plan[:2]:
        playing.play(command)
    before = playing.observation, playing.seen, playing.distance(), playing.episode()
    playing.play(plan[2])
    playing.play("fly")
    assert (playing.undo(), playing.undo()) == (True, True)
    assert (playing.observation, playing.seen, playing.distance(), playing.episode()) == before
    assert playing.play(plan[2]).text == _replayed(kitchen, plan[:3])
    assert [playing.undo() for _ in range(4)] == [True, True, True, False]


def _replayed(game: Game, commands: Sequence[str]) -> str:
    env = Env(game)
    env.reset()
    return [env.step(command).text for command in commands][-1]


def test_the_distance_falls_along_the_shortest_plan(kitchen: Game) -> None:
    playing, plan = session(kitchen), shortest_plan(kitchen)
    found = [playing.distance()]
    for command in plan:
        playing.play(command)
        found.append(playing.distance())
    assert found == list(range(len(plan), -1, -1))


def test_a_person_is_told_what_happens(kitchen: Game) -> None:
    plan = list(shortest_plan(kitchen))
    said = told(kitchen, ["distance", "hint", "undo", "fly to moon", *plan, "look", "undo", "distance", "quit", "look"])
    assert said[0] == f"{len(plan)} steps"
    assert said[2:4] == ["nothing has been played yet", "Nothing happens."]
    assert said[4 + len(plan)] == f"You won, in {len(plan) + 1} steps. (save, undo or quit)"
    assert said[-2:] == [said[2 + len(plan)], "1 step"]
    assert "the game is over; undo, save or quit" in said
    assert told(kitchen, ["look"], max_steps=1)[-1] == "The step limit is reached. (save, undo or quit)"


def test_why_gives_the_action_with_its_reason(kitchen: Game) -> None:
    hint = session(kitchen).hint()
    assert told(kitchen, ["why"]) == [f"{hint.action}: {hint.reason}"]


def test_completion_offers_what_can_be_done_now(kitchen: Game) -> None:
    table = Table(session(kitchen), print, lambda *_: Path())
    assert set(session(kitchen).observation.admissible_commands) < set(table.completions)
    assert {"hint", "why", "undo", "distance", "save", "think"} < set(table.completions)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_games(tmp_path_factory.mktemp("play"), 6)


def test_a_saved_episode_is_a_run_that_is_checked_and_read(data: Path, tmp_path: Path) -> None:
    ref = find_games(data, "train").refs[0]
    plan = shortest_plan(ref.load())
    lines = ["look", "undo", "think I know where it is.", *plan, f"save {tmp_path}", "quit"]
    words = ["play", ref.id, "--source", str(data)]
    result = CliRunner().invoke(app, words, input="\n".join(lines) + "\n")
    assert result.exit_code == 0, result.output
    assert f"saved: {tmp_path}/played_001" in result.output
    rows = list(read_rows([tmp_path / "played_001" / "train.parquet"], Columns(multiturn=True)))
    assert len(rows) == len(plan)
    replies = [message.content for message in rows[-1].messages if message.role == "assistant"]
    assert replies[0] == f"<think>I know where it is.</think>\n<action>{plan[0]}</action>"
    assert replies[1:] == [f"<action>{command}</action>" for command in plan[1:]]
    stamp = json.loads((tmp_path / "played_001" / "run.json").read_text())
    assert (stamp["policy"], stamp["status"], stamp["counts"]["won"]) == ("person", "complete", 1)
    checked = CliRunner().invoke(app, ["check", str(tmp_path / "played_001")])
    assert checked.exit_code == 0, checked.output
    assert f"1 episode of 1 replayed, {len(plan)} steps; 1 won" in checked.output


def test_what_cannot_be_saved_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    data = write_games(tmp_path / "data", 1, "valid_seen")
    words = ["play", "--source", str(data), "--split", "valid_seen"]
    typed = ("save {0}/out", "look", "save a b", "save ~nosuchuser/x", f"save {'x' * 300}", "save {0}/out")
    result = CliRunner().invoke(app, words, input="".join(f"{line}\n" for line in typed).format(tmp_path))
    assert "cannot do that: Could not determine home directory." in result.output
    assert "File name too long" in result.output
    assert "cannot do that: nothing has been played yet" in result.output
    assert "cannot do that: save takes one folder, not 2" in result.output
    assert "cannot do that: split 'valid_seen' is for evaluation" in result.output
    assert not (tmp_path / "out").exists()


def test_a_game_is_named_by_its_file_its_id_or_a_part(data: Path, tmp_path: Path) -> None:
    games = find_games(data, "train")
    ref = games.refs[1]
    assert choose_game(ref.id, str(data), "train", 0)[0] == ref
    assert choose_game(ref.id.split("/")[0].lower(), str(data), "train", 0)[0] == ref
    assert choose_game(str(ref.path), None, "train", 0)[0].path == ref.path
    assert choose_game(None, str(data), "train", 1)[0] == choose_game(None, str(data), "train", 1)[0]
    with pytest.raises(UserError, match=r"'pick' fits 5 games \("):
        choose_game("pick", str(data), "train", 0)
    held_out = next(ref for ref in find_games("embedded", "valid_seen"))
    with pytest.raises(UserError, match=r"no game .*; it is one of another split: --split valid_seen$"):
        choose_game(held_out.id, "embedded", "train", 0)
    place = next(write_games(tmp_path, 1, "valid_seen").rglob("game.tw-pddl"))
    assert choose_game(str(place), None, "train", 0)[0].path == place
    with pytest.raises(UserError, match="no game 'unicorn' among 6 train games"):
        choose_game("unicorn", str(data), "train", 0)


def test_a_policy_is_watched_to_the_end(data: Path) -> None:
    ref = find_games(data, "train").refs[0]
    plan = shortest_plan(ref.load())
    result = CliRunner().invoke(app, ["play", ref.id, "--source", str(data), "--policy", "planner"])
    assert result.exit_code == 0, result.output
    assert result.output.count("<action>") == len(plan)
    assert result.output.splitlines()[-1] == f"won after {len(plan)} step{'s' * (len(plan) != 1)}"


def test_keys_of_a_policy_need_one(data: Path) -> None:
    result = CliRunner().invoke(app, ["play", "policy.noise=0.1"])
    assert "go with --policy" in str(result.exception)
