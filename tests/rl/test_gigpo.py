"""GiGPO's advantages are those of trinity-rft 0.6.0, and the two published ways to group anchor states.

The numbers below were printed by `python -m tests.rl.test_gigpo` with `pip install --no-deps trinity-rft==0.6.0`; where
it is installed, a test computes them again. Its module is loaded with stand-ins for what it imports, since the package
itself needs a GPU's libraries.
"""

from __future__ import annotations

import importlib.util
import random
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest

np = pytest.importorskip("numpy", reason="training is an extra: pip install 'alfworld-sft[train]'")

from alfworld_sft.rl.advantages import AdvantageOptions, ScoredEpisode, advantages

SETTINGS = {"none": (1.0, 0.95, "none"), "std": (0.5, 0.9, "std")}
"""omega, gamma and Trinity's `fnorm`, which divides by the deviation or not."""


def make_episodes(seed: int, game: str, group: int = 5) -> list[ScoredEpisode]:
    """Return episodes of one game that meet in some of their states; some rewards are for invalid replies."""
    dice = random.Random(seed)
    made = []
    for _ in range(group):
        states = ["start"]
        while len(states) < 7 and dice.random() < 0.85:
            states.append(dice.choice(["kitchen", "fridge open", "sofa", "holding mug"]))
        rewards = [dice.choice([0.0, 0.0, -0.1]) for _ in states]
        rewards[-1] += dice.choice([0.0, 1.0])
        made.append(ScoredEpisode(game, tuple(rewards), states=tuple(states)))
    return made


BATCHES = {"first": make_episodes(3, "first"), "second": make_episodes(8, "second", group=4)}

EXPECTED: dict[str, list[list[float]]] = {
    "first none": [
        [-0.9022148, -0.7759386, -0.8090953, -0.4774996, -0.8188453, -0.5902013, -0.7188454],
        [1.4742335],
        [-0.7110143, -0.4774995, -0.3824996, -0.2824997, -0.9040408, -0.6188455, -0.6188455],
        [0.6647601, 0.8261403, 0.724672, 0.468083, 0.888653, 1.031153, 0.8959575],
        [-0.5257645],
    ],
    "second none": [
        [-0.8776546, -0.7248149, -0.4576594, -0.4249996, -0.4249996, -0.3576595, -0.629815],
        [1.0200936, 0.5499995, 1.370183],
        [-1.2550323, -0.7341098, -1.0155522, -0.6479093, -0.6526592, -0.7249993, -0.6249994],
        [1.1125934],
    ],
    "first std": [
        [-1.2944348, -1.3258803, -1.303578, -0.8637973, -1.3305241, -1.0147834, -1.1887023],
        [2.1666799],
        [-1.0183624, -1.3208375, -0.7415045, -0.0978011, -1.1947478, -1.0020393, -1.0020393],
        [0.9027894, 1.3326834, 1.0758536, 0.7560176, 1.3705591, 1.6258382, 1.2973802],
        [-0.7566721],
    ],
    "second std": [
        [-1.0594108, -0.9528573, -0.8341873, -0.4527857, -0.4527857, 0.0610747, -0.8707977],
        [1.2063768, 0.8589543, 1.6027105],
        [-1.5115567, -1.6443894, -1.3407903, -0.9764346, -1.0570081, -1.7651129, -0.7651328],
        [1.3645909],
    ],
}


def options(setting: str, anchors: Any = "game") -> AdvantageOptions:
    omega, gamma, norm = SETTINGS[setting]
    return AdvantageOptions(
        advantage="gigpo",
        scale_rewards="group" if norm == "std" else "none",
        gamma=gamma,
        step_weight=omega,
        anchors=anchors,
    )


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("batch", BATCHES)
def test_one_game_has_trinitys_advantages(batch: str, setting: str) -> None:
    for anchors in ("game", "batch"):  # the same for one game
        found = advantages(BATCHES[batch], options(setting, anchors))
        for mine, theirs in zip(found.turns, EXPECTED[f"{batch} {setting}"], strict=True):
            # Without the deviation, Trinity still divides by 1 + 1e-6.
            np.testing.assert_allclose(mine, theirs, rtol=1.1e-6, atol=2e-6)


def test_trinity_itself_gives_the_committed_numbers() -> None:
    pytest.importorskip("torch")
    if importlib.util.find_spec("trinity") is None:
        pytest.skip("the oracle is trinity-rft: pip install --no-deps trinity-rft==0.6.0")
    for name, turns in compute().items():
        for mine, theirs in zip(turns, EXPECTED[name], strict=True):
            np.testing.assert_allclose(mine, theirs, atol=1e-6)


