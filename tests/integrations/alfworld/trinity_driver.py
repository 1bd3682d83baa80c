"""Runs trinity-rft's StepWiseAlfworldWorkflow, unchanged, on one game; prints the rewards and what it saw as JSON.

    python trinity_driver.py WHEEL_OR_FOLDER GAME_FILE

What the workflow imports beside alfworld and textworld (torch, ray and openai among it) is replaced by stand-ins: its
own file and that of its base class are the wheel's. The model plays the expert's plan as a scripted policy would: it
reads nothing but the list of commands below, so both worlds are asked the same.
"""

import json
import sys
import types
from importlib import import_module
from pathlib import Path

COMMANDS = ["look", "go to desk 1", "inventory", "<no action>", "dance", "examine desk 1", "go to bed 1", "help"]


class Anything:
    """Stands in for a class that the workflow names in annotations or derives from."""

    def __init__(self, *, task=None, model=None, auxiliary_models=None, **rest):
        self.task, self.model, self.auxiliary_models = task, model, auxiliary_models


class Record(types.SimpleNamespace):
    """An object with attributes."""


class Model:
    """Says one command after the other, and keeps what it was shown."""

    enable_history = True

    def __init__(self):
        self.shown = []

    def chat(self, messages):
        self.shown.append([message["content"] for message in messages[1:]])
        command = COMMANDS[(len(self.shown) - 1) % len(COMMANDS)]
        text = command if command == "<no action>" else f"<think>on</think><action>{command}</action>"
        return [Record(response_text=text)]

    def extract_experience_from_history(self):
        return [Record(eid=Record(step=0), info=None, metrics=None, reward=None)]


def stand_in(name, **names):
    """Put a module with these names in place of one that would import much."""
    module = types.ModuleType(name)
    module.__dict__.update(names)
    sys.modules[name] = module


def import_workflow(source):
    """Import the two files of the wheel with stand-ins around them."""
    sys.path.insert(0, source)
    for name in ("trinity", "trinity.common", "trinity.common.workflows", "trinity.common.workflows.envs"):
        stand_in(name)
        sys.modules[name].__path__ = [str(Path(source, *name.split(".")))]
    stand_in("trinity.common.workflows.envs.alfworld")
    sys.modules["trinity.common.workflows.envs.alfworld"].__path__ = [
        str(Path(source, "trinity", "common", "workflows", "envs", "alfworld"))
    ]
    stand_in("openai")
    stand_in("trinity.common.experience", Experience=Record)
    stand_in("trinity.common.models")
    stand_in("trinity.common.models.model", ModelWrapper=Model)
    stand_in("trinity.common.workflows.workflow", MultiTurnWorkflow=Anything, Task=Record, Workflow=Anything)
    return import_module("trinity.common.workflows.envs.alfworld.alfworld_workflow").StepWiseAlfworldWorkflow


def main():
    workflow = import_workflow(sys.argv[1])
    model = Model()
    task = Record(task_desc=sys.argv[2], workflow_args={"max_env_steps": len(COMMANDS)})
    experiences = workflow(model=model, task=task).run()
    said = [[e.reward, e.eid.step, e.info, e.metrics] for e in experiences]
    sys.stdout.write("RESULT " + json.dumps({"experiences": said, "shown": model.shown[-1]}) + "\n")


if __name__ == "__main__":
    main()
