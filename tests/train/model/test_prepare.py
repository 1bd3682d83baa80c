"""Loading a model, or saying in one line why not; attention that stays inside packed sequences; adapters."""

import json
import shutil
from itertools import pairwise

import pytest

torch = pytest.importorskip("torch", reason="training is an extra: pip install 'alfworld-sft[train]'")
pytest.importorskip("peft", reason="training is an extra: pip install 'alfworld-sft[train]'")

import httpx
import transformers
from huggingface_hub import errors as hub

from alfworld_sft.models import load as loading
from alfworld_sft.models.load import ModelError, load_model, load_tokenizer
from alfworld_sft.train.model.attention import PACKED, Segments, choose_attention, varlen_works
from alfworld_sft.train.model.lora import add_lora
from alfworld_sft.train.model.prepare import LossModule, prepare
from tests.train.helpers_loop import write_model

CPU = torch.device("cpu")


@pytest.fixture(scope="module", params=["qwen2", "qwen3"])
def folder(request, tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("models") / request.param, model_type=request.param)


@pytest.fixture
def copied(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


def load(folder, attention=PACKED):
    return load_model(str(folder), torch.float32, CPU, attention)


def packed(lengths, seed=0):
    """Return ids, restarting positions, labels, weights and the bounds of sequences packed end to end."""
    generator = torch.Generator().manual_seed(seed)
    total = sum(lengths)
    ids = torch.randint(5, 50, (1, total), generator=generator)
    positions = torch.cat([torch.arange(length) for length in lengths])[None]
    bounds = torch.tensor([0, *lengths]).cumsum(0)
    labels = ids.roll(-1)
    labels[0, bounds[1:] - 1] = -100
    return ids, positions, labels, torch.rand(1, total, generator=generator), bounds


@pytest.mark.parametrize("attention", [PACKED, "sdpa"])
def test_packed_sequences_do_not_see_one_another(folder, attention):
    module = LossModule(load(folder, attention))
    ids, positions, labels, weights, bounds = packed([7, 30, 1, 12])
    with torch.no_grad():
        nll = module(ids, positions, labels, weights, Segments.of(bounds, CPU)).nll
        for start, end in pairwise(bounds):
            part = slice(int(start), int(end))
            alone = (x[:, part] for x in (ids, positions, labels, weights))
            expected = module(*alone, Segments.of(torch.tensor([0, end - start]), CPU)).nll
            assert (nll[:, part] - expected).abs().max() < 1e-5


def test_our_attention_has_the_gradient_of_the_plain_one(folder):
    gradients = []
    for attention in (PACKED, "sdpa"):
        module = LossModule(load(folder, attention))
        *fields, bounds = packed([9, 21])
        module(*fields, Segments.of(bounds, CPU))[0].backward()
        gradients.append(torch.cat([p.grad.flatten() for p in module.parameters()]))
    assert (gradients[0] - gradients[1]).norm() / gradients[1].norm() < 1e-5


def test_autocast_changes_the_loss_only_by_rounding(folder):
    *fields, bounds = packed([9, 21])
    loss = {}
    for autocast in (None, torch.bfloat16):
        module = LossModule(load(folder), autocast=autocast)
        loss[autocast] = float(module(*fields, Segments.of(bounds, CPU))[0].detach())
    assert loss[None] != loss[torch.bfloat16] == pytest.approx(loss[None], rel=0.01)


def test_adapters_under_autocast_learn_as_those_without(folder):
    """Their inputs are not cast to float32 first: autocast computes them in bfloat16 from float32 weights."""
    gradients = []
    for autocast in (None, torch.bfloat16):
        torch.manual_seed(0)
        model = add_lora(load(folder), 4, 16, "all-linear", autocast=autocast is not None)
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, std=0.02)
        module = LossModule(model, autocast=autocast)
        *fields, bounds = packed([9, 21])
        module(*fields, Segments.of(bounds, CPU))[0].backward()
        trained = [p for p in module.parameters() if p.requires_grad]
        assert {p.dtype for p in trained} == {torch.float32}
        gradients.append(torch.cat([p.grad.flatten() for p in trained]))
    assert torch.nn.functional.cosine_similarity(*gradients, dim=0) > 0.999


