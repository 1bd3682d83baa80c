"""How much of another project's data is true? Its episodes are played again in the games that they seem to be of.

The wording follows the game, not the data: a `put x in/on y` of before November 2024 is played as `move x to y` in a
game that says so, and counted, since a model trained on it would say what those games do not understand. For the same
reason answers are compared by what they tell, not by the version's words: an arrival counts by what is seen there.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from alfworld_sft.check.finder import GameFinder
from alfworld_sft.check.findings import Section
from alfworld_sft.check.lookup import ListedGames
from alfworld_sft.counts import counted, noun_for
from alfworld_sft.dataset.foreign import ForeignEpisode, Format, read_foreign
from alfworld_sft.world import Env, Game
from alfworld_sft.world.language import ARRIVED, NOTHING_HAPPENS, PUT, PUT_DOWN, read_command, read_sentence

MOST_SHOWN = 5
MOST_TRIALS = 64
"""How many games that begin alike are tried for one episode."""


@dataclass(frozen=True, slots=True)
class ForeignReplay:
    """An episode replayed in one game. `reworded` actions are in the other version's words; `answers` were compared,
    of which `different` tell something else than the game."""

    game_id: str
    won: bool
    actions: int
    invalid: int
    reworded: int
    answers: int
    different: int
    missing: int

    @property
    def agreement(self) -> tuple[int, int]:
        """How well the game fits: more answers as recorded, fewer invalid actions."""
        return self.answers - self.different, -self.invalid


def replay_foreign(episode: ForeignEpisode, game: Game) -> ForeignReplay:
    """Play an episode's actions in a game; after the game is won the rest is not played."""
    env = Env(game, max_steps=len(episode.turns) + 1)
    now = env.reset()
    invalid = reworded = answers = different = missing = actions = 0
    for turn in episode.turns:
        if now.won:
            break
        if turn.action is None:
            missing += 1
            continue
        actions += 1
        said = " ".join(turn.action.lower().split())
        command = in_words_of(game, said)
        playable = command in now.admissible_commands
        reworded += playable and command != said
        invalid += not playable
        now = env.step(command)
        if turn.answer is not None:
            answers += 1
            different += told_by(turn.answer) != told_by(now.text)
    return ForeignReplay(game.id, now.won, actions, invalid, reworded, answers, different, missing)


def in_words_of(game: Game, command: str) -> str:
    """Return a command in the wording of the game's version; any other text as it is."""
    said = read_command(command)
    return PUT[game.grammar].format(*said.names) if said and said.command.verb == "put" else command


def told_by(answer: str) -> str:
    """Return what an answer tells, the same for both versions: an arrival by what is seen, a thing put down by where.

    Data sets leave out the arrival itself.
    """
    text = " ".join(answer.split())
    said = read_sentence(text)
    if said and said.sentence is ARRIVED:
        return said.values[1]
    if said and said.sentence in PUT_DOWN.values():
        return PUT_DOWN["move"].format(*said.values)
    return NOTHING_HAPPENS if text.rstrip(".").lower() in ("nothing happens", "nothing happened") else text


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
                f" the game {replay.game_id}"
            )


def check_foreign(file: Path, kind: Format, games: ListedGames) -> ForeignTally:
    """Replay what can be; of games that begin alike the one that fits best counts."""
    finder = GameFinder(ref for refs in games.by_id.values() for ref in refs)
    evaluation = games.evaluation_games
    tally = ForeignTally()
    for episode in read_foreign(file, kind):
        tally.records += 1
        if isinstance(episode, str):
            tally.unread[episode.partition(": ")[2]] += 1
            tally.unread_examples = [*tally.unread_examples, episode][:MOST_SHOWN]
            continue
        best = find_replay(episode, finder)
        if best is None:
            tally.unknown_count += 1
            tally.unknown = [*tally.unknown, f"{episode.place}: {episode.task!r}"][:MOST_SHOWN]
            continue
        tally.add(episode, best)
        if best.game_id in evaluation:
            tally.evaluation.add(best.game_id)
    return tally


def find_replay(episode: ForeignEpisode, finder: GameFinder) -> ForeignReplay | None:
    """Return the replay in the game that fits best, None where no game begins like this."""
    best: ForeignReplay | None = None
    for number, game in enumerate(finder.find(episode.task, episode.opening, episode.game)):
        if number == MOST_TRIALS:
            break
        replay = replay_foreign(episode, game)
        if best is None or replay.agreement > best.agreement:
            best = replay
        if not replay.different and not replay.invalid and replay.answers:
            break
    return best


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
            f"{counted(tally.reworded, 'action')} {noun_for(tally.reworded, 'is', 'are')} in the other version's words"
            " for putting things down, which these games refuse",
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
