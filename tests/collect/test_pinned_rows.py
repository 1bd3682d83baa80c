"""The rows that `collect` writes for one seed stay the same from version to version: a hash for each template.

A change of a prompt's wording, of the expert or of the embedded games changes a hash on purpose, and says so in the
changelog. Anything else that changes one is a defect.
"""

import hashlib
import json

import pyarrow.parquet as pq
import pytest

from alfworld_sft.collect.config import CollectConfig
from alfworld_sft.collect.run import collect, start_run
from alfworld_sft.config import build_config

ROWS = {
    "default": "0ce0597271d177e2af0160a29815e5adf3f597c02f0781ce1c2ca139a4c282d3",
    "add_wm1": "29e7119d592f45cce4a3ce61338e65cc61fe4e84c44964a77f5987290f19de1d",
    "add_wm2": "1b675fee9d64cdc4e6b87bde54d1adb1435e6d96cbda413706dfd24163d85601",
    "compact": "bb6fe6c6cb8d21a668fce5bcad070821ce2c9588f9a9b6bd8fef71904c6962bd",
}
"""The SHA-256 of the rows of train and val, as JSON lines, by template."""


@pytest.mark.parametrize("template", ROWS)
def test_the_rows_of_a_seed_are_those_of_earlier_versions(template, tmp_path):
    overrides = [
        "games.source=embedded", "num_episodes=24", "seed=7", "policy.noise=0.2", f"prompt.template={template}",
    ]  # fmt: skip
    job = start_run(build_config(CollectConfig, overrides), tmp_path, name="run")
    with job.run:
        collect(job)
    rows = [row for split in ("train", "val") for row in pq.read_table(job.run.path / f"{split}.parquet").to_pylist()]
    written = "".join(json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n" for row in rows)
    assert hashlib.sha256(written.encode()).hexdigest() == ROWS[template]
