import json
import shutil
from dataclasses import replace

import pyarrow.parquet as pq
import pytest
import typer
from typer.testing import CliRunner

from alfworld_sft.collect.config import CollectConfig
from alfworld_sft.collect.run import collect, start_run
from alfworld_sft.config import build_config
from alfworld_sft.dataset.rows import Rendering
from alfworld_sft.errors import ConfigError, DatasetError
from alfworld_sft.evaluate.config import EvaluateConfig
from alfworld_sft.evaluate.run import evaluate, start_evaluation
from alfworld_sft.export.cli import export_command
from alfworld_sft.export.preferences import preference_pairs
from alfworld_sft.games import find_games
from alfworld_sft.prompts.formats import read_action, read_reply
from alfworld_sft.prompts.tags import read_section, replace_section
from alfworld_sft.prompts.template import load_template, template_names
from alfworld_sft.prompts.transcript import prompts_of
from alfworld_sft.world import Env
from alfworld_sft.world.distance import distance as steps_to_goal
from tests.collecting import write_games

app = typer.Typer()
app.command()(export_command)

WORLD_MODEL = Rendering(load_template("add_wm1"))


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """Six episodes of an erring expert, and their games by id."""
    place = tmp_path_factory.mktemp("pairs")
    source = write_games(place / "games", 6)
    words = [f"games.source={source}", "policy.noise=0.3", "prompt.template=add_wm1"]
    job = start_run(build_config(CollectConfig, words), place, name="run")
    with job.run:
        collect(job)
        return list(job.run.episodes()), {ref.id: ref.load() for ref in find_games(source, "train")}


def replayed(game, commands):
    env = Env(game)
    env.reset()
    return env, [env.step(command) for command in commands][-1:]


@pytest.mark.parametrize("predictions", ["grounded", "model"])
def test_every_pair_holds_what_a_replay_says(played, predictions):
    episodes, games = played
    rendering = replace(WORLD_MODEL, predictions=predictions)
    pairs = [(one, pair) for one in episodes for pair in preference_pairs(one, games[one.game_id], rendering)]
    assert len(pairs) > 12
    for one, pair in pairs:
        game, before = games[one.game_id], [step.command for step in one.steps[: pair["turn"] - 1]]
        good, bad = (read_action(pair[which][0]["content"]) for which in ("chosen", "rejected"))
        start, _ = replayed(game, before)
        assert pair["distance"] == steps_to_goal(game, start.game_state)
        for action, which in ((good, "chosen"), (bad, "rejected")):
            env, (seen,) = replayed(game, [*before, action])
            assert pair[f"{which}_distance"] == steps_to_goal(game, env.game_state)
            assert read_section(pair[which][0]["content"], "prediction") == seen.text.strip()
        assert pair["chosen_distance"] < pair["distance"]
        assert pair["rejected_distance"] is None or pair["rejected_distance"] >= pair["distance"]
        assert good != bad


def test_a_deliberate_mistake_is_never_chosen_and_stays_in_the_context(played):
    episodes, games = played
    erring = next(one for one in episodes if not all(step.reply.trained for step in one.steps))
    wrong = {turn for turn, step in enumerate(erring.steps, 1) if not step.reply.trained}
    pairs = list(preference_pairs(erring, games[erring.game_id], WORLD_MODEL))
    assert pairs
    assert wrong.isdisjoint(pair["turn"] for pair in pairs)
    assert all(len(pair["prompt"]) == 2 * pair["turn"] - 1 for pair in pairs)


def test_the_same_episode_gives_the_same_pairs(played):
    episodes, games = played
    first, again = (list(preference_pairs(episodes[0], games[episodes[0].game_id], WORLD_MODEL)) for _ in range(2))
    assert first == again


def test_an_episode_of_another_game_is_refused(played):
    episodes, games = played
    strange = replace(episodes[0], steps=(replace(episodes[0].steps[0], next_observation="A dragon."),))
    with pytest.raises(DatasetError, match="answers otherwise"):
        list(preference_pairs(strange, games[strange.game_id], WORLD_MODEL))


def recorded(tmp_path, *words):
    """Return six episodes with distances, collected with these overrides, and the folder of their games."""
    source = write_games(tmp_path / "games", 6)
    words = [f"games.source={source}", "env.record_distance=true", "prompt.template=add_wm1", *words]
    job = start_run(build_config(CollectConfig, words), tmp_path, name="run")
    with job.run:
        collect(job)
        return list(job.run.episodes()), source


