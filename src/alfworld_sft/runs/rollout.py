"""How is one episode played and recorded? `run_episode`: one game, one policy, to the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from alfworld_sft.errors import PolicyError, UnwinnableError
from alfworld_sft.policies.base import Policy
from alfworld_sft.prompts.formats import read_reply, shown_answer
from alfworld_sft.prompts.tags import ParsedReply
from alfworld_sft.prompts.template import Template
from alfworld_sft.prompts.transcript import Transcript
from alfworld_sft.runs.probes import NO_PROBES, Probes, ask_teacher, probe
from alfworld_sft.seeds import derive_seed
from alfworld_sft.strict_json import writable
from alfworld_sft.types import MAX_STEPS, Advice, Episode, Form, Reply, Step
from alfworld_sft.world import Env, Game, Observation
from alfworld_sft.world.observations import opening_look

CIRCLE = 4
"""The longest cycle, in steps, that counts as running in a circle."""


@dataclass(frozen=True, slots=True)
class Protocol:
    """How a game is played: two results are comparable only if this is equal.

    `history_length` bounds the history in a single-turn prompt (None: all of it). An episode that `runs_in_circle` with
    `max_repeats` ends there (None: it continues to the step limit).
    """

    max_steps: int = MAX_STEPS
    form: Form = "single"
    history_length: int | None = None
    max_repeats: int | None = None


async def run_episode(
    game: Game,
    policy: Policy,
    template: Template,
    protocol: Protocol,
    *,
    index: int = 0,
    seed: int = 0,
    probes: Probes = NO_PROBES,
) -> Episode:
    """Play one game to its end; the Episode records every step, and what the `probes` ask of it.

    A policy that cannot act ends the episode: the steps so far are kept, with the reason in `error`.
    """
    env = Env(game, protocol.max_steps)
    player = policy.begin(game, seed)
    observation = env.reset()
    seen = opening_look(game)  # the opening without banner and task; prompts take those from the game's own fields
    transcript = Transcript(template, game, protocol.form, protocol.history_length)
    steps: list[Step] = []
    error = None
    while not observation.over:
        commands = observation.admissible_commands
        prompt = transcript.prompt(seen, commands, derive_seed(seed, len(steps)))
        try:
            reply = _writable(await player.act(prompt))
            advice = None if reply.said_by else await ask_teacher(player, prompt, template, env, commands)
        except UnwinnableError as failure:
            error = None if steps else str(failure)
            break
        except PolicyError as failure:
            error = writable(str(failure))
            break
        parsed = read_reply(template.reply_format, reply.text, template.tags, commands)
        before, observation = env.fork(), env.step(parsed.action or "")
        step = record_step(seen, commands, reply, parsed, observation, advice)
        steps.append(step if probes == NO_PROBES else probe(step, before, env, probes, prompt.seed))
        transcript.add(prompt, reply.text, step.command)
        seen = shown_answer(template.reply_format, parsed, observation.text)
        if protocol.max_repeats is not None and runs_in_circle(steps, protocol.max_repeats):
            break
    return record_episode(
        game,
        steps,
        success=observation.won,
        max_steps=protocol.max_steps,
        index=index,
        seed=seed,
        template=template.name,
        policy=policy.name,
        error=error,
    )


def record_step(
    seen: str,
    commands: tuple[str, ...],
    reply: Reply,
    parsed: ParsedReply,
    answer: Observation,
    teacher: Advice | None = None,
) -> Step:
    """Return the record of a turn: what was seen and admissible, the reply as it was parsed, and the game's answer."""
    return Step(
        observation=seen,
        admissible_commands=commands,
        reply=reply,
        action=parsed.action if parsed.problem is None else None,
        problem=parsed.problem,
        command=parsed.action or "",
        next_observation=answer.text,
        reward=float(answer.won),
        won=answer.won,
        teacher=teacher,
    )


def record_episode(
    game: Game,
    steps: Sequence[Step],
    *,
    success: bool,
    max_steps: int,
    index: int,
    seed: int,
    template: str,
    policy: str,
    error: str | None = None,
) -> Episode:
    """Return the record of the steps that were played in a game, with the names of template and policy."""
    return Episode(
        index=index,
        game_id=game.id,
        split=game.split,
        task_type=game.task_type,
        task=game.task,
        grammar=game.grammar,
        seed=seed,
        template=template,
        policy=policy,
        max_steps=max_steps,
        success=success,
        steps=tuple(steps),
        error=error,
    )


def runs_in_circle(steps: Sequence[Step], repeats: int) -> bool:
    """Return whether `repeats` of the last CIRCLE · repeats steps had the same command and the same answer."""
    exchanges = Counter((step.command, step.next_observation) for step in steps[-CIRCLE * repeats :])
    return max(exchanges.values(), default=0) >= repeats


def _writable(reply: Reply) -> Reply:
    """Return a reply that can be written: what a server says may contain half a surrogate pair."""
    reasoning = None if reply.reasoning is None else writable(reply.reasoning)
    return replace(reply, text=writable(reply.text), reasoning=reasoning)
