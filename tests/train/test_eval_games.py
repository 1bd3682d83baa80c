"""Which games a training run plays, and how they are asked. Nothing here needs torch."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from alfworld_sft.collect.config import CollectConfig
from alfworld_sft.collect.run import collect, start_run
from alfworld_sft.config import build_config
from alfworld_sft.errors import ConfigError, DatasetError, GamesNotFoundError, TemplateError
from alfworld_sft.evaluate.config import EvaluateConfig
from alfworld_sft.evaluate.run import choose_games
from alfworld_sft.train.config import build_train_config
from alfworld_sft.train.eval_games import find_eval_games
from tests.collecting import write_games


@pytest.fixture(scope="module")
def games(tmp_path_factory):
    return write_games(tmp_path_factory.mktemp("games"), 12)


@pytest.fixture(scope="module")
def data(games, tmp_path_factory):
    return collected(games, tmp_path_factory.mktemp("data"), "prompt.template=compact", "prompt.history_length=2")


def collected(games, parent, *overrides):
    config = build_config(CollectConfig, [f"games.source={games}", "num_episodes=2", *overrides])
    job = start_run(config, parent, name="run")
    with job.run:
        collect(job)
    return job.run.path


def test_actions_are_restricted_on_request(data, games):
    assert chosen(data, games).config.policy.constrain == "none"
    assert chosen(data, games, "trainer.eval_constrain=action").config.policy.constrain == "action"
    with pytest.raises(ConfigError, match=r"^policy\.constrain=action takes templates .*, not react: "):
        chosen(data, games, "trainer.eval_constrain=action", "trainer.eval_template=react")


def chosen(data, games, *overrides):
    files = ",".join(map(str, data)) if isinstance(data, list) else data
    return find_eval_games(
        build_train_config(
            [
                f"data.train_files=[{files}]",
                "trainer.eval_games=5",
                f"trainer.eval_source={games}",
                "trainer.eval_split=train",
                *overrides,
            ]
        )
    )


def test_the_games_are_those_that_evaluate_chooses(data, games):
    evaluation = build_config(EvaluateConfig, [f"games.source={games}", "games.split=train", "num_games=5"])
    assert chosen(data, games).games == choose_games(evaluation)


def test_games_that_were_skipped_are_told(data, tmp_path):
    games = write_games(tmp_path / "games", 6)
    next(games.rglob("game.tw-pddl")).write_bytes(b"{")
    found = chosen(data, games)
    assert found.games.total == 5
    assert found.games.warning is not None
    assert found.games.warning.startswith("skipped 1 of 6 games: 1 broken (not a JSON object) (the first: ")


def test_the_games_are_asked_as_the_training_data_was(data, games):
    prompt = chosen(data, games).config.prompt
    assert (prompt.template, prompt.form, prompt.history_length) == ("compact", "single", 2)
    assert chosen(data, games, "data.multiturn.enable=true").config.prompt.form == "multi"


def test_a_file_without_its_run_names_the_template_in_its_rows(data, games, tmp_path):
    file = tmp_path / "rows.parquet"
    file.write_bytes((data / "train.parquet").read_bytes())
    found = chosen(file, games)
    assert (found.template.name, found.config.prompt.history_length) == ("compact", None)


def test_one_file_of_several_templates_is_refused(data, games, tmp_path):
    other = collected(games, tmp_path, "prompt.template=default")
    file = tmp_path / "mixed.parquet"
    tables = [pq.read_table(folder / "train.parquet") for folder in (data, other)]
    pq.write_table(pa.concat_tables(tables), file)
    with pytest.raises(DatasetError, match=r"mix compact with history_length=None and default"):
        chosen(file, games, "data.multiturn.enable=true")


def test_data_that_names_no_template_needs_one(games, tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps({"prompt_data": {"content": "You are here."}, "response_data": {"content": "look"}}))
    with pytest.raises(DatasetError, match=r"do not say which template .* set trainer\.eval_template"):
        chosen(file, games)
    assert chosen(file, games, "trainer.eval_template=add_wm1").template.name == "add_wm1"


def test_data_of_several_templates_has_no_one_success_rate(data, games, tmp_path):
    other = collected(games, tmp_path)
    with pytest.raises(DatasetError, match=r"mix compact with history_length=2 and default with history_length=None;"):
        chosen([data, other], games)


def test_the_processes_share_the_games_without_rest(data, games):
    found = chosen(data, games)
    alone = list(found.share(0, 1))
    assert [index for index, _ in alone] == list(range(5))
    assert {ref for _, ref in alone} == set(found.games.refs)
    assert sorted([*found.share(0, 2), *found.share(1, 2)]) == alone


@pytest.mark.parametrize(
    ("override", "error", "said"),
    [
        ("trainer.eval_source=/nowhere", GamesNotFoundError, "/nowhere does not exist"),
        ("trainer.eval_split=valid_seen", GamesNotFoundError, "has no folder 'valid_seen'"),
        ("trainer.eval_template=compat", TemplateError, "did you mean 'compact'"),
    ],
)
def test_what_cannot_be_played_is_told_by_name(data, games, override, error, said):
    with pytest.raises(error, match=said):
        chosen(data, games, override)


def test_a_template_s_file_that_only_a_downloaded_dataset_names_is_not_read(games, tmp_path):
    own = tmp_path / "own.toml"
    own.write_text('extends = "default"\n')
    data = collected(games, tmp_path, f"prompt.template={own}")
    assert chosen(data, games).template.name == "own"  # this user has collected it
    stamp = json.loads((data / "run.json").read_text())
    (data / "run.json").write_text(json.dumps(stamp | {"started": "2020-01-01T00:00:00+00:00"}))
    with pytest.raises(DatasetError, match=rf"its template is the file {own}; .* trainer\.eval_template={own}"):
        chosen(data, games)
    assert chosen(data, games, f"trainer.eval_template={own}").template.name == "own"


def test_a_template_s_file_that_has_changed_since_the_data_was_collected_is_not_used(games, tmp_path):
    own = tmp_path / "own.toml"
    own.write_text('extends = "default"\n')
    data = collected(games, tmp_path, f"prompt.template={own}")
    own.write_text('extends = "compact"\n')
    with pytest.raises(DatasetError, match=r"another now than when .*: trainer\.eval_template=FILE$"):
        chosen(data, games)
