"""Collection with a language model behind a server: from the first request to the dataset."""

import json
import subprocess
import sys
import threading

import pytest

from alfworld_sft.collect.run import collect, resume_run
from alfworld_sft.errors import UserError
from alfworld_sft.runs.store import RunFolder
from tests import collecting
from tests.collecting import contents, play, server_words, stamp_of, write_games
from tests.fake_server import BREAKS_OFF, GARBAGE, KEY, fails, free_port, gives, says, serving
from tests.test_cli import command, script

pytestmark = pytest.mark.usefixtures("openai_key")


@pytest.fixture
def data(tmp_path):
    return write_games(tmp_path / "data")


def start(data, parent, fake, *overrides, name="run"):
    return collecting.start(parent, *server_words(data, fake, "env.max_steps=3", *overrides), name=name)


def chosen(request, _):
    """Answer as a model would: the seed and the prompt decide, and nothing else does."""
    verb = ("look", "inventory", "help me")[(request["seed"] + len(request["messages"][-1]["content"])) % 3]
    return says(f"<think>So.</think>\n<action>{verb}")


def test_a_model_plays_and_its_words_become_the_dataset(data, tmp_path):
    with serving(chosen) as fake:
        summary = play(start(data, tmp_path, fake))
    assert summary.episodes == 12
    assert len(fake.requests) == 36
    raw = json.loads((tmp_path / "run/raw_trajectories.json").read_bytes())
    replies = [step["reply"] for episode in raw for step in episode["steps"]]
    assert {reply["prompt_tokens"] for reply in replies} == {100}
    assert all(reply["text"].endswith("</action>") for reply in replies)
    assert {step["problem"] for episode in raw for step in episode["steps"]} == {None, "not admissible"}


def test_the_same_seed_gives_the_same_bytes_whatever_goes_wrong_on_the_way(data, tmp_path):
    def troubled(request, number):
        trouble = {5: fails(503), 6: BREAKS_OFF, 20: GARBAGE, 31: fails(429)}
        return trouble.get(number) or chosen(request, number)

    with serving(chosen) as calm:
        play(start(data, tmp_path, calm, "runner.concurrency=12", name="calm"))
    with serving(troubled) as fake:
        play(start(data, tmp_path, fake, "runner.concurrency=5", name="troubled"))
    # the two servers have other addresses, and those are in no file but the stamp
    calm_run, troubled_run = contents(tmp_path / "calm"), contents(tmp_path / "troubled")
    assert calm_run.keys() == troubled_run.keys()
    assert [name for name in calm_run if calm_run[name] != troubled_run[name]] in ([], ["README.md"])


def test_a_folder_of_the_model_s_name_is_not_what_the_server_is_asked_for(data, tmp_path, monkeypatch):
    (tmp_path / "tiny").mkdir()
    monkeypatch.chdir(tmp_path)
    with serving(chosen) as fake:
        play(start(data, tmp_path, fake))
    assert {request["model"] for request in fake.requests} == {"tiny"}


def test_a_failed_episode_is_recorded_and_resume_plays_it(data, tmp_path):
    broken = True

    def sometimes(request, number):
        return fails(500, "out of order") if broken and number % 4 == 3 else chosen(request, number)

    with serving(sometimes) as fake:
        summary = play(start(data, tmp_path, fake, "policy.attempts=1", "runner.concurrency=1"))
        stamp = stamp_of(tmp_path / "run")
        assert stamp["status"] == "incomplete"
        assert 0 < summary.episodes < 12
        assert len(stamp["failed"]) == 12 - summary.episodes
        assert all("answered 500: out of order (1 attempt)" in reason for reason in stamp["failed"].values())
        broken = False
        assert play(resume_run(tmp_path / "run")).episodes == 12


def test_one_slow_reply_holds_up_one_episode_alone(data, tmp_path):
    """The first request is answered only after all the other episodes have been played to their ends."""
    others_done = threading.Event()
    played = []

    def answers(request, number):
        if number == 0:
            assert others_done.wait(60)
        return says()

    def note(episode):
        played.append(episode.index)
        if len(played) == 11:
            others_done.set()

    with serving(answers) as fake:
        job = start(data, tmp_path, fake, "runner.concurrency=4")
        with job.run:
            collect(job, note)
    assert len(played) == 12


