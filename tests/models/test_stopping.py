"""A base model that ends texts with another token than its chat template ends replies with."""

import json
import shutil

import pytest

pytest.importorskip("torch", reason="training is an extra: pip install 'alfworld-sft[train]'")
pytest.importorskip("peft", reason="training is an extra: pip install 'alfworld-sft[train]'")

from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from alfworld_sft.models.merge import merge
from alfworld_sft.models.stopping import end_ids_of
from alfworld_sft.policies.llm.local import LocalModel
from tests.train.helpers_loop import options, run, write_dataset, write_model

TEXT_END, TURN_END = "<|endoftext|>", "<|im_end|>"


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A model like Qwen2.5's base: all that it is told of its end is <|endoftext|>."""
    folder = write_model(tmp_path_factory.mktemp("models") / "base")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.eos_token = TEXT_END
    tokenizer.save_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    end = tokenizer.convert_tokens_to_ids(TEXT_END)
    model.config.eos_token_id = end
    model.generation_config = GenerationConfig(eos_token_id=end, pad_token_id=end)
    model.save_pretrained(folder)
    return folder


def ends_in(folder):
    """Return the words of the tokens at which a stored model stops."""
    config = json.loads((folder / "generation_config.json").read_bytes())
    return AutoTokenizer.from_pretrained(folder).convert_ids_to_tokens(end_ids_of(config["eos_token_id"]))


@pytest.mark.parametrize("rank", [4, 0])
def test_a_saved_and_a_merged_model_stop_at_the_end_of_a_turn(base, tmp_path, rank):
    data = write_dataset(tmp_path / "data", train_episodes=2)
    trained = run(options(data, base, tmp_path / "out", f"model.lora_rank={rank}", "trainer.total_training_steps=1"))
    assert ends_in(base) == [TEXT_END]
    for folder in (trained.checkpoint, trained.final, merge(trained.final, tmp_path / "merged")):
        assert ends_in(folder) == [TURN_END, TEXT_END]


@pytest.mark.parametrize("rank", [4, 0])
def test_a_config_with_a_temperature_that_it_does_not_use_can_be_saved(base, tmp_path, rank):
    """As some published models have it; transformers refuses to save a config that was changed and has one."""
    odd = shutil.copytree(base, tmp_path / "odd")
    config = json.loads((odd / "generation_config.json").read_bytes())
    (odd / "generation_config.json").write_text(json.dumps(config | {"temperature": 0.6, "top_p": 0.9}))
    data = write_dataset(tmp_path / "data", train_episodes=2)
    trained = run(options(data, odd, tmp_path / "out", f"model.lora_rank={rank}", "trainer.total_training_steps=1"))
    for folder in (trained.final, merge(trained.final, tmp_path / "merged")):
        assert ends_in(folder) == [TURN_END, TEXT_END]


def test_an_older_adapter_is_merged_into_a_model_that_stops_at_the_end_of_a_turn(base, tmp_path):
    data = write_dataset(tmp_path / "data", train_episodes=2)
    trained = run(options(data, base, tmp_path / "out", "trainer.total_training_steps=1"))
    (trained.final / "generation_config.json").unlink()
    assert ends_in(merge(trained.final, tmp_path / "merged")) == [TURN_END, TEXT_END]


def test_a_model_in_this_process_stops_at_the_end_of_a_turn(base):
    policy = LocalModel.load(str(base), device="cpu")
    assert set(policy.encoder.tokenizer.convert_ids_to_tokens(policy._reader.ends)) == {TURN_END, TEXT_END}