def test_recorded_distances_give_pairs_without_the_games(tmp_path):
    episodes, source = recorded(tmp_path, "policy.noise=0.3", "worldmodel.alternatives=100")
    shutil.rmtree(source)
    result = CliRunner().invoke(app, [str(tmp_path / "run"), "--to", "dpo", "-o", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    pairs = [json.loads(line) for line in (tmp_path / "out/train.jsonl").read_text().splitlines()]
    assert len(pairs) > 12
    by_id = {episode.id: episode for episode in episodes}
    for pair in pairs:
        step = by_id[pair["episode_id"]].steps[pair["turn"] - 1]
        rejected = read_action(pair["rejected"][0]["content"])
        other = next(one for one in step.alternatives if one.command == rejected)
        assert (pair["distance"], pair["chosen_distance"]) == step.distance
        assert pair["rejected_distance"] == other.distance
        assert step.distance.after < step.distance.before
        assert other.distance is None or other.distance >= step.distance.before


@pytest.mark.parametrize("name", template_names())
def test_the_rejected_reply_is_the_other_action_in_every_format(tmp_path, name):
    source = write_games(tmp_path / "games", 2)
    job = start_run(build_config(CollectConfig, [f"games.source={source}", f"prompt.template={name}"]), tmp_path)
    with job.run:
        collect(job)
        episodes = list(job.run.episodes())
    template, games = load_template(name), {ref.id: ref.load() for ref in find_games(source, "train")}
    pairs = [pair for one in episodes for pair in preference_pairs(one, games[one.game_id], Rendering(template))]
    assert pairs
    for pair in pairs:
        chosen, rejected = (
            read_reply(template.reply_format, pair[which][0]["content"], template.tags, ()).action
            for which in ("chosen", "rejected")
        )
        assert chosen != rejected is not None
        episode = next(one for one in episodes if one.id == pair["episode_id"])
        assert rejected in episode.steps[pair["turn"] - 1].admissible_commands


@pytest.mark.parametrize(
    ("name", "said", "rejected"),
    [
        ("default", "<think>I see.</think><action>{0}</action>", "<think>I see.</think><action>{1}</action>"),
        ("default", "<observation>I see it. <action>{0}</action>", "<observation>I see it. <action>{1}</action>"),
        ("default", "<action>{0}</action> or <action>{0}</action>", None),
        ("compact", "<think>I see.</think>\n{0}", "<think>I see.</think>\n{1}"),
        ("compact", "{0}", "{1}"),
        ("trinity", "<think>I see.</think><action>{0}", None),
        ("verl-agent", "<think>I <action>{0}</action></think>", None),
    ],
)
def test_of_a_model_s_reply_only_the_action_differs_or_there_is_no_pair(played, name, said, rejected):
    """However a reply was written: one whose action cannot be replaced would be told to be better than itself."""
    episodes, games = played
    rendering = Rendering(load_template(name))
    for one in episodes[:2]:
        steps = tuple(replace(step, reply=replace(step.reply, text=said.format(step.command))) for step in one.steps)
        pairs = list(preference_pairs(replace(one, steps=steps), games[one.game_id], rendering))
        assert bool(pairs) is (rejected is not None)
        for pair in pairs:
            commands = one.steps[pair["turn"] - 1].admissible_commands
            assert pair["rejected"][0]["content"] in {rejected.format("", command) for command in commands}
            assert pair["rejected"] != pair["chosen"]


def test_games_are_found_by_their_ids_in_a_folder_that_holds_more(tmp_path):
    few, more = write_games(tmp_path / "few", 6), write_games(tmp_path / "more", 12)
    job = start_run(build_config(CollectConfig, [f"games.source={few}"]), tmp_path, name="run")
    with job.run:
        collect(job)
    for name, words in (("own", ()), ("moved", ("--source", more))):
        result = invoke(tmp_path / "run", "--to", "dpo", "-o", tmp_path / name, *words)
        assert result.exit_code == 0, result.output
    assert (tmp_path / "own/train.jsonl").read_bytes() == (tmp_path / "moved/train.jsonl").read_bytes()
    shutil.rmtree(few)
    result = invoke(tmp_path / "run", "--to", "dpo", "-o", tmp_path / "lost")
    assert "which is not at hand; name the folder that holds it with --source FOLDER" in str(result.exception)
    assert not (tmp_path / "lost").exists()


def test_single_turn_pairs_have_the_prompts_that_a_single_turn_model_is_given(played):
    episodes, games = played
    rendering = Rendering(load_template("add_wm1"), history_length=2)
    for one in episodes:
        prompts = list(prompts_of(one, rendering.template, history_length=2))
        for pair in preference_pairs(one, games[one.game_id], rendering, "single"):
            (message,) = prompts[pair["turn"] - 1].messages
            assert pair["prompt"] == [{"role": "user", "content": message.content}]


def invoke(*words):
    return CliRunner().invoke(app, list(map(str, words)))


def test_pairs_of_the_games_held_out_are_apart(tmp_path):
    recorded(tmp_path, "policy.noise=0.3", "dataset.val_fraction=0.3")
    assert invoke(tmp_path / "run", "--to", "dpo", "-o", tmp_path / "out").exit_code == 0
    info = {}
    for split in ("train", "val"):
        rows = pq.read_table(tmp_path / f"run/{split}.parquet", columns=["extra_info"]).to_pylist()
        info[split] = {json.loads(row["extra_info"])["game_id"] for row in rows}
        pairs = [json.loads(line) for line in (tmp_path / f"out/{split}.jsonl").read_text().splitlines()]
        assert {pair["game_id"] for pair in pairs} <= info[split]
        assert pairs
    assert info["train"].isdisjoint(info["val"])


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--to", "trl", "--source", "/nowhere"), "--source /nowhere has no effect with --to trl"),
        (("--to", "inspect", "--form", "single"), "--form single has no effect with --to inspect"),
    ],
)
def test_an_option_without_effect_is_refused(tmp_path, words, line):
    result = invoke(tmp_path, *words, "-o", tmp_path / "out")
    assert isinstance(result.exception, ConfigError)
    assert str(result.exception).startswith(line)


