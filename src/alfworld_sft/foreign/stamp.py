"""What do `run.json` and the dataset card of an import say? The files, and what was made of their records."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from alfworld_sft.collect.run import CARD
from alfworld_sft.counts import counted
from alfworld_sft.dataset.build import Summary
from alfworld_sft.dataset.card import card_header, success_by_type
from alfworld_sft.dataset.write import DATA_FILES
from alfworld_sft.errors import file_errors
from alfworld_sft.files import sha256_of, whole_file
from alfworld_sft.foreign.config import ImportConfig
from alfworld_sft.foreign.episodes import IMPORTED
from alfworld_sft.foreign.read import Format
from alfworld_sft.foreign.tally import Tally
from alfworld_sft.games.layout import plain_text
from alfworld_sft.games.listed import ListedGames
from alfworld_sft.games.refs import hash_of
from alfworld_sft.prompts.template import Template
from alfworld_sft.runs.run_json import hash_template, now_in_utc, versions
from alfworld_sft.runs.store import IMPORT, RunFolder

_CARD = """\
# Imported ALFWorld episodes for supervised fine-tuning

{imported} of {records} from {files} (format `{format}`). {replayed} replayed in {num_games} of the split `{split}`
(hash `{games_sha256}`), {won} won; {kept} kept, which give {rows_train} for training and {rows_val} for validation.
No game is in both. Made with alfworld-sft {version}; `run.json` has the full protocol. The license is that of the
source.

{form}

| task type | won | played |
|---|---|---|
{by_type}

| column | content |
|---|---|
| `messages` | the conversation up to and including this turn, for multi-turn training |
| `prompt_data`, `response_data` | {single_form}, and the reply, for single-turn training |
| `data_source`, `ability`, `reward_model` | what reinforcement-learning trainers expect |
| `extra_info` | JSON: game, split, task type, episode, turn, success, untrained turns |

`raw_trajectories.json` has every episode in full; `episodes.jsonl` has the replays.
"""


def stamp_of(files: Sequence[Path], kind: Format, config: ImportConfig, template: Template | None) -> dict[str, Any]:
    """Return the stamp with which an import begins; raises UserError for a file that cannot be read."""
    named = []
    for file in files:
        with file_errors("read", file, "name a file that can be read"):
            named.append({"name": plain_text(file.name), "sha256": sha256_of(file)})
    return {
        "kind": IMPORT,
        "status": "running",
        "started": now_in_utc(),
        "versions": versions(),
        "config": config.model_dump(),
        "files": named,
        "format": kind,
        "policy": IMPORTED,
        "sampling": None,
        "protocol": {
            "split": config.games.split,
            "max_steps": None,
            "max_repeats": None,
            "form": "multi",
            "history_length": config.prompt.history_length,
            "template": template.name if template else None,
            "template_sha256": hash_template(template) if template else None,
            "seed": config.seed,
        },
    }


def finish(run: RunFolder, games: ListedGames, played: Collection[str], summary: Summary, tally: Tally) -> None:
    """Write the card, and the stamp that marks the import as complete."""
    config, split = run.stamp["config"], run.stamp["config"]["games"]["split"]
    refs = sorted(ref for game_id in played for ref in games.by_id[game_id] if ref.split == split)
    stamp = {
        **run.stamp,
        "status": "complete",
        "finished": now_in_utc(),
        "num_episodes": tally.imported,
        "games": {
            "description": f"{counted(len(refs), 'game')} of {split} in {config['games']['source']}",
            "split": split,
            "count": len(refs),
            "sha256": hash_of(refs),
            "skipped": {},
            "eval_split_allowed": config["games"]["allow_eval_split"],
        },
        "imported": tally.as_dict(),
        "counts": summary.as_dict(),
        "sha256": {name: sha256_of(run.path / name) for name in DATA_FILES},
    }
    with whole_file(run.path / CARD) as file:
        file.write(_card(stamp).encode())
    run.write_stamp(stamp)


def _card(stamp: dict[str, Any]) -> str:
    counts, games, tally, template = stamp["counts"], stamp["games"], stamp["imported"], stamp["protocol"]["template"]
    return card_header(counts) + _CARD.format(
        imported=counted(tally["imported"], "episode"),
        records=counted(tally["records"], "record"),
        files=", ".join(f"`{file['name']}`" for file in stamp["files"]),
        format=stamp["format"],
        replayed=tally["replayed"],
        num_games=counted(games["count"], "game"),
        split=games["split"],
        games_sha256=games["sha256"][:16],
        rows_train=counted(counts["rows_train"], "row"),
        version=stamp["versions"]["alfworld-sft"],
        form=f"Prompts and replies are written by the template `{template}`." if template else _AS_RECORDED,
        single_form="this turn's prompt with its history" if template else "all that was said before, as one text",
        by_type=success_by_type(counts),
        **{key: counts[key] for key in ("won", "kept", "rows_val")},
    )


_AS_RECORDED = "The conversations are as they were recorded; observations in `episodes.jsonl` are the games' own."
