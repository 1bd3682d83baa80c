"""What does the reference say? One game of `alfworld`, driven over JSON lines on stdin and stdout.

Run by the reference's own interpreter, so it imports nothing of this project. One request a line:

    {"op": "load", "path": "…/game.tw-pddl"}     a game file, as the reference reads it
    {"op": "reset"}                              begin the game
    {"op": "step", "command": "go to desk 1"}    play one command

One answer a line: `seconds` is the CPU time inside the reference; `reset` and `step` add `text`, `admissible_commands`,
`won` and `done`. What the reference cannot do comes back as {"error": …}, and the server lives on. The first line,
before any request, says {"ready": true} with the versions. The server ends with its stdin.
"""

import json
import os
import sys
import time
from importlib.metadata import version

PACKAGES = ("alfworld", "textworld", "fast_downward_textworld")


def take_stdout():
    """A private copy of stdout; the file descriptor then carries stderr, so that no library can print into answers."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", newline="\n")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return answers


def make_env():
    """The environment that AlfredTWEnv builds for evaluation, less its batching and step limit."""
    import textworld
    from alfworld.agents.environment.alfred_tw_env import AlfredDemangler, AlfredInfos
    from textworld.envs.pddl import PddlEnv

    infos = textworld.EnvInfos(won=True, admissible_commands=True, extras=["gamefile"])
    return AlfredInfos(AlfredDemangler(PddlEnv(infos), shuffle=False))


def answer(env, request):
    """Do one request; the answer, less its time."""
    op = request["op"]
    if op == "load":
        env.load(request["path"])
        return {}
    if op == "reset":
        state, done = env.reset(), False
    elif op == "step":
        state, _score, done = env.step(request["command"])
    else:
        raise ValueError(f"unknown op {op!r}; known: load, reset, step")
    return {
        "text": state.feedback,
        "admissible_commands": list(state["admissible_commands"]),
        "won": bool(state["won"]),
        "done": bool(done),
    }


def main():
    """Answer requests until stdin ends."""
    answers = take_stdout()

    def send(reply):
        answers.write(json.dumps(reply) + "\n")
        answers.flush()

    env = make_env()
    send({"ready": True, "versions": {name: version(name) for name in PACKAGES}})
    for line in sys.stdin.buffer:
        started = time.process_time()
        try:
            reply = answer(env, json.loads(line))
        except Exception as error:
            reply = {"error": f"{type(error).__name__}: {error}"}
        reply["seconds"] = time.process_time() - started
        send(reply)


if __name__ == "__main__":
    main()
