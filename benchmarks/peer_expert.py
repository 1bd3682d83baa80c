"""The reference's handcoded expert on given games, run by the reference's own interpreter (it imports nothing of ours).

    REFERENCE_PYTHON benchmarks/peer_expert.py MAX_STEPS FILE… > one JSON line a game

It plays as `AlfredTWEnv` offers it for imitation learning: `expert_plan[0]` at every step. It reads hidden facts.
"""

import json
import os
import sys
import time


def main():
    """Play each file once; stdout carries nothing but the answers."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", newline="\n")
    os.dup2(2, 1)
    import textworld
    from alfworld.agents.environment.alfred_tw_env import AlfredDemangler, AlfredExpert, AlfredInfos
    from textworld.envs.pddl import PddlEnv

    infos = textworld.EnvInfos(won=True, admissible_commands=True, facts=True, extras=["gamefile", "expert_plan"])
    max_steps = int(sys.argv[1])
    for path in sys.argv[2:]:
        started = time.perf_counter()
        env = AlfredExpert(AlfredInfos(AlfredDemangler(PddlEnv(infos), shuffle=False)))
        env.load(path)
        state, steps = env.reset(), 0
        while not state["won"] and steps < max_steps:
            state, _, _ = env.step(state["extra.expert_plan"][0])
            steps += 1
        answer = {"won": bool(state["won"]), "steps": steps, "seconds": time.perf_counter() - started}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
        env.close()


if __name__ == "__main__":
    main()
