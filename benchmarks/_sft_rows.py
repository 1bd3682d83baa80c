"""Which rows do our trainer and TRL's read, and do they see the same tokens in them?"""

import json
import random
from pathlib import Path
from typing import Any

TEMPLATE = (
    "{%- if messages[0]['role'] != 'system' %}{{- OPENING }}{%- endif %}"
    "{%- for message in messages %}{{- '<|im_start|>' + message['role'] + '\\n' }}"
    "{%- if message['role'] == 'assistant' %}{% generation %}{{- message['content'] + '<|im_end|>' }}"
    "{% endgeneration %}{%- else %}{{- message['content'] + '<|im_end|>' }}{%- endif %}"
    "{{- '\\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)
"""ChatML that marks the replies, which TRL needs; OPENING is the model's own default system message, if it has one."""


def trl_template(tokenizer: Any) -> str:
    """Return the model's ChatML template with its replies marked."""
    asked: str = tokenizer.apply_chat_template([{"role": "user", "content": ""}], tokenize=False)
    return TEMPLATE.replace("OPENING", json.dumps(asked.partition("<|im_start|>user")[0]))


def trl_dataset(file: Path, form: str) -> Any:
    """Return rows as TRL reads them."""
    import pyarrow.parquet as pq
    from datasets import Dataset

    rows = pq.read_table(file).to_pylist()
    if form == "multi":
        return Dataset.from_list([{"messages": row["messages"]} for row in rows])
    return Dataset.from_list(
        [
            {
                "prompt": [{"role": "user", "content": row["prompt_data"]["content"].removeprefix("user: ")}],
                "completion": [{"role": "assistant", "content": row["response_data"]["content"]}],
            }
            for row in rows
        ]
    )


def choose_rows(job: dict[str, Any]) -> dict[str, Any]:
    """Write the rows of `steps` steps: episodes with as many turns as a step has rows, which fit and are all trained.

    Our trainer keeps an episode's conversations in one step, so only then its steps and TRL's hold the same rows; and
    it leaves out the loss of the expert's random actions, which TRL's cannot. TRL's files are in the order in which our
    trainer takes the rows, and by length within a step, for less padding.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    from alfworld_sft.train.data.batches import BatchSchedule

    rows = pq.read_table(Path(job["dataset"]) / "train.parquet").to_pylist()
    episodes: dict[str, list[dict[str, Any]]] = {}
    for row in sorted(rows, key=lambda row: len(row["messages"])):
        episodes.setdefault(json.loads(row["extra_info"])["episode_id"], []).append(row)
    fitting = [each for each in episodes.values() if len(each) == job["batch"] and _fits(each, job)]
    if len(fitting) < job["steps"]:
        raise SystemExit(
            f"error: {len(fitting)} episodes of {job['batch']} trained turns fit {job['max_length']} tokens;"
            f" --steps {job['steps']} needs as many: collect more (--episodes), or take another --batch"
        )
    chosen = random.Random(job["seed"]).sample(fitting, job["steps"])
    out = Path(job["rows"])
    out.mkdir()
    schema = pq.read_schema(Path(job["dataset"]) / "train.parquet")
    units = {"multi": chosen, "single": [[row] for episode in chosen for row in episode]}
    for form, samples in units.items():
        schedule = BatchSchedule([len(s) for s in samples], job["batch"], job["seed"], epochs=1, steps=None)
        ordered: list[dict[str, Any]] = []
        for batch in schedule.epoch(0):
            ordered += sorted((row for index in batch for row in samples[index]), key=lambda row: _size(row, form))
        pq.write_table(pa.Table.from_pylist(ordered, schema), out / f"trl_{form}.parquet")
    pq.write_table(pa.Table.from_pylist([row for episode in chosen for row in episode], schema), out / "train.parquet")
    return {"episodes": len(episodes), "of_this_length": len(fitting), "rows": job["steps"] * job["batch"]}


def compare_rows(job: dict[str, Any]) -> dict[str, Any]:
    """Return how many rows, tokens and trained tokens both trainers read, and how many rows are equal.

    A row is equal if its token ids are, and the same of them are trained, but for the newline that ends TRL's rows.
    `tokens_a_step` are those of a step's rows, one by one, on average of the steps after the warm-up.
    """
    from alfworld_sft.dataset.read import Columns
    from alfworld_sft.models.chat_encoder import ChatEncoder
    from alfworld_sft.models.load import load_tokenizer
    from alfworld_sft.train.data.options import SampleOptions
    from alfworld_sft.train.data.samples import load_samples

    theirs = json.loads((Path(job["out"]) / "rows.json").read_text())
    file = Path(job["rows"]) / f"trl_{job['form']}.parquet"
    options = SampleOptions(max_length=job["max_length"], weighting="cumulative", fold=False)
    encoder, columns = ChatEncoder(load_tokenizer(job["model"])), Columns(multiturn=job["form"] == "multi")
    samples = load_samples([file], encoder, columns, options).samples
    ours = sorted((s.ids.tolist(), (s.weight > 0).astype(int).tolist()) for s in samples)
    equal = sum(
        ids == other[0][: len(ids)] and mask == other[1][: len(ids)] and len(other[0]) - len(ids) <= 1
        for (ids, mask), other in zip(ours, sorted(theirs), strict=True)
    )
    counted = theirs[job["warm_up"] * job["batch"] :]
    return {
        "rows": len(theirs), "equal_rows": equal,
        "tokens_a_step": round(sum(len(ids) for ids, _ in counted) / (job["steps"] - job["warm_up"])),
        "tokens": {"ours": sum(len(ids) for ids, _ in ours), "trl": sum(len(ids) for ids, _ in theirs)},
        "trained_tokens": {"ours": sum(sum(m) for _, m in ours), "trl": sum(sum(m) for _, m in theirs)},
    }  # fmt: skip


def _fits(episode: list[dict[str, Any]], job: dict[str, Any]) -> bool:
    """Return whether all turns of an episode are trained, and it and its single-turn rows are short enough."""
    from alfworld_sft.models.load import load_tokenizer

    if any(json.loads(row["extra_info"]).get("untrained_turns") for row in episode):
        return False
    tokenizer = load_tokenizer(job["model"])
    texts = [episode[-1]["messages"], *map(_as_chat, episode)]
    return all(
        len(tokenizer.apply_chat_template(messages, return_dict=False)) <= job["max_length"] for messages in texts
    )


def _as_chat(row: dict[str, Any]) -> list[dict[str, str]]:
    prompt, response = row["prompt_data"]["content"], row["response_data"]["content"]
    return [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]


def _size(row: dict[str, Any], form: str) -> int:
    messages = row["messages"] if form == "multi" else _as_chat(row)
    return sum(len(message["content"]) for message in messages)
