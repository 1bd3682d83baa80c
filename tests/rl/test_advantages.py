"""What a turn is worth: baselines within a game, penalties, groups without a difference, and shaping by distance."""

from __future__ import annotations

from typing import Any

import pytest

np = pytest.importorskip("numpy", reason="training is an extra: pip install 'alfworld-sft[train]'")

from alfworld_sft.rl.advantages import AdvantageOptions, Advantages, ScoredEpisode, advantages, shaped_rewards


def episode(game: str, won: bool, turns: int = 2, **fields: Any) -> ScoredEpisode:
    return ScoredEpisode(game, (*[0.0] * (turns - 1), float(won)), **fields)


def listed(found: Advantages) -> list[list[float]]:
    return [turns.tolist() for turns in found.turns]


def test_grpo_compares_episodes_of_one_game() -> None:
    episodes = [episode("a", True), episode("b", False), episode("a", False, turns=3), episode("b", True)]
    found = advantages(episodes, AdvantageOptions("grpo", "none"))
    assert listed(found) == [[0.5, 0.5], [-0.5, -0.5], [-0.5, -0.5, -0.5], [0.5, 0.5]]
    deviation = np.std([1, 0], ddof=1)
    scaled = advantages(episodes, AdvantageOptions("grpo", "group"))
    assert scaled.turns[0][0] == pytest.approx(0.5 / (deviation + 1e-4), rel=1e-12)


def test_rloo_compares_with_the_others_only() -> None:
    found = advantages([episode("a", won) for won in (True, False, False, False)], AdvantageOptions("rloo"))
    assert [turns[0] for turns in found.turns] == pytest.approx([1, -1 / 3, -1 / 3, -1 / 3])


def test_groups_without_a_difference_are_named_and_dropped() -> None:
    episodes = [episode("easy", True), episode("hard", False), episode("mixed", True), episode("alone", True)]
    episodes += [episode("easy", True, turns=4), episode("hard", False), episode("mixed", False)]
    found = advantages(episodes, AdvantageOptions("grpo"))
    assert (found.games, found.silent) == (4, ("easy", "hard", "alone"))
    assert found.kept == (False, False, True, False, False, False, True)
    assert not any(turns.any() for turns, kept in zip(found.turns, found.kept, strict=True) if not kept)


def test_rewards_that_differ_in_their_last_bits_are_equal() -> None:
    sums = [(0.1, 0.2, 0.3), (0.3, 0.2, 0.1)]
    assert sum(sums[0]) != sum(sums[1])
    found = advantages([ScoredEpisode("a", rewards) for rewards in sums], AdvantageOptions("grpo"))
    assert found.silent == ("a",)


def test_a_turn_that_could_not_be_played_costs_its_penalty() -> None:
    clean = episode("a", True, invalid=(False, False))
    clumsy = episode("a", True, turns=4, invalid=(True, False, True, False))
    assert advantages([clean, clumsy], AdvantageOptions("grpo", "none")).silent == ("a",)
    found = advantages([clean, clumsy], AdvantageOptions("grpo", "none", invalid_penalty=0.1))
    assert (found.turns[0][0], found.turns[1][0]) == pytest.approx((0.1, -0.1))
    rewards = shaped_rewards(
        ScoredEpisode("a", (0.0, 1.0), (True, False), distances=(1, 1, 0)), AdvantageOptions(invalid_penalty=0.1)
    )
    assert rewards.tolist() == pytest.approx([-0.1, 1.1])


def test_no_episodes_have_no_advantages() -> None:
    for name in ("grpo", "rloo", "gigpo", "progress"):
        assert advantages([], AdvantageOptions(name)) == Advantages((), (), 0, ())  # type: ignore[arg-type]


def test_an_episode_of_turns_that_do_not_match_is_refused() -> None:
    with pytest.raises(ValueError, match="1 states of an episode of 2 turns, not 2"):
        ScoredEpisode("a", (0.0, 1.0), states=("start",))
    with pytest.raises(ValueError, match="2 distances of an episode of 2 turns, not 3"):
        ScoredEpisode("a", (0.0, 1.0), distances=(1, 0))


@pytest.mark.parametrize(
    ("options", "missing"),
    [
        (AdvantageOptions("gigpo"), "states"),
        (AdvantageOptions("progress"), "distances"),
        (AdvantageOptions("grpo", invalid_penalty=0.1), "invalid"),
    ],
)
def test_an_estimator_says_what_it_lacks(options: AdvantageOptions, missing: str) -> None:
    with pytest.raises(ValueError, match=f"{missing} of the episodes are needed"):
        advantages([episode("a", True)], options)


PROGRESS = AdvantageOptions("progress", "none", progress_reward=0.1, lost_distance=50, cut_off="kept")


def test_progress_rewards_each_step_by_the_change_of_distance() -> None:
    won = ScoredEpisode("a", (0.0, 0.0, 0.0, 1.0), distances=(2, 1, 2, 1, 0))
    assert shaped_rewards(won, PROGRESS).tolist() == pytest.approx([0.1, -0.1, 0.1, 1.1])


def test_the_shaping_of_an_episode_depends_on_its_ends_only() -> None:
    """Potentials telescope: a detour earns nothing, discounted or not."""
    detour = (3, 2, 1, 2, 3, 2, 1, 0)
    for gamma in (1.0, 0.9):
        options = AdvantageOptions("progress", gamma=gamma, progress_reward=0.1)
        rewards = shaped_rewards(ScoredEpisode("a", (0.0,) * 7, distances=detour), options)
        assert rewards @ gamma ** np.arange(7) == pytest.approx(0.1 * 3)
    cut = AdvantageOptions("progress")
    for path in ((3, 3, 3), (3, 4, 5), (3, 2, None)):
        assert shaped_rewards(ScoredEpisode("a", (0.0, 0.0), distances=path), cut).sum() == pytest.approx(0.3)


def test_a_game_that_can_no_longer_be_won_is_as_far_as_any() -> None:
    lost = ScoredEpisode("a", (0.0, 0.0, 0.0), distances=(3, None, None, None))
    assert shaped_rewards(lost, PROGRESS).tolist() == pytest.approx([-4.7, 0, 0])
    far = ScoredEpisode("a", (0.0,), distances=(60, None))
    assert shaped_rewards(far, PROGRESS).tolist() == [0]


def test_progress_learns_where_no_episode_is_won() -> None:
    near = ScoredEpisode("a", (0.0, 0.0), distances=(3, 2, 1))
    far = ScoredEpisode("a", (0.0, 0.0), distances=(3, 3, 4))
    found = advantages([near, far], PROGRESS)
    assert found.silent == ()
    assert found.turns[0][0] > 0 > found.turns[1][0]
    assert sum(turns.sum() for turns in found.turns) == pytest.approx(0)
    assert advantages([near, far], AdvantageOptions("grpo")).silent == ("a",)


def test_lam_0_credits_a_turn_with_its_own_step_only() -> None:
    options = AdvantageOptions("progress", "none", lam=0.0)
    found = advantages([ScoredEpisode("a", (0.0, 0.0, 1.0), distances=(2, 1, 1, 0))], options)
    steps = np.array([0.1, 0.0, 1.1])
    assert found.turns[0].tolist() == pytest.approx((steps - steps.mean()).tolist())
