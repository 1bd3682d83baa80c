import pytest

from alfworld_sft.policies.expert.expert import Expert
from alfworld_sft.policies.llm.sampling import cut_reply, has_ended, stop_of
from alfworld_sft.prompts.examples import as_lines, as_thoughts_and_actions, examples
from alfworld_sft.prompts.formats import ACTION_MISSING, TRY_ANOTHER, read_reply, shown_answer
from alfworld_sft.prompts.template import load_template
from alfworld_sft.prompts.transcript import Transcript, prompts_of
from alfworld_sft.types import TASK_TYPES, Prompt, View
from tests.policies.play import play, study
from tests.prompts.told import Told

ADMISSIBLE = ("go to desk 1", "help", "look")


def read(reply_format, text):
    parsed = read_reply(reply_format, text, ("think", "action"), ADMISSIBLE)
    return parsed.action, parsed.problem


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<think>a</think><action> Go to DESK 1 </action>", ("go to desk 1", None)),
        ("<think>take <action>look</action></think><action>go to desk 1</action>", ("look", None)),
        ("<action>look</action>", ("look", "no thought")),
        ("<think>\u684c\u5b50</think><action>look</action>", ("look", "Chinese characters")),
        ("<think>a</think><action>fly</action>", ("fly", "not admissible")),
        ("<think>a</think><action></action>", ("", "empty action")),
        ("<think>I had better go to a place and there LOOK", ("r go to a place and there look", "no action tag")),
    ],
)
def test_verl_agent_projects_a_reply_as_its_own_program_does(text, expected):
    assert read("verl-agent", text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<think>a</think><action> look </action>", ("look", None)),
        ("<action>look", ("look", None)),
        ("<action>look<action>go to desk 1</action>", ("look", None)),
        ("<action>Look</action>", ("Look", "not admissible")),
        ("look", (None, "no action tag")),
    ],
)
def test_trinity_takes_the_first_action_and_leaves_its_case(text, expected):
    assert read("trinity", text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Thought: a desk.\nAction: go to desk 1", ("go to desk 1", None)),
        ("Action:look\n", ("look", None)),
        ("Action: look\nObservation: You see", ("look\nObservation: You see", "not admissible")),
        ("go to desk 1", (None, "no action")),
    ],
)
def test_eto_takes_all_that_follows_action(text, expected):
    assert read("eto", text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (" go to desk 1\nYou arrive", ("go to desk 1", None)),
        ("think: a desk first.", ("think: a desk first.", None)),
        ("> look", ("> look", "not admissible")),
        ("\n", (None, "empty")),
    ],
)
def test_react_takes_the_first_line(text, expected):
    assert read("react", text) == expected


@pytest.mark.parametrize(
    ("reply_format", "text", "answer", "shown"),
    [
        ("react", "think: a desk.", "Nothing happens.", "OK."),
        ("react", "look", "You arrive at loc 12. On the desk 1, you see a pen 1.", "On the desk 1, you see a pen 1."),
        ("react", "look", "You arrive at desk 1. You see.", "You arrive at desk 1. You see."),
        ("eto", "look", "Nothing happens.", ACTION_MISSING),
        ("eto", "Action: fly", "Nothing happens.", "Nothing happens."),
        ("trinity", "<action>fly</action>", "Nothing happens.", f"Nothing happens. {TRY_ANOTHER}"),
        ("verl-agent", "fly", "Nothing happens.", "Nothing happens."),
    ],
)
def test_each_format_shows_the_games_answer_in_its_own_way(reply_format, text, answer, shown):
    assert shown_answer(reply_format, read_reply(reply_format, text, (), ADMISSIBLE), answer) == shown


def test_a_model_stops_at_the_end_of_a_line_only_where_the_format_has_lines():
    def prompt(reply_format, tags=("action",)):
        return Prompt(View("t", 0, (), "o", None), (), tags, 0, reply_format)

    stops = {name: stop_of(prompt(name)) for name in ("tags", "verl-agent", "trinity", "eto", "react")}
    assert stops == {"tags": "</action>", "verl-agent": None, "trinity": None, "eto": None, "react": "\n"}
    assert cut_reply("\n look\nYou see", prompt("react")) == "\n look"
    assert [has_ended(text, prompt("react")) for text in ("\n look", "look\n")] == [False, True]
    assert cut_reply("Action: look\nmore", prompt("eto")) == "Action: look\nmore"


@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize(
    ("template", "form", "window"),
    [("verl-agent", "single", 2), ("react", "single", None), ("eto", "multi", None), ("trinity", "multi", None)],
)
def test_the_expert_wins_in_every_format_and_in_both_wordings(template, form, window, older):
    episode = play(study(older=older), Expert(search="sweep"), template, form=form, window=window)
    assert episode.success
    assert [step.problem for step in episode.steps] == [None] * len(episode.steps)
    put = "put (object) in/on (receptacle)" if older else "move (object) to (receptacle)"
    first, *_, last = prompts_of(episode, load_template(template), form, window)
    texts = "\n".join(message.content for message in first.messages)
    assert (put in texts) == (template in ("eto", "trinity"))
    if template in ("react", "eto"):
        assert (" in/on " in texts, "> move " in texts or "Action: move " in texts) == (older, not older)
    assert episode.task in last.messages[-1].content or form == "multi"


def test_verl_agents_prompt_lists_every_command_but_help_and_two_past_steps():
    transcript = Transcript(load_template("verl-agent"), Told("put a mug in shelf."), "single", 2)
    for number in range(4):
        prompt = transcript.prompt(f"Seen {number}.", ADMISSIBLE)
        transcript.add(prompt, "reply", "look")
    text = prompt.messages[0].content
    assert "go to desk 1, look" in text
    assert "help" not in text
    assert [f"Seen {number}." in text for number in range(4)] == [False, True, True, True]


def test_trinitys_conversation_begins_with_a_system_message():
    transcript = Transcript(load_template("trinity"), Told("put a mug in shelf."), "multi")
    first = transcript.prompt("Seen.", ADMISSIBLE)
    transcript.add(first, "reply", "look")
    roles = [message.role for message in transcript.prompt("More.", ADMISSIBLE).messages]
    assert roles == ["system", "user", "assistant", "user"]


@pytest.mark.parametrize("task_type", TASK_TYPES)
def test_examples_are_two_games_in_the_wording_asked_for(task_type):
    for wording, other in (("move", " in/on "), ("put", "You arrive at")):
        for example in examples(task_type, wording):
            assert other not in as_lines(example) + as_thoughts_and_actions(example)
    assert len(examples(task_type, "move")) == 2
