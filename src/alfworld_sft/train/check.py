"""What is wrong with a dataset, and what should be known about it, before anything heavy starts?

`check_dataset` reads every row as training would; without a tokenizer it needs neither torch nor transformers.
`token_spans` provides the content of the mask viewer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alfworld_sft.counts import counted, noun_for
from alfworld_sft.dataset.read import (
    Columns,
    TrainingRow,
    parse_row,
    place_of,
    read_records,
    unread_columns,
    wanted_columns,
)
from alfworld_sft.dataset.trajectories import TrajectoryKeys
from alfworld_sft.errors import DatasetError
from alfworld_sft.prompts.tags import find_sections, unpaired_tags
from alfworld_sft.terminal import printable

if TYPE_CHECKING:
    from alfworld_sft.train.data.options import SampleOptions
    from alfworld_sft.train.data.samples import LoadedSamples

MOST_PROBLEMS = 5
"""How many invalid rows of a file are reported individually."""
TAGS = ("think", "prediction", "observation", "action")


@dataclass
class FileFacts:
    """Facts about one file's rows. `splits` holds the split of each game, if the rows record it."""

    rows: int = 0
    episodes: set[tuple[str, ...]] = field(default_factory=set)
    games: set[str] = field(default_factory=set)
    won: int = 0
    untrained_turns: int = 0
    roles: Counter[str] = field(default_factory=Counter)
    replies_with: Counter[str] = field(default_factory=Counter)
    replies_without: Counter[str] = field(default_factory=Counter)
    unpaired: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    splits: dict[str, str] = field(default_factory=dict)
    duplicates: int = 0
    _seen: set[int] = field(default_factory=set, repr=False)
    _key_of: TrajectoryKeys = field(default_factory=TrajectoryKeys, repr=False)

    def add(self, row: TrainingRow) -> None:
        """Count a row."""
        self.rows += 1
        episode = self._key_of(row)
        if episode not in self.episodes:
            self.episodes.add(episode)
            self.won += bool(row.extra.get("success"))
        if row.game_id is not None:
            self.games.add(row.game_id)
            self.splits[row.game_id] = str(row.extra.get("split", ""))
        said = hash((row.messages, row.prompt, row.response))
        self.duplicates += said in self._seen
        self._seen.add(said)
        self.untrained_turns += len(row.untrained)
        self.roles.update(message.role for message in row.messages or row.prompt)
        reply = row.messages[-1].content if row.messages else row.response
        self.notes.update(row.notes)
        unpaired = unpaired_tags(reply)
        self.unpaired.update(unpaired)
        sections = Counter(section.tag for section in find_sections(reply) if section.closed)
        for tag in TAGS:
            self.replies_with[tag] += sections[tag] == 1
            # A section swallowed by an unclosed tag is not reported as missing as well.
            self.replies_without[tag] += sections[tag] != 1 and not unpaired


@dataclass
class Report:
    """The findings: `problems` stop training, `warnings` do not, and `facts` are (name, value) pairs for people.

    `files` holds the facts about the rows of train and val.
    """

    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    facts: list[tuple[str, str]] = field(default_factory=list)
    files: dict[str, FileFacts] = field(default_factory=dict)


def check_dataset(train_files: Sequence[Path], val_files: Sequence[Path], columns: Columns) -> Report:
    """Read all rows and report on schema, keys, roles and tags."""
    report = Report()
    found = report.files
    for name, files in (("train", train_files), ("val", val_files)):
        facts = found[name] = FileFacts()
        for file in files:
            _check_file(file, columns, f"data.{name}_files", facts, report)
        if files and not facts.rows and not report.problems:
            (report.problems if name == "train" else report.warnings).append(f"{name}: there are no rows")
        if facts.rows:
            report.facts.append((name, _describe(facts)))
            report.warnings += _find_odd_replies(name, facts)
    if not found["train"].games and found["train"].rows:
        report.warnings.append("rows do not say which game they come from (extra_info.game_id)")
    return report


