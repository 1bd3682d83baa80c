"""A run's folder is data: what a stored run starts, contacts or loads must be named, unless the user began it."""

import json
import shutil
import sys

import pytest

from alfworld_sft.collect.run import resume_run
from alfworld_sft.errors import RunFolderError, TemplateError
from alfworld_sft.evaluate.config import EvaluateConfig
from alfworld_sft.runs.trust import Allowed
from tests.collecting import play, server_words, stamp_of, start, write_games
from tests.fake_server import KEY, fails, says, serving
from tests.policies.llm.program import serve_words
from tests.test_cli import command

pytestmark = pytest.mark.usefixtures("openai_key")


@pytest.fixture
def data(tmp_path):
    return write_games(tmp_path / "data", 2)


def stored(data, parent, *overrides):
    """Return the folder of a run of the expert that this user has begun and finished."""
    job = start(parent, f"games.source={data}", "env.max_steps=2", *overrides)
    play(job)
    return job.run.path


def downloaded(data, parent, policy="expert", **changes):
    """Return a stored run as another user's: its stamp says other things than what was begun here, and all is owed."""
    path = stored(data, parent)
    stamp = stamp_of(path)
    for key, value in changes.items():
        section, name = key.split("__")
        stamp["config"][section][name] = value
    stamp["policy"] = policy
    (path / "run.json").write_text(json.dumps(stamp))
    (path / "episodes.jsonl").write_bytes(b"")
    return path


def refusal(*words):
    done = command(*map(str, words))
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    return line


def serve_that_leaves_a_mark(mark):
    return f"{sys.executable} -c \"open('{mark}','w')\" {{port}}"


@pytest.mark.parametrize("kind", ["collect", "evaluate"])
def test_a_downloaded_run_s_serve_command_is_not_executed(data, tmp_path, kind):
    mark = tmp_path / "mark"
    serve = serve_that_leaves_a_mark(mark)
    run = downloaded(data, tmp_path, policy__name="server", policy__model="tiny", policy__serve=serve)
    if kind == "evaluate":
        stamp = stamp_of(run)
        known = EvaluateConfig().model_dump(mode="json")
        stamp["config"] = {
            section: {key: value for key, value in keys.items() if key in known[section]}
            for section, keys in stamp["config"].items()
            if isinstance(known.get(section), dict)
        }
        (run / "run.json").write_text(json.dumps(stamp | {"kind": "evaluate"}))
    line = refusal(kind, "--resume", run)
    assert line.startswith(
        f"error: {run}: no record here says that you started this run, and it would start policy.serve"
    )
    assert serve in line
    assert "load policy.model=tiny" in line
    assert line.endswith("or add --trust")
    assert not mark.exists()


def test_the_key_is_not_sent_to_a_downloaded_run_s_server(data, tmp_path):
    with serving([says()]) as fake:
        run = downloaded(
            data, tmp_path, "server:tiny", policy__name="server", policy__model="tiny", policy__base_url=fake.url
        )
        line = refusal("collect", "--resume", run)
        assert f"would send OPENAI_API_KEY and its prompts to policy.base_url={fake.url}" in line
        assert f"name it again (alfworld-sft collect --resume {run} policy.base_url={fake.url}) or add --trust" in line
        assert fake.requests == []
        done = command("collect", "--resume", str(run), f"policy.base_url={fake.url}")
        assert done.returncode == 0, done.stderr
        assert set(fake.keys) == {f"Bearer {KEY}"}


def test_trust_lets_a_downloaded_run_do_what_it_names_and_is_remembered(data, tmp_path):
    with serving([says()]) as fake:
        run = downloaded(
            data, tmp_path, "server:tiny", policy__name="server", policy__model="tiny", policy__base_url=fake.url
        )
        done = command("collect", "--resume", str(run), "--trust")
        assert done.returncode == 0, done.stderr
        assert len(fake.requests) > 0
        assert command("collect", "--resume", str(run)).returncode == 0


