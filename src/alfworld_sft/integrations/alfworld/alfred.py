"""What do ALFWorld's own wrappers add to a textworld game? Names, the file's path, and the expert's next commands."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from typing import Any

from alfworld_sft.errors import UserError
from alfworld_sft.integrations.alfworld.core import Wrapper
from alfworld_sft.integrations.alfworld.handcoded import HandCodedAgentFailed, HandCodedAgentTimeout, HandCodedTWAgent
from alfworld_sft.world.language import LOOK


class AlfredDemangler(Wrapper):
    """Gives the things of a game their names, as "mug 1"; `shuffle` deals the numbers out by `random`."""

    def __init__(self, *args: Any, shuffle: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.shuffle = shuffle

    def load(self, path: Any, *args: Any, **kwargs: Any) -> None:
        """Load a game and name its things."""
        self._wrapped_env.load(path, *args, **kwargs)
        infos = self._entity_infos
        ids = sorted(infos)
        if self.shuffle:
            random.shuffle(ids)
        for entity_id, name in demangle(ids).items():
            infos[entity_id].name = name


def demangle(ids: Iterable[str]) -> dict[str, str]:
    """Return a name for each id: its class and a number, or a type's own name, which ends with a space.

    The first id of a class gets the highest number.
    """
    ids = list(ids)
    classes = {i: _class_of(i) for i in ids}
    left = Counter(name for name in classes.values() if name)
    names = {}
    for entity_id, name in classes.items():
        names[entity_id] = f"{name} {left[name]}" if name else f"{entity_id} "
        left[name] -= 1
    return names


def _class_of(entity_id: str) -> str:
    """Return the class that an id begins with; "" for a type or the agent, which have none."""
    name, bar, _ = entity_id.partition("_bar_")
    if not bar:
        return ""
    return name + "basin" if "basin" in entity_id else name


class AlfredInfos(Wrapper):
    """Adds `extra.gamefile`, the game's file, to the first state."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._gamefile: Any = None

    def load(self, path: Any, *args: Any, **kwargs: Any) -> None:
        """Load a game."""
        self._wrapped_env.load(path, *args, **kwargs)
        self._gamefile = path

    def reset(self) -> Any:
        """Begin the game."""
        state = super().reset()
        state["extra.gamefile"] = self._gamefile
        return state


class AlfredExpertType:
    """The kinds of `AlfredExpert`."""

    HANDCODED = "handcoded"
    PLANNER = "planner"


class AlfredExpert(Wrapper):
    """Adds `extra.expert_plan`: the next command of the handcoded expert, or the planner's whole plan from here."""

    MAX_STEPS = 200

    def __init__(self, env: Any = None, expert_type: str = AlfredExpertType.HANDCODED) -> None:
        super().__init__(env)
        kinds = (AlfredExpertType.HANDCODED, AlfredExpertType.PLANNER)
        if expert_type not in kinds:
            raise ValueError(f"Unknown type of AlfredExpert: {expert_type}; there are {' and '.join(kinds)}")
        self.expert_type = expert_type
        self.prev_command = ""

    def load(self, path: Any) -> None:
        """Load a game, and ask its environment for what the expert reads."""
        super().load(path)
        self.gamefile = path
        if self.expert_type == AlfredExpertType.PLANNER:
            self.request_infos.policy_commands = True
        else:
            self.request_infos.facts = True
        self._handcoded = HandCodedTWAgent(max_steps=self.MAX_STEPS)

    def reset(self) -> Any:
        """Begin the game."""
        self.state = super().reset()
        self.prev_command = ""
        if self.expert_type == AlfredExpertType.HANDCODED:
            self._handcoded.reset(self.gamefile)
        self.state["extra.expert_plan"] = self._plan()
        return self.state

    def step(self, command: str) -> Any:
        """Play a command."""
        self.state, score, done = super().step(command)
        self.prev_command = str(command)
        self.state["extra.expert_plan"] = self._plan()
        return self.state, score, done

    def _plan(self) -> list[str]:
        if self.expert_type == AlfredExpertType.PLANNER:
            plan: list[str] = self.state["policy_commands"]
            return plan
        if not self.prev_command:
            self._handcoded.observe(self.state["feedback"])
            return [LOOK.template]
        try:
            command = self._handcoded.act(self.state, 0, self.state["won"], self.prev_command)
        except HandCodedAgentTimeout:
            raise UserError(f"{self.gamefile}: the handcoded expert gives up after {self.MAX_STEPS} steps") from None
        except HandCodedAgentFailed:
            return [LOOK.template]
        return [command] if command in self.state["admissible_commands"] else [LOOK.template]
