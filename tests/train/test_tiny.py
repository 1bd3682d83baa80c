"""tiny-model: loads everywhere by path, speaks like Qwen2.5's template, and comes out the same every time."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="training is not installed (pip install -e '.[train]')")
pytest.importorskip("transformers", reason="training is not installed (pip install -e '.[train]')")

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner

from alfworld_sft.errors import UserError
from alfworld_sft.games.sources import find_games
from alfworld_sft.models.chat_encoder import ChatEncoder
from alfworld_sft.train.tiny import TinyOptions, chat_template, make_tiny_model, texts_of_files, texts_of_games
from tests.train.helpers_data import rows, tiny_tokenizer, wandering, with_template, write

TEXTS = [
    "You arrive at desk 1. On the desk 1, you see a mug 2.",
    "go to desk 1",
    "<think>now</think>\n<action>look</action>",
]


@pytest.fixture(scope="module", params=["word", "bpe"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp(request.param) / "model"
    make_tiny_model(path, TEXTS, TinyOptions(tokenizer=request.param, width=64, layers=2))
    return path


def test_model_and_tokenizer_load_by_path(folder: Path) -> None:
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    assert model.config.architectures == ["Qwen2ForCausalLM"]
    assert model.get_input_embeddings().weight.shape == (len(tokenizer), 64)
    assert model.config.num_attention_heads == 1
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert [tokenizer.eos_token, tokenizer.pad_token] == ["<|im_end|>", "<|endoftext|>"]
    ends = tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"])
    assert model.generation_config.eos_token_id == ends
    assert model.generate(torch.tensor([[1, 2]]), max_new_tokens=2, do_sample=False).shape[1] <= 4


def test_a_qwen3_has_the_shape_that_was_asked_for_and_no_biases(tmp_path: Path) -> None:
    options = TinyOptions(model_type="qwen3", width=64, layers=2, head_dim=32, kv_heads=1)
    make_tiny_model(tmp_path / "m", TEXTS, options)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "m")
    assert model.config.architectures == ["Qwen3ForCausalLM"]
    attention = model.model.layers[1].self_attn
    assert attention.q_proj.weight.shape == (64, 64)
    assert attention.k_proj.weight.shape == attention.v_proj.weight.shape == (32, 64)
    assert attention.q_norm.weight.shape == attention.k_norm.weight.shape == (32,)
    assert not [name for name, _ in model.named_parameters() if name.endswith("bias")]
    AutoTokenizer.from_pretrained(tmp_path / "m")


@pytest.mark.parametrize(
    "text", ["  go\n\n to desk 12,", "naïve 日本 🙂", "<|im_start|>user\nx<|im_end|>\n", "\t\r\n \n", "I'll"]
)
def test_any_text_comes_back_as_it_was(folder: Path, text: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_a_word_of_the_texts_is_one_token() -> None:
    tokenizer = tiny_tokenizer("word")
    assert [tokenizer.decode([i]) for i in tokenizer(" go to desk")["input_ids"]] == [" go", " to", " desk"]


def test_a_loaded_tokenizer_says_the_same_as_the_one_that_was_saved(tmp_path: Path) -> None:
    made = tiny_tokenizer("word")
    made.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "qwen2"}')
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    for text in TEXTS:
        assert loaded(text)["input_ids"] == made(text)["input_ids"]


def test_equal_options_give_equal_bytes(tmp_path: Path) -> None:
    def hashes(name: str, seed: int) -> dict[str, str]:
        make_tiny_model(tmp_path / name, TEXTS, TinyOptions(width=64, layers=1, seed=seed))
        return {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in (tmp_path / name).iterdir()}

    torch.manual_seed(5)
    one = hashes("one", 0)
    torch.manual_seed(6)
    assert hashes("two", 0) == one
    other = hashes("three", 1)
    assert [name for name in one if one[name] != other[name]] == ["model.safetensors"]


def test_making_a_model_leaves_the_random_state_alone(tmp_path: Path) -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    make_tiny_model(tmp_path / "m", TEXTS, TinyOptions(width=64, layers=1))
    assert torch.equal(before, torch.get_rng_state())


CONVERSATIONS: list[list[dict[str, str]]] = [
    [{"role": "user", "content": " a \n"}],
    [{"role": "user", "content": "a"}, {"role": "assistant", "content": "<think>x</think>\nb"}],
    [{"role": "system", "content": "s"}, {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],
    [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}],
]


@pytest.mark.parametrize("ask", [False, True])
@pytest.mark.parametrize("conversation", CONVERSATIONS)
def test_the_template_writes_what_qwen_writes(conversation: Any, ask: bool) -> None:
    trl = pytest.importorskip("trl", reason="TRL, which ships Qwen2.5's template, is not installed")
    stock = with_template((Path(trl.__file__).parent / "chat_templates" / "qwen2_5.jinja").read_text())
    system = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
    expected = stock.apply_chat_template(conversation, tokenize=False, add_generation_prompt=ask)
    own = with_template(chat_template(system))
    assert own.apply_chat_template(conversation, tokenize=False, add_generation_prompt=ask) == expected
    bare = tiny_tokenizer().apply_chat_template(conversation, tokenize=False, add_generation_prompt=ask)
    assert expected.removeprefix(f"<|im_start|>system\n{system}<|im_end|>\n") == bare


def test_a_default_system_message_may_hold_quotes_and_lines() -> None:
    system = 'It\'s a \\ "house".\nBe brief. {{ x }}'
    text = with_template(chat_template(system)).apply_chat_template(CONVERSATIONS[0], tokenize=False)
    assert text.startswith(f"<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\n")


def test_the_template_is_prefix_stable() -> None:
    assert ChatEncoder(tiny_tokenizer()).prefix_stable


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (TinyOptions(width=100), "--width 100 is not a multiple of --head-dim 64"),
        (TinyOptions(width=192, kv_heads=2), "--kv-heads 2 does not divide the 3 heads"),
        (TinyOptions(width=66, head_dim=3), "--head-dim 3 is odd; rotary positions need pairs"),
        (TinyOptions(vocab_size=10), "--vocab-size 10 is too small"),
    ],
)
def test_an_impossible_shape_is_told_by_its_option(tmp_path: Path, options: TinyOptions, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        make_tiny_model(tmp_path / "m", TEXTS, options)
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("name", ["thesis.tex", "config.json"])
def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(UserError, match=rf"^{tmp_path} exists already; delete it, or name another folder$"):
        make_tiny_model(tmp_path, TEXTS, TinyOptions())
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_model_that_could_not_be_written_to_its_end_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("transformers.PreTrainedModel.save_pretrained", fail)
    with pytest.raises(UserError, match="No space left on device"):
        make_tiny_model(tmp_path / "m", TEXTS, TinyOptions(width=64, layers=1))
    assert list(tmp_path.iterdir()) == []


def test_texts_come_from_datasets_and_text_files(tmp_path: Path) -> None:
    write(tmp_path / "train.parquet", rows([wandering(turns=2)]))
    (tmp_path / "words.txt").write_text("fridge")
    texts = " ".join(texts_of_files([tmp_path, tmp_path / "words.txt"]))
    assert all(word in texts for word in ("thought 1", "take drawer 2", "fridge", "Your task: "))


def test_texts_come_from_csv_files_as_from_parquet(tmp_path: Path) -> None:
    records = rows([wandering(turns=2)])
    parquet = write(tmp_path / "x.parquet", records)
    with (tmp_path / "x.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, records[0])
        writer.writeheader()
        writer.writerows({k: v if isinstance(v, str) else json.dumps(v) for k, v in r.items()} for r in records)
    said = [[text for text in texts_of_files([f]) if "{" not in text] for f in (parquet, tmp_path / "x.csv")]
    assert said[0] == said[1]
    assert len(said[0]) == 4
    (tmp_path / "bad.csv").write_text("messages,prompt_data\nhello,go\n")
    with pytest.raises(UserError, match=r"^--corpus .*bad.csv: 'messages' holds no list of messages$"):
        list(texts_of_files([tmp_path / "bad.csv"]))


@pytest.mark.real_games
def test_texts_of_games_hold_the_words_of_the_world(real_games_dir: Path) -> None:
    texts = list(texts_of_games(find_games(real_games_dir.parent, "train"), max_games=20))
    words = set(" ".join(texts).replace(",", " ").replace(".", " ").split())
    assert {"You", "arrive", "take", "from", "fridge", "<prediction>", "ok"} <= words
    assert texts == list(texts_of_games(find_games(real_games_dir.parent, "train"), max_games=20))


@pytest.mark.parametrize("model_type", ["qwen2", "qwen3"])
def test_the_command_makes_a_model_from_a_corpus(model_type: str, tmp_path: Path) -> None:
    import typer

    from alfworld_sft.train.tiny_cli import tiny_model

    app = typer.Typer()
    app.command()(tiny_model)
    (tmp_path / "words.txt").write_text("go to fridge 1")
    made = CliRunner().invoke(
        app,
        [
            *(str(tmp_path / "m"), "--corpus", str(tmp_path / "words.txt"), "--model-type", model_type),
            *("--width", "64", "--layers", "1"),
        ],
    )
    assert made.exit_code == 0, made.output
    assert "parameters" in made.output
    idle = CliRunner().invoke(app, [str(tmp_path / "n"), "--corpus", str(tmp_path / "words.txt"), "--games", "x"])
    assert "--games x has no effect with --corpus" in str(idle.exception)
    assert (tmp_path / "m" / "model.safetensors").exists()
    assert json.loads((tmp_path / "m" / "config.json").read_text())["model_type"] == model_type
