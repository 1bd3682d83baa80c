"""Which games are where they should not be? Games in both splits, evaluation games in training data, copied rows."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from alfworld_sft.check.findings import Section
from alfworld_sft.counts import counted, noun_for
from alfworld_sft.games.layout import EVAL_SPLITS
from alfworld_sft.train.check import FileFacts


def report_overlaps(files: Mapping[str, FileFacts], evaluation_games: Collection[str], *, allowed: bool) -> Section:
    """Return what the games of train and val have in common with each other and with the evaluation's.

    A game is the evaluation's where its rows say so, or where it lies in such a split. `allowed`: it was collected
    deliberately.
    """
    section = Section("games")
    train, val = files.get("train", FileFacts()), files.get("val", FileFacts())
    both = sorted(train.games & val.games)
    shared = sorted(
        game
        for game in train.games | val.games
        if game in evaluation_games or (train.splits | val.splits).get(game) in EVAL_SPLITS
    )
    section.figures = {
        "train": len(train.games), "val": len(val.games), "in_both": len(both), "evaluation": len(shared),
        "duplicates": {name: facts.duplicates for name, facts in files.items()},
    }  # fmt: skip
    section.fact("games", f"{counted(len(train.games), 'game')} in train, {len(val.games)} in val")
    if both:
        section.fault("in_both", f"{_are(both)} both in train and val: the validation loss will be too optimistic;"
                      " split by game, as 'alfworld-sft collect' does")  # fmt: skip
    if shared:
        say = section.warn if allowed else section.fault
        why = " (the run allowed it)" if allowed else "; leave them out, or results on those splits mean nothing"
        say("evaluation", f"{_are(shared)} of an evaluation split{why}")
    for name, facts in files.items():
        if facts.duplicates:
            verb = noun_for(facts.duplicates, "says", "say")
            section.fact("duplicates", f"{name}: {counted(facts.duplicates, 'row')} {verb} what an earlier row does")
    return section


def _are(games: Iterable[str]) -> str:
    listed = list(games)
    examples = f"{listed[0]}, …" if len(listed) > 1 else listed[0]
    return f"{counted(len(listed), 'game')} ({examples}) {noun_for(len(listed), 'is', 'are')}"
