"""Plays games through `alfworld` and `textworld` and writes down all that they say: once with the real packages, once
with the drop-in. It imports nothing of this project.

    python driver.py SCENARIOS.json OUT.jsonl

A scenario names a split, a training method, a batch size, a seed, and how the commands are chosen. They are drawn from
what the environment offers, so two worlds that say the same are asked the same. One line of OUT is one scenario. With
DRIVER_FACTS=1 facts are written out instead of their hash.

What the expert draws by `random` is drawn by a hash of the choices instead: the reference's processes are not seeded.
"""

import hashlib
import json
import os
import random
import sys
import zlib
from pathlib import Path

INVALID = ["", "  look  ", "dance", "go to nowhere 1", "take mug 99 from shelf 99", "LOOK", "help me", "put it down"]


def draw(items):
    """One of the items, the same for the same items in every process."""
    items = list(items)
    return items[zlib.crc32(repr(items).encode()) % len(items)]


def plain(value):
    """A value as JSON has it, with types where Python has more of them."""
    if isinstance(value, dict):
        return {key: facts(found) if key == "facts" else plain(found) for key, found in sorted(value.items())}
    if isinstance(value, tuple):
        return {"tuple": [plain(item) for item in value]}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if value is None or isinstance(value, str | bool | int | float):
        return value
    return str(value)


def facts(found):
    """The facts as sorted text, or its hash; one list for each game of a batch."""
    if found and isinstance(found[0], list):
        return [facts(one) for one in found]
    lines = sorted(map(str, found))
    return lines if os.environ.get("DRIVER_FACTS") else hashlib.sha256("\n".join(lines).encode()).hexdigest()


def choose(kind, admissible, plan, rng):
    """The next command for one game."""
    roll = rng.random()
    if kind == "expert" and plan and roll < 0.9:
        return plan[0]
    if kind == "invalid" and roll < 0.4:
        return rng.choice(INVALID)
    usual = [command for command in admissible if not command.startswith(("go to", "examine", "help", "look"))]
    return rng.choice(usual if usual and roll > 0.5 else admissible)


def play_split(scenario):
    """AlfredTWEnv, as its users drive it."""
    from alfworld.agents.environment import get_environment

    made = get_environment("AlfredTWEnv")(scenario["config"], train_eval=scenario["split"])
    env = made.init_env(batch_size=scenario["batch"])
    said = [["games", made.game_files, made.num_games]]
    if scenario["seed"] is not None:
        said.append(["seed", plain(env.seed(scenario["seed"]))])
    rng = random.Random(f"{scenario['seed']} {scenario['batch']}")
    for _ in range(scenario["episodes"]):
        texts, infos = env.reset()
        said.append(["reset", plain(texts), plain(infos)])
        for _ in range(scenario["steps"]):
            plans = infos.get("extra.expert_plan") or [None] * scenario["batch"]
            offered = zip(infos["admissible_commands"], plans, strict=True)
            commands = [choose(scenario["kind"], *one, rng) for one in offered]
            texts, scores, dones, infos = env.step(commands)
            said.append(["step", commands, plain(texts), plain(scores), plain(dones), plain(infos)])
        env.skip(scenario["skip"])
    env.close()
    return said


def play_gym(scenario):
    """One game through textworld.gym, as Trinity-RFT and RAGEN drive it."""
    import textworld
    import textworld.gym
    from alfworld.agents.environment.alfred_tw_env import AlfredDemangler, AlfredExpert, AlfredInfos

    infos = textworld.EnvInfos(**dict.fromkeys(scenario["infos"], True), extras=scenario["extras"])
    wrappers = [AlfredDemangler(), AlfredInfos()]
    if scenario["expert"]:
        wrappers.append(AlfredExpert(scenario["expert"]))
    env_id = textworld.gym.register_game(
        scenario["file"], infos, max_episode_steps=scenario["steps"] - 2, wrappers=wrappers, **scenario["options"]
    )
    env = textworld.gym.make(env_id)
    batched = "batch_size" in scenario["options"]
    text, found = env.reset()
    said = [["id", env_id], ["reset", plain(text), plain(found)]]
    rng = random.Random(scenario["name"])
    for _ in range(scenario["steps"]):
        offered = found["admissible_commands"], found.get("extra.expert_plan")
        command = choose(scenario["kind"], *([o and o[0] for o in offered] if batched else offered), rng)
        text, score, done, found = env.step([command] if batched else command)
        said.append(["step", command, plain(text), plain(score), plain(done), plain(found)])
    env.close()
    return said


def play_start(scenario):
    """One game through textworld.start: states, or texts with a Filter; names or the file's ids."""
    import textworld
    from alfworld.agents.environment.alfred_tw_env import AlfredDemangler
    from textworld.envs.wrappers import Filter

    wrappers = {"demangler": AlfredDemangler(), "filter": Filter}
    infos = textworld.EnvInfos(**dict.fromkeys(scenario["infos"], True), extras=scenario["extras"])
    env = textworld.start(scenario["file"], infos, wrappers=[wrappers[name] for name in scenario["wrappers"]])
    asked = [*scenario["infos"], "feedback", "won", "lost", "last_command", "score", "done", "max_score"]
    asked += [f"extra.{name}" for name in scenario["extras"]]
    rng = random.Random(scenario["name"])

    def shown(state):
        return plain({name: state.get(name) for name in asked})

    first = env.reset()
    state = first[1] if isinstance(first, tuple) else first
    said = [["reset", plain(first[0]) if isinstance(first, tuple) else shown(first)]]
    for _ in range(scenario["steps"]):
        command = choose(scenario["kind"], state["admissible_commands"], state.get("policy_commands"), rng)
        result = env.step(command)
        state = result[3] if len(result) == 4 else result[0]
        said.append(["step", command, plain(result[:3]) if len(result) == 4 else plain(result[1:]), shown(state)])
    return said


PLAYERS = {"split": play_split, "gym": play_gym, "start": play_start}


def main():
    random.choice = draw
    with Path(sys.argv[1]).open(encoding="utf-8") as file:
        scenarios = json.load(file)
    with Path(sys.argv[2]).open("a", encoding="utf-8") as out:
        for scenario in scenarios:
            line = {"name": scenario["name"], "said": PLAYERS[scenario["player"]](scenario)}
            out.write(json.dumps(line) + "\n")
            out.flush()


if __name__ == "__main__":
    main()
