"""The nouns that every room shares: Message, View, Prompt, Reply, Step, Episode.

An `Episode` is the record of one game played, and the only truth: prompts, dataset rows and metrics are derived
from it. This module imports the standard library alone, so every other room may import it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

Role = Literal["system", "user", "assistant"]
Form = Literal["single", "multi"]
DType = Literal["auto", "float32", "bfloat16", "float16"]
"""In which numbers a model plays, or is stored; auto: what the device is fastest with, or what the model has."""
ReplyFormat = Literal["tags", "verl-agent", "trinity", "eto", "react"]
"""How a reply is written: in this package's tags, or as a published protocol has it (`prompts.formats`)."""
MAX_STEPS = 50
"""Maximum steps of an episode where nothing else is said, as in ALFWorld's own configs."""
MOST_STEPS = 1000
"""The largest maximum that may be asked for."""

Wording = Literal["move", "put"]
"""How a game has objects put down: `move x to y` since November 2024, `put x in/on y` before."""
TaskType = Literal[
    "pick_and_place_simple",
    "look_at_obj_in_light",
    "pick_clean_then_place_in_recep",
    "pick_heat_then_place_in_recep",
    "pick_cool_then_place_in_recep",
    "pick_two_obj_and_place",
]
TASK_TYPES: tuple[TaskType, ...] = get_args(TaskType)
"""The six household tasks, in the order of ALFWorld's own numbering (1 to 6)."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a chat."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Exchange:
    """One past step as a prompt shows it: what was seen, and what was done then."""

    observation: str
    action: str


@dataclass(frozen=True, slots=True)
class View:
    """What a prompt shows of the game; a policy that reads it knows nothing a model would not.

    `history` holds the last steps, oldest first, and may be cut to a window: `step` counts all steps taken.
    `admissible_commands` is None where the template does not list them. `wording` and `task_type` choose the examples
    and the commands that a prompt shows.
    """

    task: str
    step: int
    history: tuple[Exchange, ...]
    observation: str
    admissible_commands: tuple[str, ...] | None
    wording: Wording = "move"
    task_type: TaskType | None = None


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a policy is asked: the view, the messages that render it, and the parts that the reply must have.

    `tags` names the parts, `reply_format` says how they are written; only the format `tags` writes them as tags.
    `seed` differs for every turn of every episode and is all the randomness that a policy may use.
    `admissible_commands` are for `policy.constrain` alone, which restricts the reply to them: what a policy may know of
    them is in the view.
    """

    view: View
    messages: tuple[Message, ...]
    tags: tuple[str, ...]
    seed: int
    reply_format: ReplyFormat = "tags"
    admissible_commands: tuple[str, ...] = ()

    @property
    def written_tags(self) -> tuple[str, ...]:
        """The tags that this package's rules of tags apply to: none where a reply has another format."""
        return self.tags if self.reply_format == "tags" else ()


@dataclass(frozen=True, slots=True)
class Reply:
    """What a policy answered. `trained` is False for a deliberate mistake: context, never a target.

    Token ids and log-probabilities are kept where the policy gives them (one float per reply token), and so are the
    numbers of tokens read, of these the cached ones, and said, over all requests that the reply took.

    `reasoning` is what a server gave beside the text, where it is not part of it.

    With `policy.constrain`, `constrained_from` is the index of the first reply token whose choice was restricted to the
    commands. A local model's log-probabilities are those among the tokens that were allowed: before that one, all that
    do not end the reply without an action.

    Where a model was to write the expert's reason, `think_by` says whose the reason is, and `rejected` why each of the
    model's replies before was not taken.

    `said_by` is "teacher" where a teacher acted in the policy's place.
    """

    text: str
    trained: bool = True
    prompt_token_ids: tuple[int, ...] | None = None
    token_ids: tuple[int, ...] | None = None
    logprobs: tuple[float, ...] | None = None
    prompt_tokens: int | None = None
    reply_tokens: int | None = None
    cached_tokens: int | None = None
    think_by: Literal["model", "expert"] | None = None
    rejected: tuple[str, ...] | None = None
    reasoning: str | None = None
    constrained_from: int | None = None
    said_by: Literal["teacher"] | None = None


@dataclass(frozen=True, slots=True)
class Advice:
    """What a teacher would do at a turn that another policy played, and what the game answers to it.

    `problem` says why the game could not execute the teacher's `command`, None if it could. `distance` is the number
    of steps to the goal after it where the step records distances.
    """

    reply: Reply
    command: str
    problem: str | None
    next_observation: str
    distance: int | None = None


@dataclass(frozen=True, slots=True)
class Alternative:
    """Another command that was admissible at a turn, and what the game answers to it.

    `distance` is the number of steps to the goal after it where the step records distances.
    """

    command: str
    next_observation: str
    distance: int | None = None


class Distance(NamedTuple):
    """The exact number of steps to the goal before and after a command; None where it can no longer be reached."""

    before: int | None
    after: int | None


@dataclass(frozen=True, slots=True)
class Step:
    """One turn of an episode: what was seen and possible, what was said and sent, and what came of it.

    `action` is the command that the reply asked for, or None with the reason in `problem`; `command` is what was
    sent to the game. `reward` is 1.0 on the step that wins, else 0.0. The last three fields are what only
    some runs record: what a teacher would have done, other commands that were tried, and the distance to the goal.
    """

    observation: str
    admissible_commands: tuple[str, ...]
    reply: Reply
    action: str | None
    problem: str | None
    command: str
    next_observation: str
    reward: float
    won: bool
    teacher: Advice | None = None
    alternatives: tuple[Alternative, ...] = ()
    distance: Distance | None = None


@dataclass(frozen=True, slots=True)
class Episode:
    """One game played to its end by one policy.

    `index` numbers the episodes of a run from 0; `seed` is the episode's own. `observation` of the first step is
    the game's opening text without banner and task (the task is a field of its own). `error` says why an episode
    could not be played to its end; such an episode is owed again on resume.
    """

    index: int
    game_id: str
    split: str
    task_type: TaskType
    task: str
    grammar: str
    seed: int
    template: str
    policy: str
    max_steps: int
    success: bool
    steps: tuple[Step, ...]
    error: str | None = None

    @property
    def id(self) -> str:
        """Unique within a run and readable: the episode's number and its game."""
        return episode_id(self.index, self.game_id)


def episode_id(index: int, game_id: str) -> str:
    """Return the id of the episode of this number, of a game."""
    return f"{index:06d}:{game_id}"


SHORT_NAMES: dict[TaskType | None, str] = dict(
    zip((*TASK_TYPES, None), ("Pick", "Look", "Clean", "Heat", "Cool", "Pick two", "?"), strict=True)
)
"""Task types as tables name them."""
