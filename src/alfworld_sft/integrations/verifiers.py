"""How does verifiers play our games? A taskset of a split's games, an environment that plays them, and a harness.

Written for the v1 API of verifiers 0.4. A conversation only grows there, so the prompts are those of the multi-turn
form: what `alfworld-sft evaluate prompt.form=multi` asks.
"""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import verifiers.v1 as vf
from pydantic import Field
from verifiers.v1.clients import ModelContext
from verifiers.v1.dialects.chat import message_to_wire
from verifiers.v1.runtimes import ProgramResult, Runtime, SubprocessConfig

from alfworld_sft.errors import UserError
from alfworld_sft.games import GameRef, find_games
from alfworld_sft.games.layout import Split
from alfworld_sft.integrations.conversation import Conversation
from alfworld_sft.prompts.template import load_template
from alfworld_sft.types import MAX_STEPS, MOST_STEPS, TaskType
from alfworld_sft.world import Env, Game
from alfworld_sft.world.plan import UnsolvableError, shortest_plan


class AlfworldConfig(vf.TasksetConfig):
    """Which games there are, and how they are played; each field is an option, as in `--env.taskset.split`."""

    source: str | None = None
    """Data folder, folder of *.tw-pddl files, one file, or 'embedded'; None: $ALFWORLD_DATA, else embedded."""
    split: Split = "valid_seen"
    """train, valid_train, valid_seen or valid_unseen."""
    template: str = "default"
    """Prompt template: default, add_wm1, add_wm2, compact, or the path of a .toml file."""
    max_steps: int = Field(MAX_STEPS, ge=1, le=MOST_STEPS)
    """Maximum steps per episode."""


class AlfworldData(vf.TaskData):
    """What a trace records of its game; `id` is the game's id, `prompt` the first turn's."""

    split: str
    """The game's split."""
    task_type: TaskType
    """One of ALFWorld's six task types."""
    task: str
    """The goal in one sentence."""


class AlfworldTask(vf.Task[AlfworldData, vf.State, vf.TaskConfig]):
    """One game. What came of it is read from the trace's `info`, where the environment writes it."""

    def __init__(self, data: AlfworldData, config: vf.TaskConfig, ref: GameRef, max_steps: int) -> None:
        super().__init__(data, config)
        self.ref = ref
        self.max_steps = max_steps

    @property
    def key(self) -> str:
        """The game's id, which does not depend on the order of the tasks."""
        return str(self.data.id)

    async def validate(self, runtime: Runtime) -> bool:
        """Tell whether the game's shortest plan wins within the step limit."""
        return _is_winnable(self.ref.load(), self.max_steps)

    @vf.reward
    async def success(self, trace: vf.Trace) -> float:
        """1.0 where the goal was reached, else 0.0."""
        return float(trace.info.get("won", False))

    @vf.metric
    async def steps(self, trace: vf.Trace) -> float:
        """Count the steps played."""
        return float(trace.info.get("steps", 0))

    @vf.metric
    async def invalid_replies(self, trace: vf.Trace) -> float:
        """Count the replies without an admissible command in the tags that the prompt asks for."""
        return float(trace.info.get("invalid_replies", 0))


def _is_winnable(game: Game, max_steps: int) -> bool:
    try:
        plan = shortest_plan(game)
    except UnsolvableError:
        return False
    env = Env(game, max_steps)
    seen = env.reset()
    for command in plan[:max_steps]:
        seen = env.step(command)
    return seen.won


class AlfworldTaskset(vf.Taskset[AlfworldTask, AlfworldConfig]):
    """The games of one split, in the order of their ids."""

    def load(self) -> Iterator[AlfworldTask]:
        """Yield a task for each game; raises UserError where there are none."""
        config = self.config
        template = load_template(config.template)
        for ref in find_games(config.source, config.split):
            game = ref.load()
            conversation = Conversation(game, template, config.max_steps)
            data = AlfworldData(
                id=ref.id,
                name=ref.id,
                system_prompt=next((said.content for said in conversation.opening), None),
                prompt=conversation.message,
                split=game.split,
                task_type=game.task_type,
                task=game.task,
            )
            yield AlfworldTask(data, config.task, ref, config.max_steps)


class AlfworldEnvConfig(vf.EnvConfig):
    """Who plays."""

    player: vf.AgentConfig = vf.AgentConfig(runtime=SubprocessConfig())
    """The model that plays. It runs nothing, so it needs no sandbox: verifiers' default would be one of Prime's."""


class AlfworldEnv(vf.Env[AlfworldEnvConfig]):
    """Plays a task's game: the game is the user of the conversation."""

    async def run(self, task: vf.Task, agents: vf.Agents) -> None:
        """Play one episode; the trace's `info` gets `won`, `steps` and `invalid_replies`."""
        game = self._game(task)
        conversation = Conversation(game, load_template(self.taskset.config.template), self.taskset.config.max_steps)
        steps = invalid_replies = 0
        won = False
        async with agents.player.interaction(task) as interaction:
            segment = await interaction.turn()  # the task's prompt is the first message
            while not segment.terminated:
                turn = conversation.answer(segment.last_reply or "")
                steps += 1
                invalid_replies += turn.problem is not None
                won = turn.terminated
                if turn.over:
                    break
                segment = await interaction.turn(turn.message)
            interaction.trace.info |= {"won": won, "steps": steps, "invalid_replies": invalid_replies}

    def _game(self, task: vf.Task) -> Game:
        """Return the task's game, found anew where the task came over the wire and is data alone."""
        if isinstance(task, AlfworldTask):
            return task.ref.load()
        config = self.taskset.config
        for ref in find_games(config.source, config.split):
            if ref.id == task.data.id:
                return ref.load()
        raise UserError(f"no game {task.data.id!r} of the split {config.split!r} here")


class ChatHarness(vf.Harness[vf.HarnessConfig]):
    """Holds a plain chat in this process.

    verifiers' own `null` harness installs a program with uv and starts it anew for every turn.
    """

    APPENDS_SYSTEM_PROMPT = True
    SUPPORTS_RESUME = True
    EXECUTES_CODE = False
    NEEDS_CONTAINER = False

    async def launch(
        self,
        ctx: ModelContext,
        trace: vf.Trace,
        runtime: Runtime,
        endpoint: str,
        secret: str,
        mcp_urls: dict[str, str],
        data: vf.TaskData,
    ) -> ProgramResult:
        """Ask the model for one reply to the conversation so far; verifiers' proxy at `endpoint` records it."""
        system, prompt = self.resolve_prompt(data)
        messages = [{"role": "system", "content": system}] if system else []
        if isinstance(prompt, str):
            messages.append({"role": "user", "content": prompt})
        else:
            messages += [message_to_wire(message) for message in prompt or []]
        async with httpx.AsyncClient(timeout=None, trust_env=False) as client:  # noqa: S113 (verifiers limits it)
            answer = await client.post(
                f"{endpoint}/chat/completions",
                json={"model": ctx.model, "messages": messages},
                headers={"Authorization": f"Bearer {secret}"},
            )
        return ProgramResult(int(answer.is_error), "", answer.text if answer.is_error else "")


__all__ = ["AlfworldEnv", "AlfworldTaskset", "ChatHarness"]