def test_adapters_and_norms_compute_what_peft_and_transformers_do(folder):
    *fields, bounds = packed([9, 21])
    found = []
    for ours in (False, True):
        torch.manual_seed(0)
        model = add_lora(load(folder), 4, 24, "all-linear", autocast=False)
        for name, weight in model.named_parameters():
            if "lora_B" in name or "norm" in name:
                torch.nn.init.normal_(weight, 1.0 if "norm" in name else 0.0, 0.02)
        if ours:
            prepare(model, gradient_checkpointing=False, compile_layers=False)
            changed = [m for n, m in model.named_modules() if n.endswith(("q_proj", "norm"))]
            assert changed
            assert all("forward" in vars(m) for m in changed)
        else:
            for module in model.modules():
                vars(module).pop("forward", None)
        module = LossModule(model)
        loss = module(*fields, Segments.of(bounds, CPU)).loss
        loss.backward()
        found.append(torch.cat([loss[None], *(p.grad.flatten() for p in module.parameters() if p.requires_grad)]))
        with model.disable_adapter(), torch.no_grad():
            found[-1] = torch.cat([found[-1], module(*fields, Segments.of(bounds, CPU))[0][None]])
    assert (found[0] - found[1]).norm() / found[0].norm() < 1e-6
    assert found[0][0] != found[0][-1]


def test_all_linear_leaves_the_output_layer_alone(folder):
    model = add_lora(load(folder), 4, 16, "all-linear", autocast=False)
    names = {name.split(".lora_")[0].rsplit(".", 1)[-1] for name, p in model.named_parameters() if p.requires_grad}
    assert names == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        (["c_attn"], r"there are down_proj, gate_proj, .*q_proj"),
        (["q_proj", "lm_head"], "lm_head cannot have an adapter"),
        ("lm_head", "lm_head cannot have an adapter"),
        (
            ["q_proj", "c_attn"],
            r"^model\.target_modules=\[q_proj,c_attn\]: there is no layer c_attn \(there are down_proj",
        ),
        ("q_proj,c_attn", r"there is no layer c_attn"),
        (".*c_attn", r"there are down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj\)$"),
        ("*q_proj", "nothing to repeat"),
        ([], r"^model\.target_modules=\[\]: "),
        (["norm"], r"there are down_proj, gate_proj, k_proj"),
    ],
)
def test_wrong_target_modules_are_one_line(folder, modules, message):
    with pytest.raises(ModelError, match=message) as error:
        add_lora(load(folder), 4, 16, modules, autocast=False)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("modules", "expected"),
    [
        ("q_proj", {"q_proj"}),
        ("q_proj, v_proj", {"q_proj", "v_proj"}),
        ("self_attn.q_proj", {"q_proj"}),
        (r".*\.0\.self_attn\.(q|k)_proj", {"q_proj", "k_proj"}),
        (["q_proj"], {"q_proj"}),
    ],
)
def test_target_modules_are_a_name_or_names_or_a_pattern(folder, modules, expected):
    model = add_lora(load(folder), 4, 16, modules, autocast=False)
    names = {name.split(".lora_")[0].rsplit(".", 1)[-1] for name, p in model.named_parameters() if p.requires_grad}
    assert names == expected


def test_attention_is_packed_only_where_that_is_exact(folder, copied):
    assert choose_attention(str(folder), "auto", 2048) == PACKED
    assert choose_attention(str(folder), "sdpa", 2048) == "sdpa"
    change(
        copied, use_sliding_window=True, sliding_window=64, max_window_layers=1, layer_types=["sliding_attention"] * 2
    )
    assert choose_attention(str(copied), "auto", 64) == PACKED, "no sequence is longer than the window"
    assert choose_attention(str(copied), "auto", 2048) == "sdpa"
    assert choose_attention(str(copied), "auto", None) == "sdpa", "rows may be as long as the context"
    with pytest.raises(ModelError, match=r"write model\.attention=sdpa"):
        choose_attention(str(copied), "packed", 2048)


def test_our_attention_is_not_chosen_for_a_model_that_drops_attention_out(folder, copied):
    change(copied, attention_dropout=0.1)
    assert choose_attention(str(copied), "auto", 64) == "sdpa"


