"""Does a run's journal stand up to a replay? Every episode of it is played again, in as many processes as are given."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from alfworld_sft.check.findings import Section
from alfworld_sft.check.replay import Difference, find_differences
from alfworld_sft.counts import counted, noun_for
from alfworld_sft.runs.journal import Journal, Line, read_episodes, read_journal
from alfworld_sft.runs.played_games import PlayedGames, load_game
from alfworld_sft.types import Episode

MOST_SHOWN = 5
"""How many differences of one kind are shown."""
CHUNK = 64
"""About how many episodes a process replays at a time."""

_SHOWN_CHARACTERS = 120


@dataclass
class Replayed:
    """What became of some episodes: how many differ, in what, and how many could not be replayed for want of a game.

    `examples` are lines for people, at most MOST_SHOWN of a kind. `repeats` counts episodes whose game and commands are
    those of an earlier one, `copies` those whose replies are, too.
    """

    episodes: int = 0
    won: int = 0
    steps: int = 0
    wrong: int = 0
    by_kind: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    unknown: Counter[str] = field(default_factory=Counter)
    splits: Counter[str] = field(default_factory=Counter)
    repeats: int = 0
    copies: int = 0

    def add(self, episode: Episode, differences: Sequence[Difference]) -> None:
        """Count a replayed episode."""
        self.episodes += 1
        self.steps += len(episode.steps)
        self.wrong += bool(differences)
        for difference in differences:
            self.by_kind[difference.about] += 1
            lines = self.examples.setdefault(difference.about, [])
            if len(lines) < MOST_SHOWN:
                lines.append(in_words(episode, difference))

    def merge(self, other: Replayed) -> None:
        """Add what another process counted."""
        for name in ("episodes", "won", "steps", "wrong", "repeats", "copies"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("by_kind", "unknown", "splits"):
            getattr(self, name).update(getattr(other, name))
        for kind, lines in other.examples.items():
            mine = self.examples.setdefault(kind, [])
            mine += lines[: MOST_SHOWN - len(mine)]


def in_words(episode: Episode, difference: Difference) -> str:
    """Return a difference as one line."""
    about, turn, recorded, real = difference
    where = "" if turn is None else f", turn {turn}"
    place = f"episode {episode.index} ({episode.game_id}){where}"
    if about == "admissible_commands" and isinstance(recorded, tuple) and isinstance(real, tuple):
        missing, extra = sorted(set(real) - set(recorded)), sorted(map(str, set(recorded) - set(real)))
        return f"{place}: {about}: missing {_short(missing)}, not in the game {_short(extra)}"
    return f"{place}: {about} is {_short(recorded)}, in the game {_short(real)}"


def replay_journal(path: Path, games: PlayedGames, jobs: int) -> tuple[Journal, Replayed]:
    """Replay all episodes of a journal; raises RunFolderError where a line of it is none."""
    journal = read_journal(path)
    chunks = list(_chunks(journal))
    total = Replayed()
    if jobs == 1 or len(chunks) < 2:
        for chunk in chunks:
            total.merge(_replay(path, chunk, games))
        return journal, total
    with ProcessPoolExecutor(min(jobs, len(chunks)), initializer=_start, initargs=(path, games)) as pool:
        for part in pool.map(_replay_here, chunks):
            total.merge(part)
    return journal, total


def _chunks(journal: Journal) -> Iterator[list[list[Line]]]:
    """Divide a journal for the processes; the episodes of a game stay together, so that it is read once."""
    chunk: list[list[Line]] = []
    for lines in journal.by_game.values():
        chunk.append(lines)
        if sum(map(len, chunk)) >= CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


_work: tuple[Path, PlayedGames] | None = None
"""What a process of the pool replays, set when it starts: it would else be sent with every chunk."""


def _start(path: Path, games: PlayedGames) -> None:
    global _work  # noqa: PLW0603
    _work = path, games


def _replay_here(chunk: list[list[Line]]) -> Replayed:
    if _work is None:
        raise RuntimeError("the process was not started by replay_journal")
    path, games = _work
    return _replay(path, chunk, games)


def _replay(path: Path, chunk: list[list[Line]], games: PlayedGames) -> Replayed:
    replayed = Replayed()
    for lines in chunk:
        episodes = read_episodes(path, lines)
        first = next(episodes)
        game = load_game(games.ref(first.game_id, first.split, first.index))
        played: set[int] = set()
        said: set[int] = set()
        for episode in (first, *episodes):
            replayed.won += episode.success is True
            replayed.splits[str(episode.split)] += 1
            if game is None:
                replayed.unknown[episode.game_id] += 1
            else:
                replayed.add(episode, find_differences(episode, game))
            _count_duplicates(episode, played, said, replayed)
    return replayed


def _count_duplicates(episode: Episode, played: set[int], said: set[int], replayed: Replayed) -> None:
    commands = hash(tuple(str(step.command) for step in episode.steps))
    replies = hash((commands, *(str(step.reply.text) for step in episode.steps)))
    replayed.repeats += commands in played
    replayed.copies += replies in said
    played.add(commands)
    said.add(replies)


def report_replay(journal: Journal, replayed: Replayed) -> Section:
    """Return what a replay found, for people and programs."""
    section = Section("replay")
    total = len(journal)
    section.figures = {
        "episodes": total,
        "replayed": replayed.episodes,
        "steps": replayed.steps,
        "won": replayed.won,
        "wrong": replayed.wrong,
        "differences": dict(sorted(replayed.by_kind.items())),
        "unknown_games": len(replayed.unknown),
        "failed": len(journal.failed),
        "repeats": replayed.repeats,
        "copies": replayed.copies,
    }
    if not total:
        section.fault("episodes", f"{journal.path}: it holds no played episode")
        return section
    section.fact(
        "episodes",
        f"{counted(replayed.episodes, 'episode')} of {total} replayed, {counted(replayed.steps, 'step')};"
        f" {replayed.won} won; {counted(len(journal.by_game), 'game')}",
    )
    if replayed.unknown:
        section.fault("unknown_games", _unknown(replayed))
    for kind, number in replayed.by_kind.items():
        for line in replayed.examples[kind]:
            section.fault(kind, line)
        if more := number - len(replayed.examples[kind]):
            section.fault(kind, f"{kind}: {counted(more, 'more episode')} like these")
    _report_duplicates(section, replayed)
    if journal.failed:
        are = noun_for(len(journal.failed), "is", "are")
        section.warn("failed", f"{counted(len(journal.failed), 'episode')} failed and {are} owed; resume the run")
    if journal.torn:
        section.warn("torn", "the journal's last line is cut off; its episode counts as not played")
    return section


def _report_duplicates(section: Section, replayed: Replayed) -> None:
    copies, others = replayed.copies, replayed.repeats - replayed.copies
    if copies:
        are = noun_for(copies, "is a copy", "are copies")
        section.warn("copies", f"{counted(copies, 'episode')} {are} of an earlier one: same game, same replies")
    if others:
        repeat = noun_for(others, "repeats", "repeat")
        section.fact("repeats", f"{counted(others, 'episode')} {repeat} an earlier one's commands in other words")


def _unknown(replayed: Replayed) -> str:
    episodes, example = sum(replayed.unknown.values()), next(iter(replayed.unknown))
    return (
        f"{counted(episodes, 'episode')} of {counted(len(replayed.unknown), 'game')} cannot be replayed: there is no"
        f" game {example!r} at hand; name the folder that holds it with --source"
    )


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[: _SHOWN_CHARACTERS - 1]}…"
