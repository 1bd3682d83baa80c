"""Every command and sentence is read as what was written, in both versions of the wording."""

import json
import re
from itertools import product
from typing import get_args

import pytest

from alfworld_sft.games.generator.logic import grammar_text
from alfworld_sft.types import Wording
from alfworld_sft.world import language
from alfworld_sft.world.language import (
    COMMANDS,
    HELP_TEXT,
    IS_CLOSED,
    LOCATION,
    NOTHING,
    SENTENCES,
    SIGHTS,
    WITH_ARTICLE,
    WITHOUT_ARTICLE,
    Command,
    Pattern,
    condition,
    read_command,
    read_sentence,
    verb_of,
)

NAMES = ("mug 1", "garbagecan 12", "loc 3")
LISTS = (NOTHING, "a mug 1", "a mug 2, and a mug 1", "a mug 2, a mug 1, and a bathtubbasin 10")
CONDITIONS = sorted(
    {condition(hot=h, cool=c, clean=w, sliced=s) for h, c, w, s in product((False, True), repeat=4)} - {""}
)
VALUES = {
    **dict.fromkeys(("object", "receptacle", "knife", "thing", "place"), NAMES),
    "list": LISTS,
    "number": ("1", "23"),
    "condition": CONDITIONS,
    "treatment": get_args(language.TreatmentVerb),
    "sight": [
        sight.format("fridge 1", *([things] if len(sight.slots) > 1 else []))
        for sight, things in product(SIGHTS, LISTS)
    ],
}


def fillings(pattern: Pattern) -> list[tuple[str, ...]]:
    """All ways to fill the slots."""
    return list(product(*(VALUES[slot] for slot in pattern.slots)))


@pytest.mark.parametrize("pattern", [*COMMANDS, *SENTENCES, LOCATION], ids=lambda p: p.template)
def test_what_is_written_is_read_back(pattern: Pattern):
    for values in fillings(pattern):
        assert pattern.parse(pattern.format(*values)) == values


def test_every_command_is_read_as_itself():
    read = {command: {read_command(command.format(*names)) for names in fillings(command)} for command in COMMANDS}
    assert read == {command: {(command, names) for names in fillings(command)} for command in COMMANDS}


def test_every_sentence_is_read_as_itself():
    for sentence in SENTENCES:
        for values in fillings(sentence):
            assert read_sentence(sentence.format(*values)) == (sentence, values)


def test_no_text_of_one_pattern_is_a_text_of_another():
    """So the two versions are never confused: neither needs to be known to read the other."""
    for pattern in (*COMMANDS, *SENTENCES):
        for text in {pattern.format(*values) for values in fillings(pattern)}:
            assert [p for p in (*COMMANDS, *SENTENCES) if p.parse(text) is not None] == [pattern]


@pytest.mark.parametrize("version", get_args(Wording))
def test_each_version_puts_things_down_in_its_own_words(version: Wording):
    command, sentence = language.PUT[version], language.PUT_DOWN[version]
    texts = {
        "move": ("move mug 1 to desk 1", "You move the mug 1 to the desk 1."),
        "put": ("put mug 1 in/on desk 1", "You put the mug 1 in/on the desk 1."),
    }
    assert (command.format("mug 1", "desk 1"), sentence.format("mug 1", "desk 1")) == texts[version]
    assert (command.verb, verb_of(texts[version][0])) == ("put", "put")


@pytest.mark.parametrize("names", [(), ("mug 1",), ("mug 2", "mug 1"), ("bed 1", "mug 2", "mug 1")])
def test_lists_are_read_back(names: tuple[str, ...]):
    for listed in (WITH_ARTICLE, WITHOUT_ARTICLE):
        assert listed.parse(listed.format(names)) == names


def test_lists_are_written_as_the_game_does():
    names = ("mug 3", "mug 2", "bed 1")
    assert [WITH_ARTICLE.format(names[:n]) for n in range(4)] == [
        "nothing", "a mug 3", "a mug 3, and a mug 2", "a mug 3, a mug 2, and a bed 1",
    ]  # fmt: skip
    assert WITHOUT_ARTICLE.format(names) == "mug 3, mug 2, and bed 1"


@pytest.mark.parametrize(
    "text",
    ["", "go", "go desk 1", "take mug 1", "put mug 1 to desk 1", "move mug 1 in/on desk 1", "Look", "look around"],
)
def test_what_is_no_command_is_not_read(text: str):
    assert read_command(text) is None


@pytest.mark.parametrize(
    "text",
    ["", "You arrive at desk 1.", "The desk is closed.", "You close the desk 1. ", "Nothing happens.", HELP_TEXT],
)
def test_what_is_no_sentence_with_slots_is_not_read(text: str):
    assert read_sentence(text) is None


def test_the_verb_is_known_by_the_first_word_alone():
    assert [verb_of(text) for text in ("take it", "move", "heat mug 1 with", "dance", "")] == [
        "take", "put", "heat", None, None,
    ]  # fmt: skip


def test_a_pattern_takes_one_value_for_each_slot():
    for values in ((), ("mug 1", "mug 2")):
        with pytest.raises(TypeError):
            IS_CLOSED.format(*values)
    with pytest.raises(KeyError, match="thingy"):
        Pattern("use {thingy}")


def test_a_pattern_knows_what_stands_before_and_behind_its_slots():
    assert [(p.prefix, p.suffix) for p in (language.GO, IS_CLOSED, language.LOOK)] == [
        ("go to ", ""), ("The ", " is closed."), ("look", "look"),
    ]  # fmt: skip


def test_the_help_explains_every_command_of_its_version():
    explained = re.findall(r"^  (.+?): ", HELP_TEXT, re.MULTILINE)
    wanted = {
        re.sub(r"\{(\w+)\}", lambda slot: {"thing": "(something)", "knife": "(object)"}.get(slot[1], f"({slot[1]})"), t)
        for t in (c.template for c in COMMANDS if c not in (language.PUT["put"], language.HELP))
    }
    assert set(explained) == wanted


def test_the_grammar_of_our_own_games_has_these_commands_and_answers():
    """What `world` says and what a game file that we write says are the same words."""

    def slotless(text: str) -> str:
        return re.sub(r"\{.*?\}|#.*?#|\[.*?\]", "{}", text)

    grammar = grammar_text("put a mug in desk.")
    written = {slotless(text) for text in re.findall(r'template :: "(.*?)";', grammar)}
    assert written == {slotless(c.template) for c in COMMANDS if c is not language.PUT["put"]}
    said = {slotless(json.loads(f'"{text}"')) for text in re.findall(r'(?:"rhs": |feedback :: )"(.*?)"[;}\n]', grammar)}
    spoken = {slotless(s.template) for s in SENTENCES if s not in (language.PUT_DOWN["put"], language.TREATED)}
    ruled = {slotless(s.template) for s in (language.CHANGED, language.CARRYING)}  # written with rules of their own
    assert spoken - said == ruled
    assert {f"You {verb} the {{}} using the {{}}." for verb in get_args(language.TreatmentVerb)} <= said
    assert language.EMPTY_HANDED in said


def test_commands_are_of_different_words():
    words = [command.template.partition(" ")[0] for command in COMMANDS]
    assert len(words) == len(set(words))
    assert {command.verb for command in COMMANDS} == set(get_args(language.CommandVerb))
    assert all(isinstance(command, Command) for command in COMMANDS)