def test_the_key_is_in_no_file_of_the_run(data, tmp_path):
    def quoting(request, number):
        return fails(500, f"your key {KEY} is fine, but") if number % 4 == 3 else chosen(request, number)

    with serving(quoting) as fake:
        play(start(data, tmp_path, fake, "policy.attempts=1", "runner.concurrency=1"))
    written = b"".join(file.read_bytes() for file in (tmp_path / "run").iterdir())
    assert b"your key *** is fine" in written
    assert KEY.encode() not in written


def test_an_unreachable_server_ends_the_run_with_one_line_and_leaves_no_folder(data, tmp_path):
    with serving(chosen) as fake:
        pass  # it is gone now
    with pytest.raises(UserError, match="cannot reach the server at"):
        play(start(data, tmp_path, fake))
    assert not (tmp_path / "run").exists()


def test_a_server_that_is_lost_ends_the_run_early_and_resume_plays_what_is_owed(data, tmp_path):
    lost = True

    def until_it_is_lost(request, number):
        return fails(503, "shutting down") if lost and number >= 15 else chosen(request, number)

    with serving(until_it_is_lost) as fake:
        job = start(data, tmp_path, fake, "policy.attempts=1", "runner.concurrency=1", "num_episodes=60")
        with pytest.raises(UserError) as caught:
            play(job)
        line = str(caught.value)
        assert line.startswith(f"the server at {fake.url} answered 503: shutting down (1 attempt); 5 of 60 episodes")
        assert line.endswith(f"alfworld-sft collect --resume {tmp_path / 'run'}")
        assert len(fake.requests) == 15 + 8
        with RunFolder(tmp_path / "run") as run:
            assert (run.played, len(run.failed)) == (5, 7)
        lost = False
        assert play(resume_run(tmp_path / "run")).episodes == 60


def test_a_run_that_is_resumed_stays_when_nobody_can_be_reached(data, tmp_path):
    with serving(chosen) as fake:
        start(data, tmp_path, fake).run.close()
    with pytest.raises(UserError, match=r"cannot reach the server at .*; 0 of 12 episodes are played, resume with"):
        play(resume_run(tmp_path / "run"))
    assert (tmp_path / "run/run.json").exists()


def test_the_command_says_what_is_wrong_in_one_line(data, tmp_path):
    url = f"http://127.0.0.1:{free_port()}/v1"
    words = ["--output-dir", str(tmp_path), f"games.source={data}", "policy.name=server", "policy.model=tiny"]
    result = command("collect", *words, OPENAI_BASE_URL=url)
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1].startswith(f"error: cannot reach the server at {url} (")
    assert "Traceback" not in result.stderr


def test_the_script_plays_model_at_the_server(data, tmp_path):
    with serving(chosen) as fake:
        result = script(
            "env.max_steps=2", ALFWORLD_DATA=str(data), OUTPUT_DIR=str(tmp_path), MODEL="tiny", OPENAI_BASE_URL=fake.url
        )
    assert result.returncode == 0, result.stderr
    assert {request["model"] for request in fake.requests} == {"tiny"}
    assert len(fake.requests) == 24


def test_the_stamp_says_what_was_really_sent(data, tmp_path):
    def strict(request, number):
        return fails(400, "unknown field top_k") if "top_k" in request else chosen(request, number)

    with serving(strict) as fake:
        play(start(data, tmp_path, fake))
    sampling = stamp_of(tmp_path / "run")["sampling"]
    assert sampling["not_sent"] == ["top_k"]
    assert "top_k" not in sampling
    assert sampling["min_p"] == 0.0


def test_the_stamp_of_a_run_that_stops_early_says_it_too_and_a_resumed_one_keeps_it(data, tmp_path):
    lost = True

    def strict(request, number):
        if lost and number > 10:
            return fails(503, "shutting down")
        return fails(400, "unknown field top_k") if lost and "top_k" in request else chosen(request, number)

    with serving(strict) as fake:
        with pytest.raises(UserError):
            play(start(data, tmp_path, fake, "policy.attempts=1", "runner.concurrency=1"))
        stopped = stamp_of(tmp_path / "run")["sampling"]
        lost = False
        play(resume_run(tmp_path / "run"))
    finished = stamp_of(tmp_path / "run")["sampling"]
    assert stopped["not_sent"] == finished["not_sent"] == ["top_k"]
    assert "top_k" not in finished