def test_a_server_on_this_machine_that_is_sent_no_key_needs_no_naming(data, tmp_path, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    with serving([says()]) as fake:
        run = downloaded(
            data, tmp_path, "server:tiny", policy__name="server", policy__model="tiny", policy__base_url=fake.url
        )
        with resume_run(run).run:
            pass


@pytest.mark.parametrize("url", ["http://models.example/v1", "http://127.0.0.1.example/v1", "http://0.0.0.0:1/v1"])
def test_a_server_elsewhere_needs_naming_without_a_key_too(data, tmp_path, monkeypatch, url):
    monkeypatch.delenv("OPENAI_API_KEY")
    run = downloaded(data, tmp_path, policy__name="server", policy__model="tiny", policy__base_url=url)
    with pytest.raises(RunFolderError, match=f"it would send its prompts to policy.base_url={url};"):
        resume_run(run)


def test_a_downloaded_run_s_template_is_not_read_unless_it_is_named(data, tmp_path):
    own = tmp_path / "own.toml"
    own.write_text("no template at all")
    run = downloaded(data, tmp_path, prompt__template=str(own))
    with pytest.raises(RunFolderError, match=f"it would load prompt.template={own}; to allow that"):
        resume_run(run)
    with pytest.raises(TemplateError, match="is not TOML"):
        resume_run(run, Allowed({"prompt.template": str(own)}))


@pytest.mark.parametrize("model", ["someone/model", "/models/someone"])
def test_a_downloaded_run_s_model_is_not_loaded_unless_it_is_named(data, tmp_path, model):
    run = downloaded(data, tmp_path, policy__name="local", policy__model=model)
    with pytest.raises(RunFolderError, match=f"it would load policy.model={model};"):
        resume_run(run)


def test_one_s_own_run_with_a_server_resumes_without_a_word_also_from_another_place(data, tmp_path):
    with serving([says(), fails(500)]) as fake:
        start(tmp_path, *server_words(data, fake, "env.max_steps=2")).run.close()
        moved = shutil.move(tmp_path / "run", tmp_path / "moved")
        with resume_run(moved).run:
            pass


def test_one_s_own_run_is_not_known_any_more_once_its_config_was_edited(data, tmp_path):
    with serving([says()]) as fake:
        job = start(tmp_path, *server_words(data, fake))
        job.run.close()
        file = job.run.path / "run.json"
        file.write_text(file.read_text().replace("127.0.0.1", "evil.example"))
        with pytest.raises(
            RunFolderError, match=r"would send OPENAI_API_KEY .* to policy\.base_url=http://evil\.example"
        ):
            resume_run(job.run.path)


def test_one_s_own_managed_server_is_started_again_without_a_word(data, tmp_path):
    serve = serve_words()
    words = [
        f"games.source={data}",
        "env.max_steps=2",
        "policy.name=server",
        "policy.model=tiny",
        f"policy.serve={serve}",
    ]
    start(tmp_path, *words).run.close()
    done = command("collect", "--resume", str(tmp_path / "run"), TMPDIR=str(tmp_path))
    assert done.returncode == 0, done.stderr


def test_a_server_that_moved_is_named_at_resume_and_kept(data, tmp_path):
    with serving([says()]) as fake:
        run = downloaded(
            data, tmp_path, "server:tiny", policy__name="server", policy__model="tiny",
            policy__base_url="http://gone.example/v1",
        )  # fmt: skip
        done = command("collect", "--resume", str(run), f"policy.base_url={fake.url}")
        assert done.returncode == 0, done.stderr
        assert stamp_of(run)["config"]["policy"]["base_url"] == fake.url


@pytest.mark.parametrize("text", ["", " "])
def test_a_value_that_is_missing_at_resume_is_refused(data, tmp_path, text):
    line = refusal("collect", "--resume", stored(data, tmp_path), f"games.source={text}")
    assert line == "error: games.source=: no value is given; give one, or null for none, or leave the key out"


def test_games_that_moved_are_named_at_resume(data, tmp_path):
    run = stored(data, tmp_path)
    shutil.move(data, tmp_path / "moved")
    done = command("collect", "--resume", str(run), f"games.source={tmp_path / 'moved'}")
    assert done.returncode == 0, done.stderr


def test_another_model_than_the_run_s_is_refused_at_resume(data, tmp_path):
    with serving([says()]) as fake:
        run = downloaded(
            data, tmp_path, "server:tiny", policy__name="server", policy__model="tiny", policy__base_url=fake.url
        )
        line = refusal("collect", "--resume", run, "--trust", "policy.model=huge")
        assert line == f"error: {run} was played by server:tiny, not server:huge; start a new run"
        assert fake.requests == []


def test_a_refusal_shows_no_control_characters_of_a_stamp(data, tmp_path):
    run = downloaded(
        data, tmp_path, policy__name="server", policy__model="tiny", policy__base_url="http://a.example/\x1b[2J\n"
    )
    line = refusal("collect", "--resume", run)
    assert "\x1b" not in line
    assert line.endswith("to allow that, add --trust")


def test_a_stamp_s_command_is_not_repeated_as_advice(data, tmp_path):
    run = downloaded(data, tmp_path)
    stamp = stamp_of(run)
    (run / "run.json").write_text(json.dumps(stamp | {"kind": "collect; rm -rf x #"}))
    assert refusal("collect", "--resume", run) == f"error: {run}: its run.json names no command whose run it is"


def test_trust_without_a_run_to_resume_is_refused(tmp_path):
    for kind in ("collect", "evaluate"):
        assert refusal(kind, "--trust") == "error: --trust goes with --resume only"


def test_a_state_directory_that_cannot_be_written_is_told(data, tmp_path, monkeypatch, caplog):
    (tmp_path / "file").touch()
    monkeypatch.setenv("ALFWORLD_SFT_STATE_DIR", str(tmp_path / "file"))
    own = tmp_path / "own.toml"
    own.write_text('extends = "default"\n')
    stored(data, tmp_path, f"prompt.template={own}")
    assert f"{tmp_path / 'file' / 'runs'} cannot be written (Not a directory)" in caplog.text
    assert "resuming this run will need --trust" in caplog.text
