"""How much of another project's data is true? Its episodes are played again in the games that they seem to be of."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from alfworld_sft.check.findings import Section
from alfworld_sft.counts import counted, noun_for
from alfworld_sft.foreign.read import ForeignEpisode, Format, read_foreign
from alfworld_sft.foreign.replay import ForeignReplay, find_replay, is_its_game
from alfworld_sft.games.finder import GameFinder
from alfworld_sft.games.listed import ListedGames

MOST_SHOWN = 5
NOT_ITS_GAME = ", so `import` takes it for one of a game that is not at hand"


@dataclass
class ForeignTally:
    """What became of a file's records."""

    records: int = 0
    unread: Counter[str] = field(default_factory=Counter)
    unread_examples: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    unknown_count: int = 0
    replays: int = 0
    won: int = 0
    claimed_and_lost: int = 0
    actions: int = 0
    invalid: int = 0
    reworded: int = 0
    missing: int = 0
    answers: int = 0
    different: int = 0
    differing: list[str] = field(default_factory=list)
    evaluation: set[str] = field(default_factory=set)

    def add(self, episode: ForeignEpisode, replay: ForeignReplay) -> None:
        """Count a replayed episode."""
        self.replays += 1
        self.won += replay.won
        self.claimed_and_lost += episode.success is True and not replay.won
        for name in ("actions", "invalid", "reworded", "missing", "answers", "different"):
            setattr(self, name, getattr(self, name) + getattr(replay, name))
        if replay.different and len(self.differing) < MOST_SHOWN:
            self.differing.append(
                f"{episode.place}: {replay.different} of {counted(replay.answers, 'answer')} differ from"
                f" the game {replay.game_id}{'' if is_its_game(episode, replay) else NOT_ITS_GAME}"
            )


def check_foreign(file: Path, kind: Format, games: ListedGames) -> ForeignTally:
    """Replay what can be; of games that begin alike the one that fits best counts."""
    finder = GameFinder(games.refs)
    evaluation = games.evaluation_games
    tally = ForeignTally()
    for episode in read_foreign(file, kind):
        tally.records += 1
        if isinstance(episode, str):
            tally.unread[episode.partition(": ")[2]] += 1
            tally.unread_examples = [*tally.unread_examples, episode][:MOST_SHOWN]
            continue
        found = find_replay(episode, finder)
        if found is None:
            tally.unknown_count += 1
            tally.unknown = [*tally.unknown, f"{episode.place}: {episode.task!r}"][:MOST_SHOWN]
            continue
        _, best = found
        tally.add(episode, best)
        if best.game_id in evaluation:
            tally.evaluation.add(best.game_id)
    return tally


def report_foreign(file: Path, kind: Format, games: ListedGames) -> Section:
    """Return what a replay of another project's data found, for people and programs."""
    tally = check_foreign(file, kind, games)
    section = Section(kind)
    section.figures = {
        "records": tally.records,
        "not_read": sum(tally.unread.values()),
        "game_not_found": tally.unknown_count,
        "replayed": tally.replays,
        "won": tally.won,
        "claimed_and_lost": tally.claimed_and_lost,
        "actions": tally.actions,
        "invalid_actions": tally.invalid,
        "reworded_actions": tally.reworded,
        "turns_without_action": tally.missing,
        "answers": tally.answers,
        "answers_differing": tally.different,
        "evaluation_games": sorted(tally.evaluation),
    }
    section.fact(
        "replayed",
        f"{tally.replays} of {counted(tally.records, 'record')} replayed; {tally.won} really won;"
        f" {tally.invalid} of {counted(tally.actions, 'action')} invalid",
    )
    _report_unread(section, tally)
    _report_differences(section, tally)
    return section


def _report_unread(section: Section, tally: ForeignTally) -> None:
    if not tally.replays:
        section.fault("replayed", "nothing could be replayed; name the folder that holds the games with --source")
    for line in tally.unread_examples:
        section.warn("not_read", line)
    if (more := sum(tally.unread.values()) - len(tally.unread_examples)) > 0:
        section.warn("not_read", f"{counted(more, 'more record')} not read")
    if tally.unknown_count:
        section.warn(
            "game_not_found",
            f"{counted(tally.unknown_count, 'record')} of games that are not at hand (the first: {tally.unknown[0]});"
            " name the folder that holds them with --source",
        )


def _report_differences(section: Section, tally: ForeignTally) -> None:
    lost, unearned = tally.replays - tally.won, tally.claimed_and_lost
    if unearned:
        are = noun_for(unearned, "is", "are")
        section.fault("claimed_and_lost", f"{counted(unearned, 'episode')} {are} marked as won, and lost when replayed")
    if lost > unearned:
        are = noun_for(lost - unearned, "is", "are")
        section.warn("lost", f"{counted(lost - unearned, 'episode')} {are} not won when replayed")
    if tally.reworded:
        section.warn(
            "reworded",
            f"{counted(tally.reworded, 'action')} {noun_for(tally.reworded, 'is', 'are')} in other words than the"
            " games', such as the other version's for putting things down, and these games refuse them",
        )
    if tally.missing:
        section.warn("turns_without_action", f"{counted(tally.missing, 'reply', 'replies')} without an action")
    for line in tally.differing:
        section.fault("answers_differing", line)
    if tally.evaluation:
        first = min(tally.evaluation)
        section.fault(
            "evaluation",
            f"{counted(len(tally.evaluation), 'game')} of an evaluation split ({first}, …) in training data;"
            " leave them out, or results on those splits mean nothing",
        )