def test_one_long_prompt_fails_its_episode_alone_and_leaves_the_stamp_as_it_was(data, tmp_path):
    def narrow(request, number):
        late = number == 4
        return fails(400, "max_tokens must be at least 1, got -186") if late else chosen(request, number)

    with serving(narrow) as fake:
        job = start(data, tmp_path, fake, "runner.concurrency=1")
        before = job.run.stamp["sampling"]
        summary = play(job)
    stamp = stamp_of(tmp_path / "run")
    assert summary.episodes == 11
    assert [reason.partition(":")[0] for reason in stamp["failed"].values()] == ["the prompt is too long"]
    assert stamp["sampling"] == before
    assert all("top_k" in request and "max_tokens" in request for request in fake.requests)


def test_reasoning_in_a_field_of_its_own_is_trained_where_the_template_asks_for_it(data, tmp_path):
    with serving([gives({"content": "<action>look</action>", "reasoning_content": "I look around."})]) as fake:
        play(start(data, tmp_path, fake))
    raw = json.loads((tmp_path / "run/raw_trajectories.json").read_bytes())
    replies = [step["reply"] for episode in raw for step in episode["steps"]]
    assert {reply["text"] for reply in replies} == {"<think>I look around.</think>\n<action>look</action>"}
    assert all("reasoning" not in reply for reply in replies)


def test_reasoning_beside_a_think_of_the_reply_s_own_is_kept_in_the_raw_trajectories(data, tmp_path):
    with serving([gives({"content": "<think>So.</think>\n<action>look</action>", "reasoning": "Hmm."})]) as fake:
        play(start(data, tmp_path, fake))
    raw = json.loads((tmp_path / "run/raw_trajectories.json").read_bytes())
    replies = [step["reply"] for episode in raw for step in episode["steps"]]
    assert {(reply["text"], reply["reasoning"]) for reply in replies} == {
        ("<think>So.</think>\n<action>look</action>", "Hmm.")
    }
    assert b"Hmm." not in (tmp_path / "run/train.csv").read_bytes()


def test_every_reason_that_is_asked_for_has_a_seed_of_its_own(data, tmp_path):
    """The writer's replies are cut off, hold no text or are no reasons; none of them is asked for twice."""
    answers = [gives({"content": None}, "length"), gives({"content": None}, "tool_calls"), says("no tags")]
    with serving(lambda _, number: answers[number % 3]) as fake:
        play(start(data, tmp_path, fake, "policy.rationalize=true", "policy.attempts=6", "num_episodes=2"))
    seeds = [request["seed"] for request in fake.requests]
    assert len(set(seeds)) == len(seeds) > 12


@pytest.mark.parametrize(
    ("variable", "value", "line"),
    [
        ("SSL_CERT_FILE", "/no/such.pem", "SSL_CERT_FILE=/no/such.pem: No such file or directory"),
        ("ALL_PROXY", "socks://127.0.0.1:9", "ALL_PROXY begins with socks://"),
        ("OPENAI_BASE_URL", "http://ho st/v1", "the server's address (OPENAI_BASE_URL) holds a blank"),
    ],
)
def test_surroundings_that_cannot_be_meant_are_one_line_and_leave_no_folder(data, tmp_path, variable, value, line):
    words = ["--output-dir", str(tmp_path / "out"), f"games.source={data}", "policy.name=server", "policy.model=tiny"]
    result = command("collect", *words, **{"OPENAI_BASE_URL": "https://model.example/v1", variable: value})
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1].startswith(f"error: {line}")
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_run_that_may_not_open_enough_files_is_one_line_and_leaves_no_folder(data, tmp_path):
    words = [
        "collect", "--output-dir", str(tmp_path / "out"), f"games.source={data}", "policy.name=server",
        "policy.model=tiny", "policy.base_url=http://127.0.0.1:9/v1", "num_episodes=500", "runner.concurrency=300",
    ]  # fmt: skip
    limited = ["bash", "-c", 'ulimit -n 200 && exec "$0" "$@"', sys.executable, "-m", "alfworld_sft", *words]
    result = subprocess.run(limited, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "error: runner.concurrency=300 takes about 428 open files" in result.stderr
    assert not list((tmp_path / "out").iterdir())
