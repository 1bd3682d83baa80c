"""Record what the reference says in a few real games: `python -m scripts.record_reference`.

Writes tests/data/reference_transcripts.jsonl.gz, which tests/world/test_reference_replay.py replays: three games of
each task type as they are, one of them in each of the other grammars too. Needs the reference environment
(scripts/make_reference_env.sh) and the real games; takes about two minutes.
"""

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.reference.client import Reference, why_no_reference
from tests.reference.facts import read_facts
from tests.reference.real import NO_REAL_GAMES, REAL_GAMES, game_files, game_id, sample
from tests.reference.transcripts import TRANSCRIPTS, Transcript, record, write_transcripts
from tests.reference.variants import Grammar, write_variant

GAMES_PER_TYPE = 3
STEPS = 40


def main() -> None:
    """Record every game chosen and write them in one file."""
    why = why_no_reference() or (None if game_files() else NO_REAL_GAMES)
    if why:
        sys.exit(why)
    with Reference() as reference, tempfile.TemporaryDirectory() as folder:
        transcripts = []
        for number, (path, grammar) in enumerate(chosen()):
            game = game_id(path, REAL_GAMES)
            facts = read_facts(path)
            variant = write_variant(path, grammar, Path(folder))
            turns = record(reference, variant, facts, seed=number, steps=STEPS, goal_first=number % 2 == 0)
            transcripts.append(Transcript(game, grammar, turns))
            print(f"{grammar} {game}", file=sys.stderr)
    write_transcripts(transcripts)
    print(f"{TRANSCRIPTS.name}: {len(transcripts)} games, {TRANSCRIPTS.stat().st_size / 1024:.0f} KiB")


def chosen() -> Iterator[tuple[Path, Grammar]]:
    """The games and the grammar each is played in."""
    for number, path in enumerate(sample(game_files(), GAMES_PER_TYPE)):
        yield path, "embedded"
        other: dict[int, Grammar] = {1: "logic", 2: "older"}
        if number % GAMES_PER_TYPE in other:
            yield path, other[number % GAMES_PER_TYPE]


if __name__ == "__main__":
    main()
