"""What was imported trains: one step in either form, on the conversations as recorded and on rewritten ones."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")

from alfworld_sft.config import build_config
from alfworld_sft.foreign.build import import_foreign
from alfworld_sft.foreign.config import ImportConfig
from alfworld_sft.games import find_games
from alfworld_sft.train.tiny import TinyOptions, make_tiny_model, texts_of_files
from tests.collecting import write_games
from tests.foreign.records import record
from tests.foreign.test_build import write
from tests.train.helpers_loop import losses, options, run


@pytest.mark.parametrize("words", [(), ("prompt.template=default",)])
def test_one_step_in_either_form(tmp_path: Path, words: tuple[str, ...]) -> None:
    data = write_games(tmp_path / "games", 3)
    told = [record(ref.load(), "eto") for ref in find_games(data, "train")]
    config = build_config(ImportConfig, [f"games.source={data}", "dataset.val_fraction=0.3", *words])
    import_foreign([write(tmp_path, told)], "eto", config, tmp_path / "out")
    make_tiny_model(
        tmp_path / "model", texts_of_files([tmp_path / "out"]), TinyOptions(width=32, layers=1, head_dim=16)
    )
    for multi in ("true", "false"):
        more = (f"data.multiturn.enable={multi}", "data.max_length=2048", "trainer.total_training_steps=1")
        run(options(tmp_path / "out", tmp_path / "model", tmp_path / multi, *more))
        assert [step for step, _, _ in losses(tmp_path / multi)] == [1]
