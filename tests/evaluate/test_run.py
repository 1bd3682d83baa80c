import json
from dataclasses import dataclass, field, replace

import pytest

from alfworld_sft.collect.run import resume_run
from alfworld_sft.config import build_config
from alfworld_sft.errors import ConfigError, PolicyError, RunFolderError
from alfworld_sft.evaluate.compare import compare, read_result
from alfworld_sft.evaluate.config import EvaluateConfig
from alfworld_sft.evaluate.metrics import UNKNOWN_TYPE
from alfworld_sft.evaluate.run import evaluate, resume_evaluation, start_evaluation
from alfworld_sft.policies.expert.expert import Expert
from tests.collecting import write_games
from tests.reference.real import NO_REAL_GAMES, REAL_GAMES


@pytest.fixture
def data(tmp_path):
    return write_games(tmp_path / "data", 12, "valid_seen")


def started(source, parent, *overrides, name="run"):
    return start_evaluation(build_config(EvaluateConfig, [f"games.source={source}", *overrides]), parent, name=name)


def evaluated(source, parent, *overrides, name="run"):
    job = started(source, parent, *overrides, name=name)
    with job.run:
        return job.run.path, evaluate(job)


@dataclass(frozen=True)
class FailsOnce(Expert):
    failed: list[str] = field(default_factory=list)

    def begin(self, game, seed):
        player = super().begin(game, seed)
        if self.failed:
            return player
        self.failed.append(game.id)
        return OutOfOrder()


class OutOfOrder:
    async def act(self, prompt):
        raise PolicyError("out of order")


def written(folder):
    return json.loads((folder / "metrics.json").read_bytes())


def test_every_game_of_valid_seen_is_played_once(data, tmp_path):
    _, found = evaluated(data, tmp_path)
    assert (found.metrics.success().won, found.metrics.success().played) == (12, 12)
    assert {len(games) for games in found.metrics.outcomes.values()} == {2}


def test_the_folder_is_named_after_what_it_holds(data, tmp_path):
    folder, _ = evaluated(data, tmp_path, name=None)
    assert folder.name.startswith("eval_20")
    assert {file.name for file in folder.iterdir()} == {"episodes.jsonl", "metrics.json", "run.json"}


def test_repeats_play_every_game_so_often(data, tmp_path):
    _, found = evaluated(data, tmp_path, "repeats=3", "policy.name=random", "env.max_steps=10")
    assert {len(plays) for games in found.metrics.outcomes.values() for plays in games.values()} == {3}
    assert list(found.metrics.pass_at_k()) == [1, 2, 3]


def test_some_games_are_chosen_by_the_seed_and_each_is_repeated(data, tmp_path):
    def games(name, *overrides):
        return read_result(evaluated(data, tmp_path, "num_games=5", *overrides, name=name)[0]).games

    assert len(games("a", "repeats=2")) == 5
    assert games("b") == games("a2", "repeats=2") != games("c", "seed=1")


def test_generated_games_are_repeated_too(tmp_path):
    _, found = evaluated("generate", tmp_path, "num_games=3", "repeats=2")
    plays = [plays for games in found.metrics.outcomes.values() for plays in games.values()]
    assert [len(outcomes) for outcomes in plays] == [2, 2, 2]


def test_generated_games_have_no_end(tmp_path):
    with pytest.raises(ConfigError, match="say how many games to play with num_games=N"):
        started("generate", tmp_path)


def test_the_metrics_carry_the_protocol_stamp(data, tmp_path):
    folder, _ = evaluated(data, tmp_path, "prompt.template=add_wm1", "seed=9", "repeats=2")
    stamp = written(folder)["stamp"]
    assert stamp["protocol"] | {"template_sha256": ""} == {
        "split": "valid_seen", "max_steps": 50, "max_repeats": None, "form": "single", "history_length": None,
        "template": "add_wm1", "template_sha256": "", "seed": 9, "repeats": 2,
    }  # fmt: skip
    assert (stamp["policy"], stamp["sampling"], stamp["games"]["count"]) == ("expert", None, 12)
    assert "alfworld-sft" in stamp["versions"]


def test_skipped_games_are_counted_by_reason_in_both_files(data, tmp_path):
    for file in sorted(data.rglob("game.tw-pddl"))[:9]:
        file.write_bytes(b"{")
    folder, found = evaluated(data, tmp_path)
    assert found.metrics.success().played == 3
    skipped = {"broken (not a JSON object)": 9}
    assert written(folder)["stamp"]["games"]["skipped"] == skipped
    assert json.loads((folder / "run.json").read_bytes())["games"]["skipped"] == skipped


def test_predictions_are_scored_where_the_template_asks_for_them(data, tmp_path):
    _, plain = evaluated(data, tmp_path, name="plain")
    folder, found = evaluated(data, tmp_path, "prompt.template=add_wm1", name="wm")
    assert plain.world_model is None
    assert found.world_model.of("policy").cases == found.metrics.steps
    assert written(folder)["world_model"]["policy"]["by_kind"]["take"]["exact_match"] == 1.0


