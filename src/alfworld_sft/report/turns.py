"""How do episodes look to the page? One `Row` of the table for each, and the `Turn`s that are drawn when it is opened.

`page.js` reads exactly these fields.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from alfworld_sft.evaluate.metrics import LOOP_REPEATS, classify_failure
from alfworld_sft.evaluate.worldmodel import kind_of
from alfworld_sft.prompts.tags import read_section
from alfworld_sft.report.replay import Replayed
from alfworld_sft.report.tokens import Token
from alfworld_sft.runs.journal import Failed
from alfworld_sft.runs.rollout import CIRCLE, runs_in_circle
from alfworld_sft.types import Episode, Step


@dataclass(frozen=True, slots=True)
class Row:
    """An episode in the table. `run` is the run's number in the report, `index` the episode's in its run.

    `reason` says why it was lost (empty if won); `shortest` is the length of a shortest plan from the start, and
    `replayed` says whether the game was found. `loop` is the turn, from 0, at which it began to run in a circle.
    `tokens` is the length of the whole conversation, None where its template is unknown.
    """

    run: int
    index: int
    game: str
    type: str
    task: str
    won: bool
    reason: str
    turns: int
    invalid: int
    shortest: int | None
    replayed: bool
    loop: int | None
    tokens: int | None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn as it is drawn. `commands` are the admissible commands, `next` is the observation that came.

    `teacher` is the command that the run's teacher gave or would have given. `before`, `after`, `expert` and
    `world_says` are `Replayed`'s, and `replayed` says whether there was a replay; `tokens` are those of the reply where
    a model is named.
    """

    observation: str
    commands: tuple[str, ...]
    reply: str
    reasoning: str | None
    think: str | None
    prediction: str | None
    action: str | None
    problem: str | None
    command: str
    kind: str
    next: str
    won: bool
    trained: bool
    teacher: str | None
    replayed: bool
    before: int | None
    after: int | None
    expert: str | None
    world_says: str | None
    tokens: tuple[Token, ...] | None


def row_of(run: int, episode: Episode, replayed: Sequence[Replayed] | None, tokens: int | None, repeats: int) -> Row:
    """Return an episode's line in the table; `replayed` is None where its game was not found."""
    return Row(
        run=run,
        index=episode.index,
        game=episode.game_id,
        type=episode.task_type,
        task=episode.task,
        won=episode.success,
        reason="" if episode.success else classify_failure(episode),
        turns=len(episode.steps),
        invalid=sum(step.problem is not None for step in episode.steps),
        shortest=replayed[0].before if replayed else None,
        replayed=replayed is not None,
        loop=loop_start(episode.steps, repeats),
        tokens=tokens,
    )


def failed_row(run: int, failed: Failed) -> Row:
    """Return the line of an episode that ended in an error; it has no turns."""
    return Row(run, failed.index, failed.game_id, "", "", False, "error", 0, 0, None, False, None, None, failed.error)


def turns_of(
    episode: Episode, replayed: Sequence[Replayed] | None, tokens: Sequence[Sequence[Token]] | None
) -> list[Turn]:
    """Return the turns of an episode."""
    return [
        _turn(
            step,
            replayed[number] if replayed is not None and number < len(replayed) else None,
            tuple(tokens[number]) if tokens is not None else None,
        )
        for number, step in enumerate(episode.steps)
    ]


def loop_start(steps: Sequence[Step], repeats: int = LOOP_REPEATS) -> int | None:
    """Return the turn, from 0, at which an episode first did what it then repeats; None where it runs in no circle.

    The circle is that of `runs_in_circle` at the first step at which it is one.
    """
    for end in range(repeats, len(steps) + 1):
        if runs_in_circle(steps[:end], repeats):
            start = max(0, end - CIRCLE * repeats)
            exchanges = [(step.command, step.next_observation) for step in steps[start:end]]
            most, _ = Counter(exchanges).most_common(1)[0]
            return start + exchanges.index(most)
    return None


def _turn(step: Step, replayed: Replayed | None, tokens: tuple[Token, ...] | None) -> Turn:
    text = step.reply.text
    acted = step.command if step.reply.said_by == "teacher" else None
    return Turn(
        observation=step.observation,
        commands=step.admissible_commands,
        reply=text,
        reasoning=step.reply.reasoning,
        think=read_section(text, "think"),
        prediction=read_section(text, "prediction"),
        action=step.action,
        problem=step.problem,
        command=step.command,
        kind=kind_of(step),
        next=step.next_observation,
        won=step.won,
        trained=step.reply.trained,
        teacher=step.teacher.command if step.teacher else acted,
        replayed=replayed is not None,
        before=replayed.before if replayed else None,
        after=replayed.after if replayed else None,
        expert=replayed.expert if replayed else None,
        world_says=replayed.world_says if replayed else None,
        tokens=tokens,
    )
