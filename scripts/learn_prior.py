"""Count where things lie in the train games, and write the expert's `prior.json`.

    python scripts/learn_prior.py ../shared/alfworld_data/json_2.1.1/valid_train

The same games give the same bytes. `alfworld_sft.policies.expert.prior` says what the numbers mean.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path

from alfworld_sft.policies.expert.belief import class_of
from alfworld_sft.policies.expert.prior import FILE, SceneCounts
from alfworld_sft.world import Game, load_game


def count_game(game: Game, counts: dict[int, SceneCounts]) -> None:
    """Add one game's receptacles, and which classes of things each of them holds at the start."""
    if game.scene is None:
        return
    scene = counts.setdefault(game.scene, SceneCounts(Counter(), {}))
    holding: dict[str, Counter[str]] = dict(scene.holding)
    for place, contents in zip(game.receptacles, game.initial.contents, strict=True):
        place_class = class_of(place.name)
        scene.places[place_class] += 1
        for object_class in {class_of(game.objects[o].name) for o in contents}:
            holding.setdefault(object_class, Counter())[place_class] += 1
    counts[game.scene] = SceneCounts(scene.places, holding)


def learn(folder: Path, out: Path) -> Path:
    """Count all games below a folder and write the file; the same games give the same bytes."""
    counts: dict[int, SceneCounts] = {}
    for path in sorted(folder.rglob("game.tw-pddl")):
        count_game(load_game(path), counts)
    data = {
        str(scene): {
            "places": dict(sorted(found.places.items())),
            "holding": {name: dict(sorted(places.items())) for name, places in sorted(found.holding.items())},
        }
        for scene, found in sorted(counts.items())
    }
    lines = ",\n".join(f'"{scene}": {json.dumps(found, separators=(",", ":"))}' for scene, found in data.items())
    out.write_text("{\n" + lines + "\n}\n", encoding="utf-8", newline="\n")
    return out


def main() -> None:
    """Read the arguments; say what was written."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="a split's folder of train games")
    parser.add_argument("--out", type=Path, default=FILE)
    options = parser.parse_args()
    if not any(options.folder.rglob("game.tw-pddl")):
        parser.error(f"{options.folder} has no game.tw-pddl below it")
    out = learn(options.folder, options.out)
    print(f"{len(json.loads(out.read_text(encoding='utf-8')))} scenes, {out.stat().st_size:,} bytes: {out}")


if __name__ == "__main__":
    main()