def test_anchors_of_the_batch_join_the_games() -> None:
    both = [*BATCHES["first"], *BATCHES["second"]]
    apart, joined = advantages(both, options("none")), advantages(both, options("none", "batch"))
    alone = [turns for batch in BATCHES.values() for turns in advantages(batch, options("none")).turns]
    assert all(np.array_equal(one, other) for one, other in zip(apart.turns, alone, strict=True))
    assert not all(np.allclose(one, other) for one, other in zip(joined.turns, apart.turns, strict=True))


def test_a_state_met_once_has_the_episodes_advantage_alone() -> None:
    episodes = [
        ScoredEpisode("game", (0.0, 1.0), states=("start", "kitchen")),
        ScoredEpisode("game", (0.0, 0.0), states=("start", "hall")),
    ]
    found = advantages(episodes, AdvantageOptions("gigpo", "none", gamma=0.5))
    assert [turns.tolist() for turns in found.turns] == [[0.5 + 0.25, 0.5], [-0.5 - 0.25, -0.5]]


def test_equal_rewards_still_tell_the_shorter_way() -> None:
    """With a discount, the steps of a quick win are worth more, though the episodes' rewards do not differ."""
    quick = ScoredEpisode("game", (0.0, 1.0), states=("start", "kitchen"))
    slow = ScoredEpisode("game", (0.0, 0.0, 1.0), states=("start", "hall", "kitchen"))
    found = advantages([quick, slow], AdvantageOptions("gigpo", "none", gamma=0.5))
    assert found.turns[0][0] == 0.125
    assert found.turns[1][0] == -0.125
    assert found.silent == ()
    assert advantages([quick, slow], AdvantageOptions("gigpo", "none")).silent == ("game",)


def stand_ins() -> dict[str, ModuleType]:
    """Return small modules for the place of what Trinity's module imports, by name."""

    def group_by(experiences: list[Any], kind: str) -> dict[str, list[Any]]:
        groups: dict[str, list[Any]] = {}
        for each in experiences:
            groups.setdefault({"task": each.eid.tid, "run": each.eid.rid}[kind], []).append(each)
        return groups

    names = {
        "trinity.algorithm.advantage_fn.advantage_fn": {"AdvantageFn": type("AdvantageFn", (), {})},
        "trinity.buffer.operators": {"ExperienceOperator": type("ExperienceOperator", (), {})},
        "trinity.common.experience": {"Experience": SimpleNamespace, "group_by": group_by},
        "trinity.utils.metrics": {"aggregate_metrics": lambda metrics, prefix: {}},
    }
    packages = {name.rpartition(".")[0] for name in names} | {"trinity", "trinity.algorithm"}
    modules = {name: ModuleType(name) for name in [*packages, *names]}
    for name, members in names.items():
        vars(modules[name]).update(members)
    return modules


def compute() -> dict[str, list[list[float]]]:
    """Return the advantages that Trinity computes for each batch and setting."""
    package: Any = importlib.util.find_spec("trinity")
    file = Path(package.origin).parent / "algorithm" / "advantage_fn" / "gigpo_advantage.py"
    found = {}
    with patch.dict(sys.modules, stand_ins()):
        spec: Any = importlib.util.spec_from_file_location("gigpo_advantage", file)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        for setting, (omega, gamma, norm) in SETTINGS.items():
            estimator = module.GiGPOAdvantageFn(omega=omega, gamma=gamma, fnorm=norm)
            for name, episodes in BATCHES.items():
                runs = [experiences(name, number, episode) for number, episode in enumerate(episodes)]
                estimator.process([each for run in runs for each in run])
                found[f"{name} {setting}"] = [[round(float(each.advantages), 7) for each in run] for run in runs]
    return found


def experiences(game: str, number: int, episode: ScoredEpisode) -> list[Any]:
    """Return an episode's turns as Trinity's experiences."""
    return [
        SimpleNamespace(
            eid=SimpleNamespace(tid=game, rid=f"{game}/{number}", step=step),
            info={"step_reward": reward, "env_state_hash": state},
            reward=None,
            action_mask=None,
        )
        for step, (reward, state) in enumerate(zip(episode.rewards, episode.states, strict=True))
    ]


if __name__ == "__main__":
    import json

    sys.stdout.write(json.dumps(compute(), indent=4) + "\n")
