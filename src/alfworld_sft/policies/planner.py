"""Follows a shortest plan. It sees the full state, and its thoughts say so."""

from __future__ import annotations

from random import Random

from alfworld_sft.errors import PolicyError, UnwinnableError
from alfworld_sft.policies.base import Player
from alfworld_sft.prompts.formats import write_reply
from alfworld_sft.types import Prompt, Reply, View
from alfworld_sft.world import Game
from alfworld_sft.world.admissible import admissible_actions
from alfworld_sft.world.language import LOOK
from alfworld_sft.world.observations import feedback
from alfworld_sft.world.plan import UnsolvableError, command_of, shortest_actions
from alfworld_sft.world.rules import Action, transition

_THOUGHTS = (
    "I know this game and follow the shortest plan: {steps} left. Next: {command}.",
    "The shortest plan from here has {steps}. It goes on with: {command}.",
    "I know where everything is. With {steps} the task is done, and the first is: {command}.",
    "By the shortest plan, {steps} to go. I {command}.",
)
_LAST_THOUGHTS = (
    "I know this game and follow the shortest plan. Its last step: {command}.",
    "One step is left in the shortest plan: {command}.",
    "The task is done with this step: {command}.",
)


class Planner:
    """Plays a shortest plan, from wherever the game is: the fewest steps that any policy can need."""

    @property
    def name(self) -> str:
        """The policy's name in every result."""
        return "planner"

    @property
    def sampling(self) -> None:
        """None: no language model is sampled."""
        return None

    def begin(self, game: Game, seed: int) -> Player:
        """Return the player of one episode; what it does depends on the game alone, its words on each prompt's seed."""
        return _Player(game)


class _Player:
    """Keeps a state of its own and brings it up to date with the steps that each prompt shows."""

    def __init__(self, game: Game) -> None:
        self._game = game
        self._state = game.initial
        self._steps = 0
        self._last_command = ""

    async def act(self, prompt: Prompt) -> Reply:
        """Answer with the next command of a shortest plan; raises UnwinnableError where no plan wins."""
        self._catch_up(prompt.view)
        game, state = self._game, self._state
        try:
            plan = shortest_actions(game, state)
        except UnsolvableError as error:
            raise UnwinnableError(str(error)) from None
        action = plan[0] if plan else Action("look")  # nothing is left to do
        self._last_command = command = command_of(game, action) if plan else LOOK.format()
        rng = Random(prompt.seed)
        thought = rng.choice(_THOUGHTS if len(plan) > 1 else _LAST_THOUGHTS) if plan else "The task is done."
        parts = {
            "think": thought.format(steps=f"{len(plan)} steps", command=command),
            "prediction": feedback(game, transition(game, state, action), action),
            "observation": prompt.view.observation,
            "action": command,
        }
        return Reply(write_reply(prompt.reply_format, prompt.tags, parts))

    def _catch_up(self, view: View) -> None:
        """Play the steps taken since the last prompt; where a window shows none, that is its own last one."""
        missing = view.step - self._steps
        if missing < 0:
            self._state, self._steps, missing = self._game.initial, 0, view.step
        played = [exchange.action for exchange in view.history[-missing:]] if missing else []
        if not played and missing == 1 and self._last_command:
            played = [self._last_command]
        if len(played) < missing:
            raise PolicyError(
                f"the prompt of step {view.step} shows {len(played)} of the {missing} steps since the last"
            )
        for command in played:
            action = admissible_actions(self._game, self._state).action(command.strip())
            if action is not None:
                self._state = transition(self._game, self._state, action)
        self._steps = view.step
