"""All that reads a reply's tags reads the same: the game, where generation ends, scores, checks and the loss mask."""

from dataclasses import replace
from itertools import groupby

import pytest

pytest.importorskip("tokenizers", reason="training is an extra: pip install 'alfworld-sft[train]'")

from alfworld_sft.dataset.read import TrainingRow
from alfworld_sft.evaluate.worldmodel import WorldModelScore
from alfworld_sft.models.chat_encoder import ChatEncoder
from alfworld_sft.models.loss_mask import TokenKind
from alfworld_sft.policies.llm.sampling import end_reply
from alfworld_sft.prompts.formats import read_action
from alfworld_sft.prompts.rationale import read_rationale
from alfworld_sft.prompts.tags import find_sections, parse_reply, replace_section
from alfworld_sft.train.check import FileFacts
from alfworld_sft.types import Reply
from tests.episodes import step
from tests.train.helpers_data import tiny_tokenizer

TAGS = ("think", "prediction", "action")
LOOK, GO = "<action>look</action>", "<action>go</action>"


@pytest.mark.parametrize(
    ("reply", "ended", "actions", "prediction", "unpaired"),
    [
        (f"{LOOK} or {GO}", LOOK, ["look", "go"], None, []),
        (f"<think>Not {GO}.</think>{LOOK}", None, ["look"], None, []),
        (f"Not {GO}.</think>{LOOK}", None, ["look"], None, ["think"]),
        (f"<think>Not {GO}.", None, [], None, ["think"]),
        ("<think>Not <action>go", None, [], None, ["think"]),
        (f"<prediction>Not {GO}.</prediction>{LOOK}", None, ["look"], f"Not {GO}.", []),
        (f"<prediction>Not {GO}.", None, [], None, ["prediction"]),
        (f"<action>look <prediction>x</prediction></action>{GO}", "<action>look <prediction>x</prediction></action>",
         ["look <prediction>x</prediction>", "go"], None, []),
        ("<action>look <think>x</action>", None, ["look <think>x"], None, []),
        ("<prediction>x</prediction><action>look", "<prediction>x</prediction><action>look</action>", [], "x",
         ["action"]),
        (f"<prediction>x</prediction><prediction>y</prediction>{LOOK}", None, ["look"], "x", []),
        ("I go.</action>", None, [], None, ["action"]),
    ],
)  # fmt: skip
def test_all_readers_agree(reply, ended, actions, prediction, unpaired):
    [action] = actions if len(actions) == 1 else [None]
    parsed = parse_reply(reply, TAGS, actions)
    assert (parsed.action, parsed.problem is None, parsed.prediction) == (action, action is not None, prediction)
    assert end_reply(reply, TAGS) == (ended or reply)
    assert read_action(reply) == (action if find_sections(reply) else reply)  # without any, it is a bare action
    assert read_rationale(reply, TAGS, action or "").rejection == "tags"

    score = WorldModelScore()
    score.add(replace(step(), reply=Reply(reply)), "")
    assert score.missing == (prediction is None)
    assert replace_section(reply, "prediction", "z") == (
        reply if prediction is None else reply.replace(f"<prediction>{prediction}<", "<prediction>z<", 1)
    )

    facts = FileFacts()
    facts.add(TrainingRow("row 0", response=reply))
    assert facts.replies_with["action"] == (len(actions) == 1)
    assert sorted(facts.unpaired) == unpaired

    if actions:
        tokenizer = tiny_tokenizer()
        encoded = ChatEncoder(tokenizer).encode_pair("What now?", reply)
        kinds = groupby(zip(encoded.ids, encoded.kind, strict=True), key=lambda pair: pair[1])
        assert [tokenizer.decode([i for i, _ in run]) for kind, run in kinds if kind == TokenKind.ACTION] == actions