def test_the_planner_who_knows_the_game_is_a_perfect_predictor(data, tmp_path):
    folder, _ = evaluated(data, tmp_path, "prompt.template=add_wm1", "policy.name=planner")
    found = written(folder)["world_model"]["policy"]
    assert {"go to open receptacle", "take", "move"} <= found["by_kind"].keys()
    for score in (found["all"], *found["by_kind"].values()):
        assert (score["exact_match"], score["f1"]) == (1.0, 1.0)


def test_an_evaluation_goes_on_where_it_stopped_with_the_same_result(data, tmp_path):
    overrides = ("policy.name=random", "repeats=2", "env.max_steps=30", "prompt.template=add_wm1")
    whole, _ = evaluated(data, tmp_path, *overrides, name="whole")
    torn, _ = evaluated(data, tmp_path, *overrides, name="torn")
    expected = (torn / "metrics.json").read_bytes()
    journal = torn / "episodes.jsonl"
    journal.write_bytes(journal.read_bytes()[: journal.stat().st_size // 2])
    (torn / "metrics.json").unlink()
    job = resume_evaluation(torn)
    with job.run:
        assert 0 < job.run.played < 24
        evaluate(job)
    assert (torn / "metrics.json").read_bytes() == expected == (whole / "metrics.json").read_bytes()


def test_a_game_that_cannot_be_read_counts_as_lost_until_it_is_played(data, tmp_path):
    job = started(data, tmp_path)
    file = next(data.rglob("*Pen-None-Shelf-1*/*/game.tw-pddl"))
    whole = file.read_bytes()
    file.write_bytes(b"{}")
    with job.run:
        found = evaluate(job).metrics
    success = found.success("pick_and_place_simple")
    assert (success.won, success.played, found.failures) == (1, 2, {"error": 1})
    assert written(job.run.path)["status"] == "incomplete"
    with pytest.raises(RunFolderError, match="some of its episodes failed"):
        read_result(job.run.path)
    file.write_bytes(whole)
    job = resume_evaluation(job.run.path)
    with job.run:
        assert evaluate(job).metrics.success().won == 12
    assert written(job.run.path)["status"] == "complete"


def test_a_failed_play_belongs_to_its_game_where_the_folder_does_not_tell_the_type(data, tmp_path, monkeypatch):
    flat = tmp_path / "flat"
    flat.mkdir()
    for number, file in enumerate(sorted(data.rglob("game.tw-pddl"))[:3]):
        (flat / f"g{number}.tw-pddl").write_bytes(file.read_bytes())
    job = started(flat, tmp_path, "repeats=2")

    with job.run:
        metrics = evaluate(replace(job, policy=FailsOnce())).metrics
    assert UNKNOWN_TYPE not in metrics.outcomes
    assert (metrics.success().won, metrics.success().played) == (5, 6)
    whole, _ = evaluated(flat, tmp_path, "repeats=2", name="whole")
    found = compare(read_result(whole), read_result(job.run.path, failed_as_lost=True))
    assert (found.games, found.plays, found.only_a, found.only_b) == (3, 6, 1, 0)


def test_a_full_disk_loses_no_episode(data, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    job = started(data, tmp_path)
    with monkeypatch.context() as context, job.run:
        context.setattr("alfworld_sft.evaluate.run.whole_file", full)
        with pytest.raises(RunFolderError, match=r"No space left on device; .* evaluate --resume"):
            evaluate(job)
    job = resume_evaluation(tmp_path / "run")
    with job.run:
        assert (job.run.played, evaluate(job).metrics.success().won) == (12, 12)


def test_an_evaluation_is_not_resumed_as_a_collection(data, tmp_path):
    folder, _ = evaluated(data, tmp_path)
    with pytest.raises(RunFolderError, match=r"is a run of evaluate; resume with: alfworld-sft evaluate --resume"):
        resume_run(folder)


def test_two_evaluations_are_compared_from_their_folders(data, tmp_path):
    a, _ = evaluated(data, tmp_path, "policy.name=random", "env.max_steps=5", name="a")
    b, _ = evaluated(data, tmp_path, "policy.name=random", "env.max_steps=5", "seed=7", name="b")
    assert compare(read_result(a), read_result(b)).plays == 12


@pytest.mark.real_games
@pytest.mark.skipif(not REAL_GAMES.is_dir(), reason=NO_REAL_GAMES)
def test_valid_seen_has_the_published_counts_by_task_type(tmp_path):
    folder, found = evaluated(REAL_GAMES.parent, tmp_path, "env.max_steps=1")
    assert [found.metrics.success(t).played for t in found.metrics.task_types] == [35, 13, 27, 16, 25, 24]
    assert written(folder)["success"]["played"] == 140
