"""The keys that choose a policy."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from alfworld_sft.config import Needs, Section
from alfworld_sft.usage import Prices


class PolicySection(Section):
    """Who plays."""

    NEEDS: ClassVar[tuple[Needs, ...]] = (
        Needs(("search", "prior", "noise", "noise_episodes"), lambda policy: policy.expert_acts, "policy.name=expert"),
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
        description="expert: reads the prompt alone; planner: shortest plan, knows everything; random; a language"
        " model at an OpenAI-compatible server, or local: in this process.",
    )
    search: Literal["prior", "sweep"] = Field(
        "prior", description="How the expert searches: where things tend to lie, or in a fixed order (short histories)."
    )
    prior: bool = Field(True, description="Let the expert's search use what lies where in train scenes.")
    noise: float = Field(0.0, ge=0, le=0.9, description="Share of actions that the expert gets wrong on purpose.")
    noise_episodes: float = Field(0.5, ge=0, le=1, description="Share of the episodes that have such noise.")
    model: str | None = Field(
        None,
        description="Model that plays: its name at the server; local: a hub name, a model's or checkpoint's folder.",
    )
    base_url: str | None = Field(
        None, description="Server's address, as http://127.0.0.1:8000/v1; null: $OPENAI_BASE_URL."
    )
    serve: str | None = Field(
        None,
        description="Start the server, too, and stop it after the run: 'vllm' (its path, and options of its own if"
        " need be), or a command line with {port} and {model}.",
    )
    serve_timeout_s: float = Field(900.0, gt=0, description="Seconds that such a server may take until it answers.")
    temperature: float | None = Field(
        0.4, ge=0, le=2, description="Sampling temperature of a model; 0 is greedy; null leaves it to the server."
    )
    top_p: float | None = Field(
        1.0,
        gt=0,
        le=1,
        description="Share of the probability that a model samples from; null leaves it to the server.",
    )
    max_tokens: int = Field(512, ge=1, description="Tokens that a reply of a model may have.")
    truncated: Literal["retry", "keep"] = Field(
        "retry", description="A server's reply that max_tokens cut off: draw again, then fail the episode; or keep it."
    )
    timeout_s: float = Field(120.0, gt=0, description="Seconds that a server may take for a reply.")
    attempts: int = Field(6, ge=1, le=100, description="Times that a server is asked for a reply, with growing pauses.")
    keep_token_ids: bool = Field(
        False, description="Keep a model's token ids and log-probabilities, where they can be had."
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="Type in which a local model computes; auto: bfloat16 on a GPU, float32 elsewhere."
    )
    max_batch: int = Field(64, ge=1, description="Turns that a local model answers at once.")
    price_prompt: float | None = Field(
        None, ge=0, description="Dollars for a million prompt tokens; with price_completion, what a run cost is told."
    )
    price_completion: float | None = Field(None, ge=0, description="Dollars for a million tokens of replies.")
    price_cached: float | None = Field(
        None, ge=0, description="Dollars for a million prompt tokens that the server had cached; null: price_prompt."
    )

    @property
    def expert_acts(self) -> bool:
        """Whether the expert chooses the actions."""
        return self.name == "expert"

    @property
    def prices(self) -> Prices | None:
        """What tokens cost, None where it is not known."""
        if self.price_prompt is None or self.price_completion is None:
            return None
        cached = self.price_prompt if self.price_cached is None else self.price_cached
        return Prices(self.price_prompt, self.price_completion, cached)


class CollectingPolicySection(PolicySection):
    """Who plays for a dataset."""

    NEEDS: ClassVar[tuple[Needs, ...]] = (
        *PolicySection.NEEDS,
        Needs(("rationalize_attempts",), lambda policy: policy.rationalize, "policy.rationalize=true"),
        Needs(
            ("truncated",), lambda policy: not policy.rationalize, "policy.rationalize=false", harmless=("keep",)
        ),  # a reason that was cut off is one of the rejected ones
    )

    rationalize: bool = Field(
        False, description="The expert acts, and the model of policy.name (server or local) writes its <think>."
    )
    rationalize_attempts: int = Field(
        3, ge=1, le=100, description="Replies that are asked for until one is taken; then the expert's own words stand."
    )

    @property
    def expert_acts(self) -> bool:
        """Whether the expert chooses the actions: a model then writes its reasons, at most."""
        return self.rationalize or super().expert_acts


class EvaluatedPolicySection(PolicySection):
    """Who plays; a reply that never ends counts as said, and is not asked for again."""

    truncated: Literal["retry", "keep"] = Field("keep", description=PolicySection.model_fields["truncated"].description)