def report_lengths(name: str, loaded: LoadedSamples, options: SampleOptions) -> Report:
    """Report the samples' lengths in tokens, and how many had to be cut or dropped."""
    report = Report()
    counts = loaded.report
    if counts.lengths:
        ordered = sorted(counts.lengths)
        quantiles = ", ".join(f"{_quantile(ordered, share)} at {share:.0%}" for share in (0.5, 0.9, 0.99))
        report.facts.append(
            (f"{name} tokens", f"{quantiles}, {ordered[-1]} at most (data.max_length={options.max_length})")
        )
        report.facts.append(
            (
                f"{name} samples",
                f"{counts.samples} of {counted(counts.rows, 'row')}: {counted(counts.tokens, 'token')},"
                f" {counts.trained_tokens} with loss",
            )
        )
    report.warnings += [f"{name}: {line}" for line in replace(counts, notes=Counter()).warnings(options)]
    return report


def token_spans(
    ids: Sequence[int], kinds: Sequence[int], weights: Sequence[float], tokenizer: Any
) -> Iterator[tuple[str, int, float]]:
    """Yield (text, kind, weight) for runs of tokens of equal kind and weight."""
    start = 0
    for end in range(1, len(ids) + 1):
        if end == len(ids) or (kinds[end], weights[end]) != (kinds[start], weights[start]):
            yield printable(tokenizer.decode(ids[start:end])), kinds[start], weights[start]
            start = end


def _check_file(file: Path, columns: Columns, option: str, facts: FileFacts, report: Report) -> None:
    wrong = 0
    try:
        for number, record in enumerate(read_records(file, wanted_columns(columns), option)):
            try:
                facts.add(parse_row(record, columns, place_of(file, number)))
            except DatasetError as error:
                wrong += 1
                if wrong <= MOST_PROBLEMS:
                    report.problems.append(str(error))
    except DatasetError as error:
        report.problems.append(str(error))
    else:
        if unread := unread_columns(file, wanted_columns(columns), option):
            report.warnings.append(f"{file}: not read: {', '.join(map(repr, unread))}")
    if wrong > MOST_PROBLEMS:
        report.problems.append(f"{file}: {counted(wrong - MOST_PROBLEMS, 'more row')} like these")


def _describe(facts: FileFacts) -> str:
    said = [counted(facts.rows, "row"), counted(len(facts.episodes), "episode")]
    if facts.games:
        said += [counted(len(facts.games), "game"), f"{counted(facts.won, 'episode')} won"]
    if facts.untrained_turns:
        said.append(f"{counted(facts.untrained_turns, 'untrained turn')} in their contexts")
    said.append("roles " + ", ".join(f"{role} {count}" for role, count in sorted(facts.roles.items())))
    tags = [f"<{tag}> {facts.replies_with[tag]}" for tag in TAGS if facts.replies_with[tag]]
    said.append("replies with " + ", ".join(tags) if tags else "replies without tags")
    return "; ".join(said)


def _find_odd_replies(name: str, facts: FileFacts) -> Iterator[str]:
    """Yield anomalies: a tag that most replies have and some lack, or one that is opened and not closed."""
    replies = counted(facts.rows, "reply", "replies")
    for tag in TAGS:
        without = facts.replies_without[tag]
        if facts.unpaired[tag]:
            yield f"{name}: <{tag}> and </{tag}> do not pair in {facts.unpaired[tag]} of {replies}"
        elif 0 < without < facts.rows / 2:
            lack = noun_for(without, "lacks", "lack")
            yield f"{name}: {without} of {replies} {lack} the one <{tag}>…</{tag}> that the others have"
    for note, count in facts.notes.items():
        yield f"{name}: {count} of {counted(facts.rows, 'row')}: {note}"


def _quantile(ordered: Sequence[int], share: float) -> int:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
