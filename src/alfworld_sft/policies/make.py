"""Config → policy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alfworld_sft.errors import ConfigError, UserError
from alfworld_sft.policies.base import Policy
from alfworld_sft.policies.config import CollectingPolicySection, PolicySection
from alfworld_sft.policies.llm.sampling import Sampling
from alfworld_sft.prompts.template import Template

if TYPE_CHECKING:
    from alfworld_sft.policies.llm.managed_server import ManagedServer


def make_policy(options: PolicySection) -> Policy:
    """Return the policy that the options name; raises UserError where a model or its server is not named rightly."""
    if isinstance(options, CollectingPolicySection) and options.teacher is not None:
        return _taught(options)
    if isinstance(options, CollectingPolicySection) and options.rationalize:
        return _rationalizer(options)
    match options.name:
        case "expert":
            return _expert(options)
        case "planner":
            from alfworld_sft.policies.planner import Planner  # noqa: PLC0415

            return Planner()
        case "random":
            from alfworld_sft.policies.random_player import RandomPlayer  # noqa: PLC0415

            return RandomPlayer()
        case "server":
            from alfworld_sft.policies.llm.retry import Patience  # noqa: PLC0415
            from alfworld_sft.policies.llm.server import OpenAIServer  # noqa: PLC0415

            return OpenAIServer(
                _model(options),
                options.base_url,
                _sampling(options),
                Patience(options.timeout_s, options.attempts),
                truncated=options.truncated,
                keep_token_ids=options.keep_token_ids,
                constrain=options.constrain == "action",
                managed=_managed_server(options),
            )
        case "local":
            return _local(options)


def check_constrain(options: PolicySection, template: Template) -> None:
    """Raise ConfigError if the template's replies have a format that `policy.constrain` cannot restrict."""
    if options.constrain != "none" and template.reply_format != "tags":
        raise ConfigError(
            f"policy.constrain={options.constrain} takes templates whose replies are tags or a bare action, not"
            f" {template.name}: a reply there follows {template.reply_format}'s own rules"
        )


def _expert(options: PolicySection) -> Policy:
    from alfworld_sft.policies.expert.expert import Expert  # noqa: PLC0415

    return Expert(
        search=options.search,
        prior=options.prior,
        noise=options.noise,
        noise_episodes=options.noise_episodes,
        guesses=options.guesses if isinstance(options, CollectingPolicySection) else "likeliest",
    )


def _taught(options: CollectingPolicySection) -> Policy:
    """Return the options' policy with their teacher, an expert that makes no deliberate mistakes or the planner."""
    from alfworld_sft.policies.teacher import Taught  # noqa: PLC0415

    assert options.teacher is not None, "asked only with a teacher"
    student = make_policy(options.model_copy(update={"teacher": None}))
    teacher = make_policy(PolicySection(name=options.teacher, search=options.search, prior=options.prior))
    return Taught(student, teacher, options.teacher_share)


def _rationalizer(options: CollectingPolicySection) -> Policy:
    """Return the expert with the options' model as writer; a reason that was cut off is just not taken."""
    from alfworld_sft.policies.llm.rationalize import Rationalizer  # noqa: PLC0415

    writer = make_policy(options.model_copy(update={"rationalize": False, "truncated": "keep"}))
    return Rationalizer(_expert(options), writer, options.rationalize_attempts)


def _managed_server(options: PolicySection) -> ManagedServer | None:
    if options.serve is None:
        return None
    if options.base_url:
        raise ConfigError("policy.serve starts a server, policy.base_url names a running one: set only one of them")
    from alfworld_sft.policies.llm.managed_server import ManagedServer  # noqa: PLC0415
    from alfworld_sft.policies.llm.serve_command import serve_command  # noqa: PLC0415

    return ManagedServer(serve_command(options.serve, _model(options)), options.serve_timeout_s)


def _local(options: PolicySection) -> Policy:
    model = _model(options)
    try:
        from alfworld_sft.policies.llm.local import LocalModel  # noqa: PLC0415
    except ImportError as error:
        raise UserError(
            f"policy.name=local needs the package {error.name}; install it with: pip install 'alfworld-sft[train]'"
        ) from None
    return LocalModel.load(
        model,
        _sampling(options),
        dtype=options.dtype,
        max_batch=options.max_batch,
        keep_token_ids=options.keep_token_ids,
        constrain=options.constrain == "action",
    )


def _model(options: PolicySection) -> str:
    if not options.model:
        raise ConfigError(f"policy.name={options.name} needs to know which model plays: policy.model=NAME")
    return options.model


def _sampling(options: PolicySection) -> Sampling:
    return Sampling(options.temperature, options.top_p, options.max_tokens)
