"""A run that learns nothing, or the wrong thing, stops and says what to do."""

import json

import pytest

pytest.importorskip("torch", reason="training is an extra: pip install 'alfworld-sft[train]'")

from alfworld_sft.rl.config import RLSection
from alfworld_sft.rl.limits import NothingWonError, OtherModelError, RunawayError, Watch, dry_games_in
from alfworld_sft.rl.rollout import Group
from tests.episodes import episode, step


def group(*, won: bool, invalid: int = 0) -> Group:
    """Return a game with one episode of four turns, of which some are invalid."""
    steps = tuple(step(n, problem="no action" if n <= invalid else None) for n in range(1, 5))
    return Group(0, None, (episode(success=won, steps=steps),))


def watch_of(**limits):
    """Return a watch with these limits, in a run that has saved a checkpoint."""
    return Watch(RLSection(**limits), "play easier games (games.difficulty=easy)", lambda: "the last checkpoint is X")


def test_games_that_nobody_wins_end_the_run_after_so_many_in_a_row():
    watch = watch_of(patience=3)
    watch.games_played(1, [group(won=False), group(won=False), group(won=True), group(won=False)])
    assert watch.dry_games == 1
    watch.games_played(2, [group(won=False)])
    with pytest.raises(RunawayError) as error:
        watch.games_played(3, [group(won=False)])
    assert str(error.value) == (
        "step 3: no episode of the last 3 games was won; play easier games (games.difficulty=easy), fine-tune"
        " the model further first (alfworld-sft train), or wait longer (rl.patience)"
    )


def test_the_count_goes_on_where_the_log_ends(tmp_path):
    lines = [{"step": 1, "dry_games": 2}, {"step": 1, "val/success": 0.5}, {"step": 2, "dry_games": 4}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 3, "dry')
    assert [dry_games_in(tmp_path / "metrics.jsonl", step) for step in (0, 1, 2, 9)] == [0, 2, 4, 4]
    assert dry_games_in(tmp_path / "none.jsonl", 1) == 0


def test_replies_that_nothing_can_execute_end_the_run():
    watch = watch_of(min_valid_share=0.5)
    watch.games_played(1, [group(won=True, invalid=2)])
    with pytest.raises(RunawayError, match=r"^step 2: 25% of the replies contain a command .*checkpoint is X\)$"):
        watch.games_played(2, [group(won=True, invalid=3)])


def test_games_that_cannot_be_played_end_the_run_with_the_reason():
    failed = Group(0, None, (episode(success=False, steps=(), error="the prompt has 1300 tokens"),) * 2)
    with pytest.raises(NothingWonError, match="none of 2 episodes was played to its end: the prompt has"):
        watch_of(min_valid_share=0.0).games_played(1, [failed])
    watch = watch_of(patience=2)
    watch.games_played(1, [failed, group(won=False), failed])
    assert watch.dry_games == 1, "a game that failed was not lost"


def test_a_policy_far_from_its_start_ends_the_run():
    watch = watch_of(kl_limit=0.5)
    watch.diverged(1, 0.5)
    with pytest.raises(RunawayError, match=r"^step 2: the KL divergence .* is 0\.6 per token, over"):
        watch.diverged(2, 0.6)
    watch_of(kl_limit=None).diverged(3, 100.0)


def test_a_served_policy_that_is_another_model_ends_the_run():
    watch = watch_of()
    watch.played_elsewhere(1, 0.1)
    with pytest.raises(OtherModelError, match=r"^step 2: the log-probabilities .* \(policy_kl 0\.11 per token\);"):
        watch.played_elsewhere(2, 0.11)
    watch_of(num_iterations=2).played_elsewhere(3, 5.0)
