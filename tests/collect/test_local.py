"""Collection by a model in this process: a run that was killed goes on as it would have, but for rounding."""

import shutil

import pytest

pytest.importorskip("torch", reason="local models are an extra: pip install 'alfworld-sft[train]'")

from alfworld_sft.collect.run import resume_run
from alfworld_sft.train.tiny import TinyOptions, make_tiny_model
from tests.collecting import collected, episodes, play, rows, write_games


def test_a_killed_run_of_a_model_goes_on_with_the_same_replies(tmp_path):
    data = write_games(tmp_path / "data")
    texts = [message["content"] for row in rows(collected(tmp_path, data, name="words")) for message in row["messages"]]
    make_tiny_model(tmp_path / "tiny", texts, TinyOptions(width=64, layers=2, head_dim=32, kv_heads=1))
    calm = collected(
        tmp_path, data, "policy.name=local", f"policy.model={tmp_path / 'tiny'}", "policy.max_tokens=12",
        "policy.keep_token_ids=true", "policy.teacher=expert", "worldmodel.alternatives=2", "env.max_steps=5",
        "prompt.template=compact", "prompt.form=multi", "runner.concurrency=4", name="calm",
    )  # fmt: skip
    killed = tmp_path / "killed"
    shutil.copytree(calm, killed)
    journal = (killed / "episodes.jsonl").read_bytes().splitlines(keepends=True)
    (killed / "episodes.jsonl").write_bytes(b"".join(journal[:5]) + journal[5][:100])
    play(resume_run(killed))
    whole, again = (sorted(episodes(run), key=lambda episode: episode.index) for run in (calm, killed))
    assert len({step.reply.text for episode in whole for step in episode.steps}) > 20
    for before, after in zip(whole, again, strict=True):
        assert [step.reply.token_ids for step in after.steps] == [step.reply.token_ids for step in before.steps]
        for one, other in zip(before.steps, after.steps, strict=True):
            assert other.reply.logprobs == pytest.approx(one.reply.logprobs, abs=1e-5)
            assert (other.teacher, other.alternatives) == (one.teacher, one.alternatives)
    for name in ("train.parquet", "val.parquet", "train.csv", "val.csv"):
        assert (killed / name).read_bytes() == (calm / name).read_bytes()
