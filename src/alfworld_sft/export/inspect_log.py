"""An evaluation → a log of Inspect, the evaluation framework: one sample for each play, scored by the game.

Written with Inspect's own classes (extra `inspect`), so that its viewer, `read_eval_log` and data frames read it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from alfworld_sft.errors import ConfigError, RunFolderError
from alfworld_sft.evaluate.compare import RESULT_FILE
from alfworld_sft.export.write import new_folder
from alfworld_sft.prompts.template import Template
from alfworld_sft.prompts.transcript import prompts_of
from alfworld_sft.runs.journal import Journal, read_journal
from alfworld_sft.runs.store import JOURNAL, read_stamp
from alfworld_sft.runs.template import template_of_run
from alfworld_sft.types import Episode

LOG = "evaluation.eval"
SCORER = "won"


def export_inspect(path: Path, out: Path, template: str | None = None) -> int:
    """Write the log of a finished evaluation into the new folder `out`; return the number of samples.

    Raises RunFolderError for anything but a finished evaluation, ConfigError without the extra.
    """
    try:
        from inspect_ai.log import write_eval_log  # noqa: PLC0415
    except ImportError:
        raise ConfigError("--to inspect needs a package: pip install 'alfworld-sft[inspect]'") from None
    metrics = _read_metrics(path)
    stamp, journal = read_stamp(path), read_journal(path / JOURNAL)
    samples = list(_samples(stamp["protocol"], journal, template_of_run(stamp, path, template)))
    log = _log(path, stamp, metrics, samples)
    with new_folder(out) as folder:
        write_eval_log(log, str(folder / LOG), format="eval")
    return len(samples)


def _read_metrics(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((path / RESULT_FILE).read_text("utf-8")))
    except FileNotFoundError:
        raise RunFolderError(
            f"{path}: it holds no {RESULT_FILE}; --to inspect exports a finished run of 'alfworld-sft evaluate'"
        ) from None
    except (ValueError, TypeError, RecursionError) as error:
        raise RunFolderError(
            f"{path / RESULT_FILE} is damaged ({error}); write it anew: alfworld-sft evaluate --resume {path}"
        ) from None


def _samples(protocol: Mapping[str, Any], journal: Journal, template: Template) -> Iterator[Any]:
    form, history = protocol["form"], protocol["history_length"]
    plays: dict[str, int] = {}
    for episode in journal.episodes():
        plays[episode.game_id] = plays.get(episode.game_id, 0) + 1
        yield _sample(episode, template, form, history, plays[episode.game_id])


def _sample(episode: Episode, template: Template, form: Any, history: int | None, epoch: int) -> Any:
    from inspect_ai.log import EvalSample  # noqa: PLC0415
    from inspect_ai.model import (  # noqa: PLC0415
        ChatMessageAssistant,
        ChatMessageSystem,
        ChatMessageUser,
        ModelOutput,
    )
    from inspect_ai.scorer import Score  # noqa: PLC0415

    messages: list[Any] = []
    for prompt, step in zip(prompts_of(episode, template, form, history), episode.steps, strict=True):
        if not messages:
            messages += [ChatMessageSystem(content=one.content) for one in prompt.messages if one.role == "system"]
        messages += [
            ChatMessageUser(content=prompt.messages[-1].content),
            ChatMessageAssistant(content=step.reply.text, model=episode.policy),
        ]
    last = episode.steps[-1] if episode.steps else None
    return EvalSample(
        id=episode.game_id,
        epoch=epoch,
        input=episode.task,
        target="won",
        messages=messages,
        output=ModelOutput.from_content(model=episode.policy, content=last.reply.text if last else ""),
        scores={SCORER: Score(value=float(episode.success), answer=last.command if last else None)},
        metadata={
            "episode": episode.index,
            "task_type": episode.task_type,
            "split": episode.split,
            "steps": len(episode.steps),
            "seed": episode.seed,
            "invalid_actions": sum(step.problem is not None for step in episode.steps),
        },
    )


def _log(path: Path, stamp: dict[str, Any], metrics: dict[str, Any], samples: list[Any]) -> Any:
    from inspect_ai.log import EvalConfig, EvalDataset, EvalLog, EvalPlan, EvalResults, EvalSpec, EvalStats  # noqa: PLC0415

    protocol = stamp["protocol"]
    spec = EvalSpec(
        created=stamp["started"],
        task="alfworld",
        run_id=path.name,
        dataset=EvalDataset(name=stamp["games"]["description"], samples=stamp["games"]["count"], shuffled=True),
        model=stamp["policy"],
        config=EvalConfig(epochs=protocol.get("repeats", 1)),
        packages={"alfworld-sft": stamp["versions"]["alfworld-sft"]},
        metadata={"protocol": protocol, "sampling": stamp["sampling"], "games_sha256": stamp["games"]["sha256"]},
    )
    played = metrics["success"]["played"]
    results = EvalResults(total_samples=played, completed_samples=len(samples), scores=_scores(metrics, played))
    stats = EvalStats(started_at=stamp["started"], completed_at=stamp.get("finished", stamp["started"]))
    status: Any = "success" if metrics["status"] == "complete" else "error"
    return EvalLog(status=status, eval=spec, plan=EvalPlan(), results=results, stats=stats, samples=samples)


def _scores(metrics: dict[str, Any], played: int) -> list[Any]:
    """Return the success rate of all plays, as `accuracy`, and of each task type under its name."""
    from inspect_ai.log import EvalMetric, EvalScore  # noqa: PLC0415

    rates = {"accuracy": metrics["success"]["rate"]}
    rates |= {task_type: found["rate"] for task_type, found in metrics["success_by_task_type"].items()}
    values = {name: EvalMetric(name=name, value=rate) for name, rate in rates.items()}
    return [EvalScore(name=SCORER, scorer=SCORER, scored_samples=played, metrics=values)]