def change(folder, **values):
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def said(function, *arguments):
    with pytest.raises(ModelError) as error:
        function(*arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_missing_folder_is_one_line(tmp_path):
    assert said(load, tmp_path / "nothing").endswith("nothing: there is no such folder")
    assert said(load_tokenizer, "./nothing") == "./nothing: there is no such folder"


def test_a_name_that_the_hub_does_not_give_is_one_line(monkeypatch):
    def unreachable(*_, **__):
        raise OSError("We couldn't connect to 'https://huggingface.co' to load the files.\nCheck your connection.")

    monkeypatch.setattr(loading, "_hub_answers", lambda: True)
    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", unreachable)
    assert said(load_tokenizer, "Qwen/Qwen2.5-1.5B-Instruct") == (
        "Qwen/Qwen2.5-1.5B-Instruct: cannot be had from the Hugging Face hub (no network, or no such model);"
        " give the folder of a model, or make a small one: alfworld-sft tiny-model DIR"
    )


def refusal(kind, code=404):
    response = httpx.Response(code, request=httpx.Request("GET", "https://huggingface.co/someone/large"))
    return kind("Client Error.\nRequest ID: 7", response=response)


@pytest.mark.parametrize(
    ("cause", "reason"),
    [
        (
            refusal(hub.GatedRepoError, 403),
            "it is gated); accept its terms at https://huggingface.co/someone/large, then log in: hf auth login",
        ),
        (
            refusal(hub.RepositoryNotFoundError),
            "no such model, or a private one); check the name, or log in: hf auth login",
        ),
        (
            hub.LocalEntryNotFoundError("not in the cache"),
            "no network, and no copy on this machine); give the folder of a model, or make a small one:"
            " alfworld-sft tiny-model DIR",
        ),
        (
            refusal(hub.RemoteEntryNotFoundError),
            "a file is missing there: Client Error.); take a model that transformers can load",
        ),
        (
            refusal(hub.HfHubHTTPError, 503),
            "it says: Client Error.); try again later, or give the folder of a model, or make a small one:"
            " alfworld-sft tiny-model DIR",
        ),
    ],
    ids=lambda part: type(part).__name__,
)
def test_why_the_hub_does_not_give_a_model_is_said(monkeypatch, cause, reason):
    def refuse(*_, **__):
        raise OSError("someone/large: see below") from cause

    monkeypatch.setattr(loading, "_hub_answers", lambda: True)
    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", refuse)
    assert said(load_tokenizer, "someone/large") == (
        f"someone/large: cannot be had from the Hugging Face hub ({reason}"
    )


def test_a_hub_that_does_not_answer_is_asked_once_and_not_waited_for(monkeypatch):
    asked = []

    def refuse(address, timeout):
        asked.append(address)
        raise OSError("Name or service not known")

    monkeypatch.setattr(loading.socket, "create_connection", refuse)
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    loading._hub_answers.cache_clear()
    try:
        assert "cannot be had from the Hugging Face hub" in said(load_tokenizer, "nobody/no-such-model")
        assert "cannot be had from the Hugging Face hub" in said(load, "nobody/no-such-model")
    finally:
        loading._hub_answers.cache_clear()
    assert asked == [("huggingface.co", 443)]


def test_a_folder_without_a_model_is_one_line(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    assert "is not a causal language model that can be loaded: " in said(load, tmp_path)


def test_another_architecture_is_one_line(copied):
    change(copied, model_type="bert", architectures=["BertForMaskedLM"])
    assert str(copied) in said(load, copied)
    change(copied, model_type="t5", architectures=["T5ForConditionalGeneration"])
    assert "is not a causal language model that can be loaded: " in said(load, copied)


def test_missing_weights_are_one_line(copied):
    change(copied, num_hidden_layers=3, layer_types=["full_attention"] * 3)
    expected = {  # a layer of Qwen3 has two more norms, and no three biases
        "qwen2": "12 weights of Qwen2ForCausalLM are missing, such as model.layers.2.",
        "qwen3": "11 weights of Qwen3ForCausalLM are missing, such as model.layers.2.",
    }
    assert expected[loading.load_config(str(copied)).model_type] in said(load, copied)
    (copied / "model.safetensors").unlink()
    assert "is not a causal language model that can be loaded: " in said(load, copied)


def test_weights_of_another_shape_are_one_line(copied):
    change(copied, intermediate_size=100)
    assert str(copied) in said(load, copied)


def test_damaged_weights_are_one_line(copied):
    (copied / "model.safetensors").write_bytes(b"not safetensors")
    assert "is not a causal language model that can be loaded: " in said(load, copied)


def test_too_little_memory_is_one_line(folder, monkeypatch):
    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB.\nMore words.")

    monkeypatch.setattr(loading.AutoModelForCausalLM, "from_pretrained", full)
    assert said(load, folder) == f"{folder}: not enough memory to load it; use a smaller model or a larger device"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
def test_the_variable_length_kernel_agrees_with_plain_attention(folder):
    device = torch.device("cuda", 0)
    *fields, bounds = packed([9, 21, 200, 1])
    found = []
    for target, dtype in ((CPU, torch.float32), (device, torch.bfloat16)):
        module = LossModule(load_model(str(folder), dtype, target, PACKED), autocast=None)
        segments = Segments.of(bounds, target)
        loss, nll, *_ = module(*(tensor.to(target) for tensor in fields), segments)
        loss.backward()
        found.append(nll.detach().float().cpu())
    assert varlen_works(device)
    assert (found[0] - found[1]).abs().max() < 0.1
