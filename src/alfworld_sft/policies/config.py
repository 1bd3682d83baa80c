"""The keys that choose a policy."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, model_validator

from alfworld_sft.config import Needs, Section
from alfworld_sft.models.reference import expand_home
from alfworld_sft.policies.expert.predict import Guesses
from alfworld_sft.policies.expert.search import Search
from alfworld_sft.types import DType
from alfworld_sft.usage import Prices

Constrain = Literal["none", "action"]
"""What a model's reply is restricted to: nothing, or an admissible command where its action stands."""
Truncated = Literal["retry", "keep"]
"""What is done with a server's reply that `max_tokens` cut off."""


class PolicySection(Section):
    """The policy."""

    NEEDS: ClassVar[tuple[Needs, ...]] = (
        Needs(("search", "prior"), lambda policy: policy.expert_answers, "policy.name=expert"),
        Needs(("noise", "noise_episodes"), lambda policy: policy.expert_acts, "policy.name=expert"),
        Needs(("noise_episodes",), lambda policy: policy.noise, "policy.noise"),
        Needs(
            (
                *("model", "temperature", "top_p", "max_tokens", "keep_token_ids"),
                *("price_prompt", "price_completion", "price_cached"),
            ),
            lambda policy: policy.name in ("server", "local"),
            "policy.name=server or local",
        ),
        Needs(
            ("constrain",),
            lambda policy: policy.name in ("server", "local"),
            "policy.name=server or local",
            harmless=("none",),
        ),
        Needs(
            ("base_url", "serve", "serve_timeout_s", "timeout_s", "attempts"),
            lambda policy: policy.name == "server",
            "policy.name=server",
        ),
        Needs(("truncated",), lambda policy: policy.name == "server", "policy.name=server", harmless=("keep",)),
        Needs(("serve_timeout_s",), lambda policy: policy.serve, "policy.serve"),
        Needs(("dtype", "max_batch"), lambda policy: policy.name == "local", "policy.name=local"),
    )

    name: Literal["expert", "planner", "random", "server", "local"] = Field(
        "expert",
        description="expert: sees only the prompt; planner: sees the full state and follows a shortest plan; random;"
        " server: a language model at an OpenAI-compatible server; local: a language model in this process.",
    )
    search: Search = Field(
        "prior",
        description="How the expert searches: prior: likely places first; sweep: fixed order (short histories).",
    )
    prior: bool = Field(True, description="Let the expert's search and guesses use what was counted in train scenes.")
    noise: float = Field(0.0, ge=0, le=0.9, description="Share of the expert's actions that are deliberate mistakes.")
    noise_episodes: float = Field(0.5, ge=0, le=1, description="Share of the episodes that have noise.")
    model: Annotated[str, AfterValidator(expand_home)] | None = Field(
        None,
        description="Language model: its name at the server; local: a hub name, or a model's or checkpoint's folder.",
    )
    base_url: str | None = Field(
        None, description="Server's address, e.g. http://127.0.0.1:8000/v1; null: $OPENAI_BASE_URL."
    )
    serve: str | None = Field(
        None,
        description="Serve the model for the duration of the run: 'vllm' (or its path, with options if needed), or a"
        " command line with {port} and {model}.",
    )
    serve_timeout_s: float = Field(900.0, gt=0, description="Seconds to wait until a server started by serve answers.")
    temperature: float | None = Field(
        0.4, ge=0, le=2, description="Sampling temperature of a model; 0 is greedy; null leaves it to the server."
    )
    top_p: float | None = Field(
        1.0,
        gt=0,
        le=1,
        description="Nucleus sampling threshold of a model; null leaves it to the server.",
    )
    max_tokens: int = Field(512, ge=1, description="Maximum tokens per reply of a model.")
    constrain: Constrain = Field(
        "none", description="action: a model's action can only be one of the admissible commands, shown or not."
    )
    truncated: Truncated = Field(
        "retry",
        description="Server replies cut off by max_tokens: retry draws again, then fails the episode; keep, the default"
        " with a teacher, uses them.",
    )
    timeout_s: float = Field(120.0, gt=0, description="Seconds to wait for a server's reply.")
    attempts: int = Field(6, ge=1, le=100, description="Maximum requests to a server per reply, with growing pauses.")
    keep_token_ids: bool = Field(False, description="Keep a model's token ids and log-probabilities, if available.")
    dtype: DType = Field(
        "auto", description="Dtype that a local model computes in; auto: bfloat16 on a GPU, float32 elsewhere."
    )
    max_batch: int = Field(64, ge=1, description="Maximum batch size of a local model, in turns.")
    price_prompt: float | None = Field(
        None,
        ge=0,
        description="Dollars per million prompt tokens; with price_completion set, the run's cost is reported.",
    )
    price_completion: float | None = Field(None, ge=0, description="Dollars per million reply tokens.")
    price_cached: float | None = Field(
        None, ge=0, description="Dollars per million prompt tokens cached at the server; null: price_prompt."
    )

    @property
    def expert_acts(self) -> bool:
        """Whether the expert chooses the actions."""
        return self.name == "expert"

    @property
    def expert_answers(self) -> bool:
        """Whether the expert is asked at all."""
        return self.expert_acts

    @property
    def loads_model_here(self) -> bool:
        """Whether this machine loads `model`; elsewhere its name belongs to the server."""
        return self.name == "local" or bool(self.serve)

    @property
    def prices(self) -> Prices | None:
        """What tokens cost, or None if unknown."""
        if self.price_prompt is None or self.price_completion is None:
            return None
        cached = self.price_prompt if self.price_cached is None else self.price_cached
        return Prices(self.price_prompt, self.price_completion, cached)


