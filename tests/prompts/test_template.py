import pytest

from alfworld_sft.errors import TemplateError
from alfworld_sft.prompts.template import load_template, template_names
from alfworld_sft.prompts.transcript import Transcript
from alfworld_sft.types import Exchange
from tests.prompts.told import Told

ADMISSIBLE = ("go to bed 1", "inventory", "look", "take mug 1 from desk 1")
PAST = [Exchange("You see a desk 1.", "go to desk 1"), Exchange("You arrive at desk 1.", "look")]


def test_the_package_has_the_documented_templates():
    assert template_names() == ("add_wm1", "add_wm2", "compact", "default", "eto", "react", "trinity", "verl-agent")


@pytest.mark.parametrize(
    ("name", "tags"),
    [
        ("default", ("think", "action")),
        ("add_wm1", ("think", "prediction", "action")),
        ("add_wm2", ("observation", "think", "prediction", "action")),
        ("compact", ()),
    ],
)
def test_each_template_asks_for_its_tags(name, tags):
    template = load_template(name)
    assert template.tags == tags
    text = template.single_turn(template.view("put a mug in desk.", [], "You see.", ADMISSIBLE))
    assert [tag for tag in ("observation", "think", "prediction", "action") if f"<{tag}>" in text] == [
        tag for tag in ("observation", "think", "prediction", "action") if tag in tags
    ]


@pytest.mark.parametrize("name", ["default", "add_wm1", "add_wm2", "compact"])
def test_every_prompt_states_the_task(name):
    template = load_template(name)
    for past in ([], PAST):
        view = template.view("put a mug in desk.", past, "You see.", ADMISSIBLE)
        assert "put a mug in desk" in template.single_turn(view)
        assert "put a mug in desk" in template.multi_turn(view)


def test_the_whole_history_is_shown_by_default():
    template = load_template("default")
    text = template.single_turn(template.view("t.", PAST, "Now.", ADMISSIBLE))
    assert "You have taken 2 steps so far. The last 2 steps, oldest first:" in text
    assert "[step 1] You did: go to desk 1" in text
    assert "You are now at step 3." in text


def test_a_window_cuts_the_history_and_keeps_the_count():
    template = load_template("default")
    view = template.view("t.", PAST, "Now.", ADMISSIBLE, history_length=1)
    assert view.history == (PAST[1],)
    text = template.single_turn(view)
    assert "You have taken 2 steps so far. The last 1 step, oldest first:\n[step 2] You saw: You arrive" in text
    assert "[step 1]" not in text


def test_compact_hides_the_admissible_commands_from_the_policy_too():
    view = load_template("compact").view("t.", PAST, "Now.", ADMISSIBLE)
    assert view.admissible_commands is None


def test_a_value_is_never_expanded_again():
    template = load_template("default")
    text = template.single_turn(template.view("put $observation in $task.", [], "see ${task}", ADMISSIBLE))
    assert "Your task: put $observation in $task." in text
    assert "What you see now: see ${task}" in text


def test_two_dollar_signs_are_one_wherever_they_stand(tmp_path):
    own = tmp_path / "own.toml"
    own.write_text(
        'extends = "compact"\n[sections]\nprice = "$$5, $$task, $$$task"\n[multi]\nfirst = "$price; $$observation"\n'
    )
    layout = load_template(str(own)).multi_first
    assert layout.substitute(task="put", observation="seen") == "$5, $task, $put; $observation"


def test_a_conversation_alternates_and_ends_with_what_is_to_be_answered():
    template = load_template("default")
    transcript = Transcript(template, Told("t."), "multi")
    for reply, past in zip(("first reply", "second reply"), PAST, strict=True):
        transcript.add(transcript.prompt("Now.", ADMISSIBLE), reply, past.action)
    messages = transcript.prompt("Now.", ADMISSIBLE).messages
    assert [m.role for m in messages] == ["user", "assistant", "user", "assistant", "user"]
    assert messages[2].content == "Now.\nYour task: t.\nYou can also: take mug 1 from desk 1"
    assert messages[3].content == "second reply"


def test_a_user_s_own_file_extends_a_template(tmp_path):
    file = tmp_path / "terse.toml"
    file.write_text('extends = "add_wm1"\n[sections]\nanswer = "Answer with tags."\nrole = "Act."\n')
    template = load_template(str(file))
    assert (template.name, template.tags) == ("terse", ("think", "prediction", "action"))
    text = template.single_turn(template.view("t.", [], "Now.", ("look",)))
    assert text.startswith("Act.\nYour task: t.")
    assert text.endswith("Answer with tags.")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("tags = [", "is not TOML"),
        ('extends = "defualt"', "unknown template 'defualt'; did you mean 'default'?"),
        ('extends = "default"\ncolour = 1', "has the unknown key 'colour'"),
        ('extends = "default"\ntags = ["think"]', "'tags' must list some of observation, think, prediction, action"),
        ('extends = "default"\n[sections]\nrole = "$taks"', "'$taks' is neither a section nor a value; did you mean"),
        ('extends = "default"\n[sections]\nrole = "100 $ a day"', "a lone '$' in role; write '$$'"),
        ('extends = "default"\nlists_admissible = false', "shows $admissible but says lists_admissible = false"),
        ('single = "x"', "'single' is not a table; write [single]"),
        ('extends = "default"\nsections = "x"', "'sections' is not a table; write [sections]"),
        ("tags = []", "lacks the text 'first' in [single]"),
    ],
)
def test_a_wrong_template_file_says_what_is_wrong(tmp_path, content, message):
    file = tmp_path / "own.toml"
    file.write_text(content)
    with pytest.raises(TemplateError) as error:
        load_template(str(file))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_an_unknown_name_lists_the_templates():
    with pytest.raises(TemplateError, match=r"unknown template 'zzz'; there are add_wm1, add_wm2, compact, default"):
        load_template("zzz")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(TemplateError, match=r"cannot read the template .*none\.toml"):
        load_template(str(tmp_path / "none.toml"))
