"""A real server of another make: `transformers serve` with a tiny model. It samples words without sense."""

import os
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager

import pytest

for module in ("openai", "torch", "peft", "uvicorn", "fastapi"):
    pytest.importorskip(module, reason=f"needs {module}: pip install -e '.[server,train]' 'transformers[serving]'")

from alfworld_sft.collect import collect, start_run
from alfworld_sft.config import CollectConfig, build_config
from alfworld_sft.errors import DatasetError, UserError
from alfworld_sft.store import RunFolder
from tests.collecting import write_games
from tests.fake_server import free_port
from tests.train.helpers_loop import write_model

START_S = 600.0


@contextmanager
def transformers_serve(folder, log):
    port = free_port()
    words = [sys.executable, "-m", "transformers.cli.transformers", "serve", str(folder), "--port", str(port)]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    with log.open("wb") as file, subprocess.Popen(words, stdout=file, stderr=file, env=environment) as process:
        try:
            deadline = time.monotonic() + START_S
            while not _answers(f"http://127.0.0.1:{port}/health"):
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.5)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()


def _answers(url):
    try:
        return urllib.request.urlopen(url, timeout=5).status == 200
    except OSError:
        return False


def test_a_model_served_by_transformers_plays(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "none-is-needed")
    model = write_model(tmp_path / "tiny")
    data = write_games(tmp_path / "data", 3)
    with transformers_serve(model, tmp_path / "serve.log") as url:
        words = [
            f"games.source={data}", "env.max_steps=2", "prompt.template=compact", "prompt.form=multi",
            "policy.name=server", f"policy.base_url={url}", "policy.max_tokens=8", "policy.truncated=keep",
            "policy.timeout_s=300",
        ]  # fmt: skip
        job = start_run(build_config(CollectConfig, [*words, f"policy.model={model}"]), tmp_path, name="run")
        with job.run, pytest.raises(DatasetError):  # it says nothing that a game can play
            collect(job)
        with RunFolder(tmp_path / "run") as run:
            episodes = list(run.episodes())
            assert run.failed == {}
        assert [len(episode.steps) for episode in episodes] == [2, 2, 2]
        replies = [step.reply for episode in episodes for step in episode.steps]
        assert all(reply.prompt_tokens > 10 and 0 < reply.reply_tokens <= 8 for reply in replies)
        stranger = start_run(build_config(CollectConfig, [*words, "policy.model=stranger"]), tmp_path, name="other")
        with stranger.run, pytest.raises(UserError, match="stranger"):
            collect(stranger)
