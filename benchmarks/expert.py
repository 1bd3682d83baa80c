"""How well does the expert play, and how much of its skill fits into a prompt?

On all 340 real games, 50 steps: success by task type and steps when won, with the prior (never from a game's own
scene), without it, with the sweep search, with noise, and with the templates' ways of showing a game; then the expert
restarted at every step from nothing but the rendered prompt's view with the last N steps: the ceiling of any imitator
with that prompt. Every line plays through `run_episode`, prompts and all.

    python -m benchmarks.expert [--peer N]

`--peer N` also runs the reference's handcoded expert on N games of each task type, where the reference's interpreter
is given in ALFWORLD_REFERENCE_PYTHON or is .venv-reference/bin/python, beside ours on the same games.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from alfworld_sft.policies.base import Policy
from alfworld_sft.policies.expert.expert import Expert
from alfworld_sft.policies.random_player import RandomPlayer
from alfworld_sft.prompts.template import load_template
from alfworld_sft.runs.rollout import Protocol, run_episode
from alfworld_sft.seeds import derive_seed
from alfworld_sft.types import TASK_TYPES, Exchange, Prompt
from alfworld_sft.world import Env, Game, load_game
from benchmarks._result import write_result

REPOSITORY = Path(__file__).parents[1]
REAL_GAMES = REPOSITORY.parent / "shared" / "alfworld_data" / "json_2.1.1"
PEER = Path(__file__).with_name("peer_expert.py")
MAX_STEPS = 50
SHORT_NAMES = dict(zip(TASK_TYPES, ("pick", "light", "clean", "heat", "cool", "two"), strict=True))


@dataclass(frozen=True)
class Setting:
    """One line of the table."""

    label: str
    policy: Policy
    template: str = "default"
    history_length: int | None = None
    repeats: int = 1


SETTINGS = (
    Setting("prior", Expert()),
    Setting("no prior", Expert(prior=False)),
    Setting("sweep", Expert(search="sweep")),
    Setting("prior, compact (no list)", Expert(), "compact"),
    Setting("prior, noise 0.2 in all", Expert(noise=0.2), repeats=3),
    Setting("prior, noise 0.2, compact", Expert(noise=0.2), "compact", repeats=3),
    Setting("random", RandomPlayer()),
    *(
        Setting(f"{search}, window {length}", Expert(search=search), history_length=length)
        for search in ("prior", "sweep")
        for length in (2, 4, 6, 10)
    ),
)


def measure(setting: Setting, games: Sequence[Game]) -> dict[str, object]:
    """Play all games and count."""
    template = load_template(setting.template)
    protocol = Protocol(MAX_STEPS, history_length=setting.history_length)
    played: Counter[str] = Counter()
    won: Counter[str] = Counter()
    steps: Counter[str] = Counter()
    lost: list[str] = []
    for repeat in range(setting.repeats):
        for index, game in enumerate(games):
            seed = derive_seed(repeat, index)
            episode = asyncio.run(run_episode(game, setting.policy, template, protocol, seed=seed))
            played[game.task_type] += 1
            if episode.success:
                won[game.task_type] += 1
                steps[game.task_type] += len(episode.steps)
            else:
                lost.append(game.id)
    return {
        "setting": setting.label,
        "episodes": played.total(),
        "success": won.total() / played.total(),
        "mean_steps_when_won": steps.total() / max(1, won.total()),
        "success_by_task_type": {kind: won[kind] / played[kind] for kind in TASK_TYPES if played[kind]},
        "mean_steps_by_task_type": {kind: steps[kind] / max(1, won[kind]) for kind in TASK_TYPES if played[kind]},
        "lost": sorted(set(lost)) if len(set(lost)) <= 10 else f"{len(set(lost))} games",
    }


def milliseconds_an_episode(games: Sequence[Game]) -> float:
    """Time what the expert itself costs, replies with all tags, per episode: the environment is not counted."""
    expert, template = Expert(), load_template("add_wm2")
    spent = 0.0
    for index, game in enumerate(games):
        player, env = expert.begin(game, index), Env(game, MAX_STEPS)
        episode = asyncio.run(run_episode(game, expert, template, Protocol(MAX_STEPS), seed=index))
        observation, history = env.reset(), []
        for turn, step in enumerate(episode.steps):
            view = template.view(game.task, history, step.observation, observation.admissible_commands)
            prompt = Prompt(view, (), template.tags, derive_seed(index, turn))
            start = time.perf_counter()
            reply = player.reply(prompt)
            spent += time.perf_counter() - start
            assert reply == step.reply
            observation = env.step(step.command)
            history.append(Exchange(step.observation, step.command))
    return 1000 * spent / len(games)


def run_peer(paths: Sequence[Path]) -> list[dict[str, float]] | None:
    """Play files with the reference's handcoded expert; None where the reference is not installed."""
    python = os.environ.get("ALFWORLD_REFERENCE_PYTHON") or str(REPOSITORY / ".venv-reference" / "bin" / "python")
    if not Path(python).exists():
        return None
    command = [python, str(PEER), str(MAX_STEPS), *map(str, paths)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def compare(paths: Sequence[Path], games: Sequence[Game], per_type: int) -> dict[str, object] | None:
    """Play the first games of each task type, spread over the files, with the peer and with ours."""
    chosen: list[int] = []
    for kind in TASK_TYPES:
        of_kind = [i for i, game in enumerate(games) if game.task_type == kind]
        count = min(per_type, len(of_kind))
        chosen += [of_kind[n * len(of_kind) // count] for n in range(count)]
    answers = run_peer([paths[i] for i in chosen])
    if answers is None:
        return None
    won = [answer["steps"] for answer in answers if answer["won"]]
    ours = measure(Setting("prior", Expert()), [games[i] for i in chosen])
    by_type = {
        kind: [bool(answer["won"]) for i, answer in zip(chosen, answers, strict=True) if games[i].task_type == kind]
        for kind in TASK_TYPES
    }
    return {
        "peer": "alfworld's handcoded expert (reads hidden facts)",
        "games": len(chosen),
        "success": len(won) / len(answers),
        "mean_steps_when_won": sum(won) / max(1, len(won)),
        "success_by_task_type": {kind: sum(w) / len(w) for kind, w in by_type.items() if w},
        "seconds_a_game": sum(answer["seconds"] for answer in answers) / len(answers),
        "ours_on_the_same_games": {key: ours[key] for key in ("success", "mean_steps_when_won")},
    }


def print_line(result: dict[str, object]) -> None:
    """Print one line of the table."""
    by_type = result["success_by_task_type"]
    assert isinstance(by_type, dict)
    cells = " ".join(f"{100 * by_type[kind]:6.1f}" for kind in TASK_TYPES)
    print(
        f"{result['setting']:<26} {100 * result['success']:6.2f} {result['mean_steps_when_won']:6.2f}  {cells}",
        flush=True,
    )


def main() -> None:
    """Play, print the table, write the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--peer", type=int, default=0, metavar="N", help="games of each task type for the peer")
    options = parser.parse_args()
    paths = sorted(REAL_GAMES.glob("*/*/*/game.tw-pddl"))
    if not paths:
        parser.error("the real games are not in ../shared/alfworld_data")
    games = [load_game(path) for path in paths]
    print(f"{len(games)} games, {MAX_STEPS} steps; success in %, mean steps when won; success by task type")
    print(f"{'':<26} {'all':>6} {'steps':>6}  {' '.join(f'{SHORT_NAMES[kind]:>6}' for kind in TASK_TYPES)}")
    table = []
    for setting in SETTINGS:
        table.append(measure(setting, games))
        print_line(table[-1])
    cost_ms = milliseconds_an_episode(games)
    print(f"the expert's own time: {cost_ms:.2f} ms an episode")
    peer = compare(paths, games, options.peer) if options.peer else None
    if peer:
        print(json.dumps(peer, indent=1))
    else:
        print("peer left out" + (": no reference interpreter" if options.peer else "; --peer N runs it"))
    result = {"games": len(games), "max_steps": MAX_STEPS, "expert_ms_an_episode": cost_ms, "table": table}
    print(write_result("expert", result | {"peer": peer or "not run"}))


if __name__ == "__main__":
    main()
