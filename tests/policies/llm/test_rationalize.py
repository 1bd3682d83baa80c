"""The expert acts, a model says why; here the model is a function of what it is asked."""

import re
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from alfworld_sft.collect.config import CollectConfig
from alfworld_sft.config import build_config
from alfworld_sft.errors import ConfigError, PolicyError
from alfworld_sft.policies.base import in_service
from alfworld_sft.policies.expert.expert import Expert
from alfworld_sft.policies.llm.rationalize import Rationalizer
from alfworld_sft.policies.make import make_policy
from alfworld_sft.prompts.tags import compose_reply, parse_reply
from alfworld_sft.prompts.template import load_template
from alfworld_sft.types import Prompt, Reply
from tests.policies.play import commands, play, study

WRONG = "<think>I do as I like.</think><action>dance</action>"


@dataclass
class Writer:
    """Answers with what `says` makes of the hinted action and of how often it was asked before."""

    says: Callable[[str, int], str]
    asked: list[Prompt] = field(default_factory=list)
    name = "writer"
    sampling = None

    def begin(self, game, seed):
        return self

    async def act(self, prompt: Prompt) -> Reply:
        self.asked.append(prompt)
        hint = re.search(r"The best action now is:\n(.+)\n", prompt.messages[-1].content)
        return Reply(self.says(hint[1], len(self.asked) - 1), prompt_tokens=100, reply_tokens=10)


def willing(action, _):
    return f"<think>I want to {action}.</think><action>{action}</action>"


def sections(reply):
    return parse_reply(reply.text, ("observation", "think", "prediction", "action"), ())


def test_the_reason_is_the_model_s_and_the_action_the_expert_s():
    alone, reasoned = play(study(), Expert()), play(study(), Rationalizer(Expert(), Writer(willing)))
    assert reasoned.success
    assert commands(reasoned) == commands(alone)
    assert [sections(step.reply).think for step in reasoned.steps] == [f"I want to {c}." for c in commands(alone)]
    assert {(step.reply.think_by, step.reply.rejected) for step in reasoned.steps} == {("model", ())}


@pytest.mark.parametrize("template", ["add_wm1", "add_wm2"])
def test_predictions_and_summaries_stay_the_expert_s(template):
    def dreaming(action, _):
        parts = {"observation": "A dream.", "think": "So.", "prediction": "Gold.", "action": action}
        return compose_reply(load_template(template).tags, parts)

    alone = play(study(), Expert(), template)
    reasoned = play(study(), Rationalizer(Expert(), Writer(dreaming)), template)
    assert {sections(step.reply).think for step in reasoned.steps} == {"So."}
    for own, step in zip(alone.steps, reasoned.steps, strict=True):
        assert sections(step.reply).prediction == sections(own.reply).prediction
        assert sections(step.reply).observation == sections(own.reply).observation


def test_a_rejected_reply_is_asked_for_again_with_the_reason_and_another_seed():
    def second_time_right(action, number):
        return willing(action, number) if number % 2 else WRONG

    writer = Writer(second_time_right)
    episode = play(study(), Rationalizer(Expert(), writer))
    assert {(step.reply.think_by, step.reply.rejected) for step in episode.steps} == {("model", ("action",))}
    told = ["could not be used: its action" in asked.messages[-1].content for asked in writer.asked[:2]]
    assert told == [False, True]
    assert len({asked.seed for asked in writer.asked}) == len(writer.asked) == 2 * len(episode.steps)


def test_after_the_last_attempt_the_expert_s_words_stand():
    writer = Writer(lambda action, number: (WRONG, "dance", willing("", 0))[number % 3])
    alone, episode = play(study(), Expert(), seed=5), play(study(), Rationalizer(Expert(), writer, 3), seed=5)
    assert [step.reply.text for step in episode.steps] == [step.reply.text for step in alone.steps]
    assert {step.reply.think_by for step in episode.steps} == {"expert"}
    assert {step.reply.rejected for step in episode.steps} == {("action", "tags", "tags")}
    assert len(writer.asked) == 3 * len(episode.steps)


def test_a_turn_has_the_tokens_of_all_that_was_asked_for_it():
    episode = play(study(), Rationalizer(Expert(), Writer(lambda *_: WRONG), 4))
    assert {(step.reply.prompt_tokens, step.reply.reply_tokens) for step in episode.steps} == {(400, 40)}


def test_no_reason_is_asked_for_a_mistake_on_purpose():
    writer = Writer(willing)
    episode = play(study(), Rationalizer(Expert(noise=0.5), writer), seed=3)
    mistakes = [step.reply for step in episode.steps if not step.reply.trained]
    assert mistakes
    assert {(reply.think_by, reply.rejected, reply.prompt_tokens) for reply in mistakes} == {("expert", (), None)}
    assert len(writer.asked) == len(episode.steps) - len(mistakes)


def test_earlier_turns_of_a_conversation_show_no_hint():
    writer = Writer(willing)
    play(study(), Rationalizer(Expert(), writer), form="multi")
    *past, last = writer.asked[-1].messages
    assert len(past) > 2
    assert "Hint" in last.content
    assert not any("Hint" in message.content for message in past)
    assert past[1].content == "<think>I want to go to desk 1.</think>\n<action>go to desk 1</action>"


def test_a_writer_that_fails_ends_the_episode_which_is_owed():
    def down(action, number):
        if number == 2:
            raise PolicyError("the server is down")
        return willing(action, number)

    episode = play(study(), Rationalizer(Expert(), Writer(down)))
    assert (episode.error, len(episode.steps)) == ("the server is down", 2)


def test_the_writer_is_in_service_while_the_policy_is():
    class Served(Writer):
        up = False

        @contextmanager
        def in_service(self):
            self.up = True
            yield
            self.up = False

    writer = Served(willing)
    with in_service(Rationalizer(Expert(), writer)):
        assert writer.up
    assert not writer.up
    with in_service(Rationalizer(Expert(), Writer(willing))):
        pass  # needs nothing to run


def test_the_name_tells_both():
    assert Rationalizer(Expert(prior=False), Writer(willing)).name == "expert (no prior), reasons by writer"


@pytest.mark.parametrize("name", ["expert", "planner", "random"])
def test_only_a_language_model_writes_reasons(name):
    with pytest.raises(ConfigError, match=rf"policy.name={name} is not a model: use server or local"):
        build_config(CollectConfig, ["policy.rationalize=true", f"policy.name={name}"])


def test_token_ids_of_a_hinted_request_are_refused():
    with pytest.raises(ConfigError, match="a hint that no stored prompt has"):
        build_config(CollectConfig, ["policy.rationalize=true", "policy.name=server", "policy.keep_token_ids=true"])


def test_the_options_make_the_expert_and_its_writer():
    words = ["policy.rationalize=true", "policy.name=server", "policy.model=m", "policy.base_url=http://host/v1"]
    policy = make_policy(build_config(CollectConfig, [*words, "policy.search=sweep", "policy.temperature=0"]).policy)
    assert policy.name == "expert (search=sweep), reasons by server:m"
    assert (policy.sampling["temperature"], policy.sampling["truncated"]) == (0, "keep")
