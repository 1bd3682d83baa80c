"""How does Inspect evaluate a model on our games? A task whose solver plays and whose scorer says who won.

Written for inspect-ai 0.3.285, which finds the task by the package's entry point: `inspect eval alfworld_sft/alfworld`.
The messages are those of the multi-turn form: what `alfworld-sft evaluate prompt.form=multi` asks.
"""

from __future__ import annotations

from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import ChatMessageSystem, ChatMessageUser
from inspect_ai.scorer import Score, Scorer, Target, accuracy, grouped, scorer, stderr
from inspect_ai.solver import Generate, Solver, TaskState, solver

from alfworld_sft.errors import UserError
from alfworld_sft.games import GameRef, find_games
from alfworld_sft.integrations.conversation import Conversation
from alfworld_sft.prompts.template import Template, load_template
from alfworld_sft.types import MAX_STEPS, MOST_STEPS


@task
def alfworld(
    source: str | None = None, split: str = "valid_seen", template: str = "default", max_steps: int = MAX_STEPS
) -> Task:
    """Play every game of a split once, as a conversation.

    `source` is a data folder, any folder with games, one file or "embedded"; None means `$ALFWORLD_DATA`, else the
    embedded games. Raises UserError where there are no such games, and for a step limit out of range.
    """
    if not 1 <= max_steps <= MOST_STEPS:
        raise UserError(f"max_steps must be between 1 and {MOST_STEPS}, not {max_steps}")
    wording = load_template(template)
    refs = find_games(source, split).refs
    return Task(
        dataset=MemoryDataset([_sample(ref, wording, max_steps) for ref in refs], name=f"alfworld_{split}"),
        solver=play(refs, wording, max_steps),
        scorer=success(),
        metadata={"split": split, "template": template, "max_steps": max_steps},
    )


def _sample(ref: GameRef, template: Template, max_steps: int) -> Sample:
    game = ref.load()
    conversation = Conversation(game, template, max_steps)
    opening = [ChatMessageSystem(content=said.content) for said in conversation.opening]
    return Sample(
        id=ref.id,
        input=[*opening, ChatMessageUser(content=conversation.message)] if opening else conversation.message,
        target=game.task,
        metadata={"task_type": game.task_type, "split": game.split},
    )


@solver
def play(refs: tuple[GameRef, ...], template: Template, max_steps: int) -> Solver:
    """Play a sample's game to its end; the sample's store gets `won`, `steps` and `invalid_replies`."""
    by_id = {ref.id: ref for ref in refs}

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        conversation = Conversation(by_id[str(state.sample_id)].load(), template, max_steps)
        steps = invalid_replies = 0
        while True:
            state = await generate(state)
            turn = conversation.answer(state.output.completion)
            steps += 1
            invalid_replies += turn.problem is not None
            for name, value in (("won", turn.terminated), ("steps", steps), ("invalid_replies", invalid_replies)):
                state.store.set(name, value)
            if turn.over or state.completed:  # completed: a limit of Inspect's own was reached
                return state
            state.messages.append(ChatMessageUser(content=turn.message))

    return solve


@scorer(metrics=[grouped(accuracy(), "task_type"), stderr()])
def success() -> Scorer:
    """Score 1 where the game was won, else 0; accuracy over all games and by task type."""

    async def score(state: TaskState, target: Target) -> Score:
        won = bool(state.store.get("won", False))
        return Score(
            value=float(won),
            explanation=f"{'won' if won else 'not won'} in {state.store.get('steps', 0)} steps: {target.text}",
            metadata={name: state.store.get(name, 0) for name in ("steps", "invalid_replies")},
        )

    return score
