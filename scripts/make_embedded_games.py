"""Make the set of games that comes with the package.

    python scripts/make_embedded_games.py

The same version of the generator gives the same games; `zlib` decides the bytes of the compressed file.
"""

from __future__ import annotations

import argparse
import gzip
from pathlib import Path

from alfworld_sft.games.embedded import FILE, SIZES, embedded_content
from alfworld_sft.games.generator.generate import SPLITS, generate_games

SEED = 2026


def content() -> bytes:
    """Return the uncompressed content."""
    return embedded_content(
        {split: [made.blueprint for made in generate_games(SIZES[split], SEED, split=split)] for split in SPLITS}, SEED
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=FILE)
    options = parser.parse_args()
    options.out.write_bytes(gzip.compress(content(), compresslevel=9, mtime=0))
    print(f"{sum(SIZES.values())} games, {options.out.stat().st_size:,} bytes: {options.out}")


if __name__ == "__main__":
    main()
