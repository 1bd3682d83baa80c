"""Do the estimators and the loss find the best policy? A bandit and a small game, with policies that are tables.

The game: from `start`, `forward` leads to `middle`, and from there to the goal; `back` leads to `start`; `jump` looks
shorter, but from `start` it leads into a pit that nothing leads out of, and from `middle` back to `start`.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Mapping
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="training is an extra: pip install 'alfworld-sft[train]'")
np = pytest.importorskip("numpy")

from alfworld_sft.rl.advantages import AdvantageOptions, ScoredEpisode, advantages, shaped_rewards
from alfworld_sft.rl.weights import token_weights
from alfworld_sft.train.model.policy_loss import PolicyLoss, PolicyTokens

STATES, ACTIONS, LIMIT = ("start", "middle", "pit"), ("forward", "back", "jump"), 6
MOVES = {
    "start": {"forward": "middle", "back": "start", "jump": "pit"},
    "middle": {"forward": "goal", "back": "start", "jump": "start"},
    "pit": dict.fromkeys(ACTIONS, "pit"),
}
DISTANCES = {"start": 2, "middle": 1, "goal": 0, "pit": None}
ESTIMATORS = {
    "grpo": AdvantageOptions("grpo"),
    "grpo, unscaled": AdvantageOptions("grpo", "none"),
    "rloo": AdvantageOptions("rloo"),
    "gigpo": AdvantageOptions("gigpo", gamma=0.9),
    "progress": AdvantageOptions("progress", gamma=0.9),
    "progress, as if it continued": AdvantageOptions("progress", cut_off="kept"),
    "progress, near steps only": AdvantageOptions("progress", lam=0.5),
}


def play(choose: Callable[[str], str]) -> tuple[ScoredEpisode, list[tuple[str, str]]]:
    """Return an episode of the game, and what was done where."""
    state, done, rewards = "start", [], []
    distances = [DISTANCES["start"]]
    while state != "goal" and len(done) < LIMIT:
        action = choose(state)
        done.append((state, action))
        state = MOVES[state][action]
        rewards.append(float(state == "goal"))
        distances.append(DISTANCES[state])
    states = tuple(before for before, _ in done)
    return ScoredEpisode("game", tuple(rewards), states=states, distances=tuple(distances)), done


def update(table: Any, optimizer: Any, rows: Any, columns: Any, worth: Any, lengths: list[int], loss_type: Any) -> None:
    """Make two clipped updates on tokens that were sampled at the table's probabilities."""
    sampled = table.log_softmax(-1)[rows, columns].detach()
    objective = PolicyLoss(PolicyTokens(sampled, worth))
    weights = torch.tensor(np.repeat(token_weights(lengths, loss_type, LIMIT), lengths))
    for _ in range(2):
        logprob = table.log_softmax(-1)[rows, columns]
        _, slope = objective(logprob.detach(), torch.arange(len(rows)))
        optimizer.zero_grad()
        (weights * slope * logprob).sum().backward()
        optimizer.step()


@pytest.mark.parametrize("loss_type", ["dapo", "dr_grpo", "grpo"])
@pytest.mark.parametrize("estimator", ["grpo", "grpo, unscaled", "rloo"])
def test_a_bandit_is_solved(estimator: str, loss_type: str) -> None:
    dice, chances = random.Random(0), (0.2, 0.8, 0.5)
    table = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([table], lr=0.1)
    for _ in range(60):
        arms = dice.choices(range(3), table.softmax(-1)[0].tolist(), k=16)
        pulls = [ScoredEpisode("bandit", (float(dice.random() < chances[arm]),)) for arm in arms]
        worth = torch.tensor(np.concatenate(advantages(pulls, ESTIMATORS[estimator]).turns))
        update(table, optimizer, torch.zeros(16, dtype=torch.long), torch.tensor(arms), worth, [1] * 16, loss_type)
    assert table.softmax(-1)[0, 1] > 0.9


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_game_is_solved(estimator: str) -> None:
    dice = random.Random(1)
    table = torch.zeros(3, 3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([table], lr=0.1)
    for _ in range(60):
        chances = dict(zip(STATES, table.softmax(-1).tolist(), strict=True))
        played = [play(lambda state: dice.choices(ACTIONS, chances[state])[0]) for _ in range(16)]  # noqa: B023
        worth = torch.tensor(np.concatenate(advantages([each for each, _ in played], ESTIMATORS[estimator]).turns))
        turns = [turn for _, done in played for turn in done]
        rows, columns = (
            torch.tensor([names.index(turn[i]) for turn in turns]) for i, names in enumerate((STATES, ACTIONS))
        )
        update(table, optimizer, rows, columns, worth, [len(done) for _, done in played], "dapo")
    forward = table.softmax(-1)[:2, 0]
    assert forward.min() > 0.8


def best(value: Callable[[ScoredEpisode], float]) -> list[Mapping[str, str]]:
    """Return the deterministic policies whose episode is worth most; the pit's actions do not matter."""
    policies = [dict(zip(STATES, (*acts, "back"), strict=True)) for acts in itertools.product(ACTIONS, repeat=2)]
    worth = [round(value(play(policy.__getitem__)[0]), 9) for policy in policies]
    return [policy for policy, each in zip(policies, worth, strict=True) if each == max(worth)]


@pytest.mark.parametrize("cut_off", ["zero", "kept"])
@pytest.mark.parametrize("gamma", [1.0, 0.9])
@pytest.mark.parametrize("size", [0.01, 0.1, 10.0])
def test_shaping_leaves_the_best_policy_what_it_is(size: float, gamma: float, cut_off: Any) -> None:
    options = AdvantageOptions("progress", gamma=gamma, progress_reward=size, cut_off=cut_off)

    def total(rewards: Any) -> float:
        return float(rewards @ gamma ** np.arange(len(rewards)))

    unshaped = best(lambda episode: total(np.array(episode.rewards)))
    assert best(lambda episode: total(shaped_rewards(episode, options))) == unshaped
    assert [policy["start"] + " " + policy["middle"] for policy in unshaped] == ["forward forward"]


@pytest.mark.parametrize(("cut_off", "bold_loses"), [("zero", -0.1), ("kept", 0.25)])
def test_where_losing_is_a_matter_of_luck_only_zero_leaves_the_best_policy_what_it_is(
    cut_off: Any, bold_loses: float
) -> None:
    """A bold policy wins 6 of 10 games, and its losses end far from the goal; a timid one wins 5, and ends near it."""
    options = AdvantageOptions("progress", cut_off=cut_off)

    def worth(chance: float, end_of_losses: int) -> float:
        won = ScoredEpisode("a", (0.0, 1.0), distances=(6, 1, 0))
        lost = ScoredEpisode("a", (0.0, 0.0), distances=(6, 6, end_of_losses))
        return float(chance * shaped_rewards(won, options).sum() + (1 - chance) * shaped_rewards(lost, options).sum())

    assert worth(0.5, 1) - worth(0.6, 10) == pytest.approx(bold_loses)


def test_a_reward_for_closeness_that_is_no_potential_would_be_farmed() -> None:
    """The check can fail: a bonus for every step that comes closer, without a price for going back, is a detour."""

    def farmed(episode: ScoredEpisode) -> float:
        closer = sum(a is not None and b is not None and b < a for a, b in itertools.pairwise(episode.distances))
        return sum(episode.rewards) + 1.0 * closer

    assert [policy["middle"] for policy in best(farmed)] != ["forward"]