class CollectingPolicySection(PolicySection):
    """The policy that a dataset is collected with."""

    NEEDS: ClassVar[tuple[Needs, ...]] = (
        *PolicySection.NEEDS,
        Needs(("guesses",), lambda policy: policy.expert_acts, "policy.name=expert", harmless=("likeliest",)),
        Needs(("rationalize_attempts",), lambda policy: policy.rationalize, "policy.rationalize=true"),
        Needs(("teacher_share",), lambda policy: policy.teacher, "policy.teacher"),
        Needs(
            ("truncated",), lambda policy: not policy.rationalize, "policy.rationalize=false", harmless=("keep",)
        ),  # a reason that was cut off is one of the rejected ones
        Needs(
            ("constrain",), lambda policy: not policy.rationalize, "policy.rationalize=false", harmless=("none",)
        ),  # the expert acts, and its actions are admissible
    )

    guesses: Guesses = Field(
        "likeliest",
        description="What the expert predicts of places it has not seen. likeliest: what most of them hold; hopeful:"
        " contents drawn at their shares in the train games and, half of the time, what it looks for.",
    )
    rationalize: bool = Field(
        False, description="The expert acts, and a language model (policy.name server or local) writes its <think>."
    )
    rationalize_attempts: int = Field(
        3,
        ge=1,
        le=100,
        description="Maximum replies requested per turn before falling back to the expert's own reasoning.",
    )
    teacher: Literal["expert", "planner"] | None = Field(
        None,
        description="At every turn that the policy plays, record what this teacher would do; rows are its answers.",
    )
    teacher_share: float = Field(
        0.0, ge=0, le=1, description="Share of the turns in which the teacher acts instead of the policy."
    )

    @model_validator(mode="before")
    @classmethod
    def _keep_what_a_student_says(cls, given: Any) -> Any:
        """Keep truncated replies where a teacher answers them, unless the run says otherwise."""
        if isinstance(given, dict) and given.get("teacher") and "truncated" not in given:
            return {**given, "truncated": "keep"}
        return given

    @property
    def expert_acts(self) -> bool:
        """Whether the expert chooses the actions: a model then writes its reasons, at most."""
        return self.rationalize or super().expert_acts

    @property
    def expert_answers(self) -> bool:
        """Whether the expert is asked at all: as the policy or as its teacher."""
        return self.teacher == "expert" or super().expert_answers


class EvaluatedPolicySection(PolicySection):
    """The policy that is evaluated; a truncated reply is kept, not drawn again."""

    truncated: Truncated = Field("keep", description=PolicySection.model_fields["truncated"].description)
