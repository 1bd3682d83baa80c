"""How large is a report, and how long does it take, beside `inspect view bundle` of the same evaluation?

Both get the same episodes with all their turns. Inspect gets them as an `.eval` log that a script in its own
environment writes, whose time is not counted; a bundle has neither replays nor distances, and needs a web server. Times
are CPU seconds of the whole command, and the seconds that it took. With Playwright and Chromium at hand the seconds
until the report's table can be used are measured too, of `--episodes` collected episodes, and the milliseconds a frame
while that table is scrolled from its top to its end (16.7 at 60 frames a second; Chromium draws without a GPU).

    python -m benchmarks.report --inspect ../inspect-env/bin --episodes 5000
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks._result import versions_of, write_result

SCROLL = """
async () => {
  const scroller = document.getElementById('scroller');
  const end = scroller.scrollHeight - scroller.clientHeight, frames = 300, times = [];
  let last = await new Promise(requestAnimationFrame);
  for (let frame = 1; frame <= frames; frame++) {
    scroller.scrollTop = end * frame / frames;
    const now = await new Promise(requestAnimationFrame);
    times.push(now - last);
    last = now;
  }
  return times;
}
"""
COMMAND = [sys.executable, "-m", "alfworld_sft"]
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
CONVERT = r"""
import json, sys
from inspect_ai.log import EvalConfig, EvalDataset, EvalLog, EvalSample, EvalSpec, write_eval_log
from inspect_ai.model import ChatMessageAssistant, ChatMessageUser
from inspect_ai.scorer import Score
samples = []
for line in open(sys.argv[1], encoding="utf-8"):
    episode = json.loads(line)
    messages = []
    for step in episode["steps"]:
        commands = ", ".join(step["admissible_commands"])
        messages.append(ChatMessageUser(content=f"{step['observation']}\n\n{commands}"))
        messages.append(ChatMessageAssistant(content=step["reply"]["text"]))
    messages.append(ChatMessageUser(content=episode["steps"][-1]["next_observation"]))
    score = Score(value="C" if episode["success"] else "I")
    samples.append(EvalSample(id=episode["index"], epoch=1, input=episode["task"], target="", messages=messages,
                              scores={"won": score}, metadata={"game": episode["game_id"]}))
spec = EvalSpec(created="2026-01-01T00:00:00+00:00", task="alfworld", dataset=EvalDataset(samples=len(samples)),
                model="mockllm/model", config=EvalConfig())
write_eval_log(EvalLog(status="success", eval=spec, samples=samples), sys.argv[2])
"""


def main() -> None:
    """Play, report, bundle, print and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inspect", type=Path, required=True, help="bin folder of an environment with inspect-ai")
    parser.add_argument("--data", default="embedded", help="data folder; default: the embedded games")
    parser.add_argument("--episodes", type=int, default=5000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run = play(folder, "evaluate", options.data, "policy.name=random")
        ours = timed([*COMMAND, "report", str(run), "-o", str(folder / "report.html")])
        bare = timed([*COMMAND, "report", str(run), "-o", str(folder / "bare.html"), "--no-replay"])
        logs, bundle = folder / "logs", folder / "bundle"
        logs.mkdir()
        python = str(options.inspect / "python")
        subprocess.run([python, "-c", CONVERT, str(run / "episodes.jsonl"), str(logs / "a.eval")], check=True)
        theirs = timed(
            [str(options.inspect / "inspect"), "view", "bundle", "--log-dir", str(logs), "--output-dir", str(bundle)]
        )
        big = play(folder, "collect", options.data, "policy.noise=0.1", f"num_episodes={options.episodes}")
        large = timed([*COMMAND, "report", str(big), "-o", str(folder / "big.html")])
        result = {
            "episodes": len((run / "episodes.jsonl").read_bytes().splitlines()),
            "report": ours | {"files": 1, "bytes": (folder / "report.html").stat().st_size},
            "report without replay": bare | {"files": 1, "bytes": (folder / "bare.html").stat().st_size},
            "inspect view bundle": theirs | size_of(bundle) | {"of these the log": (logs / "a.eval").stat().st_size},
            "large": {"episodes": options.episodes, **large, "bytes": (folder / "big.html").stat().st_size}
            | opening(folder / "big.html"),
            "load average at the end": round(os.getloadavg()[0], 1),
            "versions": versions_of("plotly") | inspect_version(python),
        }
    result["ratio of bytes"] = round(result["inspect view bundle"]["bytes"] / result["report"]["bytes"], 2)
    print(json.dumps(result, indent=2))
    write_result("report", result)


def play(folder: Path, kind: str, source: str, *words: str) -> Path:
    """Play games and return the run's folder."""
    command = [*COMMAND, kind, "--output-dir", str(folder), "--name", kind, f"games.source={source}"]
    subprocess.run([*command, "prompt.template=add_wm1", *words], check=True, capture_output=True)
    return folder / kind


def timed(command: list[str]) -> dict[str, float]:
    """Run a command; return its CPU seconds, children's included, and the seconds that it took."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"cpu_s": round(cpu_s, 2), "wall_s": round(time.monotonic() - started, 2)}


def size_of(folder: Path) -> dict[str, int]:
    """Count the files of a folder and their bytes."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {"files": len(files), "bytes": sum(path.stat().st_size for path in files)}


def opening(file: Path) -> dict[str, float]:
    """Return how soon the table can be used, the best of three, and how it scrolls; nothing without a browser."""
    chromium = shutil.which("chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return {}
    if chromium is None:
        return {}
    times = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        for _ in range(3):
            page = browser.new_page()
            page.goto(file.as_uri())
            page.wait_for_selector("html[data-ready=all]", state="attached", timeout=120_000)
            times.append(page.evaluate("performance.getEntriesByName('episodes')[0].startTime"))
            frames = sorted(page.evaluate(SCROLL))
            page.close()
        browser.close()
    middle, slow = (round(frames[int(len(frames) * share)], 1) for share in (0.5, 0.95))
    return {"opens_s": round(min(times) / 1000, 2), "ms_a_frame": middle, "ms_a_frame_95th_percentile": slow}


def inspect_version(python: str) -> dict[str, str]:
    """Return the version of inspect-ai in its environment."""
    asked = [python, "-c", "from importlib.metadata import version; print(version('inspect-ai'))"]
    return {"inspect-ai": subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()}


if __name__ == "__main__":
    main()