def test_a_template_that_was_changed_since_is_refused(tmp_path):
    template, other = tmp_path / "tidy.toml", tmp_path / "other.toml"
    template.write_text('extends = "default"\n')
    other.write_text('extends = "compact"\n')
    recorded(tmp_path, f"prompt.template={template}")
    words = (tmp_path / "run", "--to", "dpo", "-o", tmp_path / "out")
    before = template.read_text()
    template.write_text(other.read_text())
    assert "is another now than when the run was played" in str(invoke(*words).exception)
    template.unlink()
    other.write_text(before)
    assert invoke(*words, "--template", other).exit_code == 0


def test_an_evaluation_has_no_pairs(tmp_path):
    job = start_evaluation(build_config(EvaluateConfig, ["games.source=embedded", "num_games=1"]), tmp_path, name="e")
    with job.run:
        evaluate(job)
    result = invoke(tmp_path / "e", "--to", "dpo", "-o", tmp_path / "out")
    assert "of kind evaluate; --to dpo takes a collection's folder" in str(result.exception)


def test_a_teacher_s_reply_is_chosen_before_the_policy_s_own(tmp_path):
    episodes, source = recorded(tmp_path, "policy.name=random", "policy.teacher=expert", "env.max_steps=8")
    games = {ref.id: ref.load() for ref in find_games(str(source), "train")}
    pairs = [(one, pair) for one in episodes for pair in preference_pairs(one, games[one.game_id], WORLD_MODEL)]
    assert pairs
    own = 0
    for one, pair in pairs:
        step = one.steps[pair["turn"] - 1]
        assert read_action(pair["chosen"][0]["content"]) == step.teacher.command
        worse = step.problem is None and step.distance.after >= step.distance.before
        said = replace_section(step.reply.text, "prediction", step.next_observation, WORLD_MODEL.template.tags)
        assert (pair["rejected"][0]["content"] == said) == worse
        own += worse
    assert 0 < own < len(pairs)
    invoke(tmp_path / "run", "--to", "dpo", "-o", tmp_path / "out")
    written = [
        line for split in ("train", "val") for line in (tmp_path / f"out/{split}.jsonl").read_text().splitlines()
    ]
    assert len(written) == len(pairs), "recorded distances leave out none of them"


def test_a_rejected_reply_has_no_empty_thought_as_no_row_has_one(tmp_path):
    episodes, source = recorded(tmp_path, "policy.name=random", "policy.teacher=expert", "env.max_steps=8")
    games = {ref.id: ref.load() for ref in find_games(str(source), "train")}
    for one in episodes:
        said = [
            replace(step, reply=replace(step.reply, text=f"<think>\n\n</think>\n\n{step.reply.text}"))
            for step in one.steps
        ]
        thinking = replace(one, steps=tuple(said))
        assert list(preference_pairs(thinking, games[one.game_id], WORLD_MODEL)) == list(
            preference_pairs(one, games[one.game_id], WORLD_MODEL)
        )
