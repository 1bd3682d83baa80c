"""From a model's name to a module that returns a loss: loading, adapters, attention between packed sequences.

Every way in which a model cannot be had is a ModelError of one line. Weights are read from safetensors only, and no
code from a model's folder is run.
"""

from __future__ import annotations

import inspect
import logging
import os
import re
import socket
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Literal, cast
from urllib.parse import urlsplit

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers import logging as transformers_logging

from alfworld_sft.errors import UserError
from alfworld_sft.train.inputs import is_path
from alfworld_sft.train.loss import weighted_cross_entropy

logger = logging.getLogger(__name__)

PACKED = "alfworld_packed"
"""Name of our attention function in transformers' registry."""
PACKED_FAMILIES = frozenset({"llama", "mistral", "olmo2", "phi3", "qwen2", "qwen3", "smollm3", "granite"})
"""Architectures whose attention is plain (causal, without sinks and soft caps), as are their RMS norms."""


class ModelError(UserError):
    """A model or tokenizer that cannot be loaded or trained."""


@dataclass(frozen=True, slots=True)
class Segments:
    """Where the sequences of a micro-batch lie, for attention that stays inside each.

    `cu_seqlens` (sequences + 1,) is int32 and on the device. `longest` is rounded up, so that it has few values.
    """

    lengths: tuple[int, ...]
    cu_seqlens: Tensor
    longest: int

    @classmethod
    def of(cls, cu_seqlens: Tensor, device: torch.device) -> Segments:
        """Make them from the bounds of the sequences, (sequences + 1,)."""
        lengths = tuple(cu_seqlens.diff().tolist())
        return cls(lengths, cu_seqlens.to(device=device, dtype=torch.int32), 1 << (max(lengths) - 1).bit_length())


class LossModule(nn.Module):
    """A causal language model whose forward pass returns the loss of a micro-batch, without its whole logits."""

    def __init__(self, model: Any, *, autocast: torch.dtype | None = None) -> None:
        super().__init__()
        self.model = model
        self.autocast = autocast
        base = base_of(model)
        head = base.get_output_embeddings()
        if getattr(head, "bias", None) is not None or not isinstance(head, nn.Linear):
            raise ModelError(f"{type(base).__name__}: its output layer is not a plain matrix")
        self.packed = base.config._attn_implementation == PACKED
        self.logit_scale = _logit_scale(base.config)

    def forward(
        self, input_ids: Tensor, position_ids: Tensor, labels: Tensor, weights: Tensor, segments: Segments
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return Σ weight·nll, and each token's nll and whether the most probable token was right, both (1, tokens).

        All but `segments` have shape (1, tokens); `labels` are shifted already and -100 where there is none.
        """
        base = base_of(self.model)
        extra: dict[str, Any] = {"segments": segments} if self.packed else {}
        device_type = input_ids.device.type
        with torch.autocast(device_type, self.autocast or torch.bfloat16, enabled=self.autocast is not None):
            hidden = base.model(input_ids=input_ids, position_ids=position_ids, use_cache=False, **extra)[0]
            loss, nll, correct = weighted_cross_entropy(
                hidden, base.get_output_embeddings().weight, labels, weights, scale=self.logit_scale
            )
        return loss, nll, correct


def _logit_scale(config: Any) -> float:
    """Return what a model multiplies its logits by, under the names that architectures have for it."""
    scale = (getattr(config, "logit_scale", None) or 1.0) * (getattr(config, "lm_head_multiplier", None) or 1.0)
    return float(scale / (getattr(config, "logits_scaling", None) or 1.0))


def base_of(model: Any) -> Any:
    """Return the transformers model inside a PEFT model, or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def plain_name(name: str) -> str:
    """Return the name that a weight of the base has without adapters; PEFT nests a layer in `base_layer`."""
    return re.sub(r"(^|\.)base_layer(?=\.)", "", name)


def adapted_name(name: str, layer: Any) -> str:
    """Return the plain name of the weight that an adapter's layer of this name changes."""
    return plain_name(f"{name}.{getattr(layer, 'parameter_name', 'weight')}")


def cast_weights(model: Any, dtype: torch.dtype) -> Any:
    """Convert a model's weights in place, and return it.

    Its buffers stay: rotary frequencies in bfloat16 are wrong by a radian after some hundred tokens.
    """
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    return model


def layers_of(model: Any) -> Sequence[nn.Module]:
    """Return the decoder's layers."""
    return list(base_of(model).model.layers)


def load_tokenizer(name: str) -> Any:
    """Load a model's tokenizer; raises ModelError."""
    with _one_line(name):
        return AutoTokenizer.from_pretrained(name, local_files_only=_only_local(name), trust_remote_code=False)


def load_config(name: str) -> Any:
    """Load a model's config; raises ModelError."""
    with _one_line(name):
        return AutoConfig.from_pretrained(name, local_files_only=_only_local(name), trust_remote_code=False)


def load_model(name: str, dtype: torch.dtype | Literal["auto"], device: torch.device, attention: str = "sdpa") -> Any:
    """Load a causal language model; raises ModelError with one line that says what is wrong and what to do."""
    if (Path(name) / "adapter_config.json").is_file():  # transformers would load the base that it names
        raise ModelError(f"{name} holds an adapter, not a whole model; merge it first: alfworld-sft merge {name} DIR")
    config = load_config(name)
    with _one_line(name):
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            name,
            config=config,
            dtype=dtype,
            attn_implementation=attention,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=_only_local(name),
            output_loading_info=True,
        )
        model, info = loaded
        missing = sorted(info["missing_keys"])
        if missing:
            raise ModelError(
                f"{name}: {len(missing)} weights of {type(model).__name__} are missing, such as {missing[0]}"
            )
        if not hasattr(getattr(model, "model", None), "layers"):
            raise ModelError(f"{name}: {type(model).__name__} is not a decoder of the usual shape")
        if getattr(config, "final_logit_softcapping", None):
            raise ModelError(f"{name}: {type(model).__name__} changes its logits after the output layer; not supported")
        return model.to(device)


def choose_attention(name: str, wish: Literal["auto", "packed", "sdpa"], max_length: int) -> str:
    """Return the attention to load a model with: ours, where the architecture's attention is plain."""
    config = load_config(name)
    layer_types = getattr(config, "layer_types", None)  # without them a window holds for every layer
    windowed = layer_types is None or "sliding_attention" in layer_types
    window = getattr(config, "sliding_window", None) if windowed else None
    plain = config.model_type in PACKED_FAMILIES and (window is None or window >= max_length)
    plain = plain and not getattr(config, "attention_dropout", 0)
    if wish == "packed" and not plain:
        raise ModelError(
            f"model.attention=packed: not for {config.model_type} as its config has it; write model.attention=sdpa"
        )
    return PACKED if plain and wish != "sdpa" else "sdpa"


def add_lora(model: Any, rank: int, alpha: float, target_modules: str | Sequence[str], *, autocast: bool) -> Any:
    """Return the model with float32 adapters on its linear layers, the output layer excepted.

    Under autocast the adapters take the layer's input as it is, and are computed in its type.
    """
    from peft import LoraConfig, get_peft_model  # noqa: PLC0415 - slow to import, and not needed without adapters
    from peft.tuners.lora import LoraLayer  # noqa: PLC0415
    from peft.tuners.lora.layer import Linear as LoraLinear  # noqa: PLC0415

    wanted = _modules_of(target_modules)
    names = _layer_names(model)
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        target_modules=wanted,
        lora_dropout=0.0,
        bias="none",
        task_type="CAUSAL_LM",
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of PEFT's own use of transformers
            warnings.filterwarnings("ignore", "The following (rank|alpha)_pattern keys")  # its own, for experts
            warnings.filterwarnings("ignore", "Model (with|has) `tie_word_embeddings=True`")  # merging parts the two
            adapted: Any = get_peft_model(model, config, autocast_adapter_dtype=True)
    except (ValueError, re.error) as error:
        said = f"{_first_line(error)} (there are {', '.join(names)})"
        raise ModelError(f"model.target_modules={_written(target_modules)}: {said}") from None
    _check_targets(adapted, target_modules, wanted, names)
    layers: list[Any] = list(adapted.modules())
    for layer in layers:
        if isinstance(layer, LoraLayer):
            layer.cast_input_dtype_enabled = not autocast
        if type(layer) is LoraLinear:
            layer.forward = partial(_adapted_linear, layer, layer.forward)
    return adapted


def _modules_of(target_modules: str | Sequence[str]) -> str | list[str]:
    """Return what PEFT takes: a list of names, a pattern for whole names, or all-linear; a name alone is a list."""
    if not isinstance(target_modules, str):
        return list(target_modules)
    if target_modules != "all-linear" and re.fullmatch(r"[\w.]+(\s*,\s*[\w.]+)*", target_modules):
        return [name.strip() for name in target_modules.split(",")]
    return target_modules


def _layer_names(model: Any) -> list[str]:
    """Return the last parts of the names of a model's matrices, the output layer's excepted."""
    head = model.get_output_embeddings()
    linear = (n for n, m in model.named_modules() if isinstance(m, nn.Linear) and m is not head)
    return sorted({name.rsplit(".", 1)[-1] for name in linear})


def _check_targets(adapted: Any, said: str | Sequence[str], wanted: str | list[str], names: list[str]) -> None:
    """Raise ModelError where a name is no layer's, where nothing is trained, or where the output layer would be."""
    option = f"model.target_modules={_written(said)}"
    present = [plain_name(name) for name, _ in adapted.named_modules()]
    experts = getattr(adapted.peft_config["default"], "target_parameters", None)  # named as they once were
    unknown = [w for w in wanted if not any(f".{n}".endswith(f".{w}") for n in present)]
    if not isinstance(wanted, str) and unknown and not experts:
        raise ModelError(f"{option}: there is no layer {', '.join(unknown)} (there are {', '.join(names)})")
    if not any(parameter.requires_grad for parameter in adapted.parameters()):
        raise ModelError(f"{option}: no layer would be trained (there are {', '.join(names)})")
    if hasattr(base_of(adapted).get_output_embeddings(), "base_layer"):
        raise ModelError(f"{option}: lm_head cannot have an adapter: the loss is computed from its matrix")


def _written(target_modules: str | Sequence[str]) -> str:
    """Return the option as it is written on the command line."""
    return target_modules if isinstance(target_modules, str) else f"[{','.join(target_modules)}]"


def _adapted_linear(layer: Any, plain: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Return base(x) + alpha/rank · x·Aᵀ·Bᵀ as PEFT does (`plain`), without its passes over the whole output.

    The scaled product is added in the last matrix multiplication. Inputs are not cast: without autocast all is float32.
    """
    if layer.disable_adapters or layer.merged:
        return plain(x)
    base = layer.base_layer(x)  # (..., out)
    reduced = nn.functional.linear(x, layer.lora_A["default"].weight)  # (..., rank)
    out = torch.addmm(
        base.flatten(0, -2), reduced.flatten(0, -2), layer.lora_B["default"].weight.t(), alpha=layer.scaling["default"]
    )
    return out.view_as(base)


def prepare(model: Any, *, gradient_checkpointing: bool, compile_layers: bool) -> None:
    """Set a model up for training, in place; see `compile_each_layer` for doing that later."""
    model.train()
    if base_of(model).config.model_type in PACKED_FAMILIES:
        for module in base_of(model).modules():
            if type(module).__name__.endswith("RMSNorm") and hasattr(module, "variance_epsilon"):
                module.forward = partial(_rms_norm, module)
    base_of(model).config.use_cache = False
    if gradient_checkpointing:
        base = base_of(model)
        enable = getattr(base, "activation_checkpointing_enable", None) or base.gradient_checkpointing_enable
        enable({"use_reentrant": False})
    device = next(model.parameters()).device
    if device.type == "cuda":
        _varlen_works(device)  # decide before anything is compiled
    if compile_layers:
        compile_each_layer(model)


def compile_each_layer(model: Any) -> None:
    """Have every layer compiled when it is first used, in place."""
    for layer in layers_of(model):
        layer.compile()


def _rms_norm(norm: Any, hidden: Tensor) -> Tensor:
    """Return weight · hidden/rms(hidden) in hidden's type, in one kernel; autocast would make it float32."""
    with torch.autocast(hidden.device.type, enabled=False):
        return nn.functional.rms_norm(hidden, norm.weight.shape, norm.weight.to(hidden.dtype), norm.variance_epsilon)


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    segments: Segments | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attend causally inside each sequence of a micro-batch.

    `query` is (1, heads, tokens, d), `key` and `value` (1, kv_heads, tokens, d); returns (1, tokens, heads, d).
    """
    if segments is None or dropout:
        raise RuntimeError("packed attention needs to know the sequences, and has no dropout")
    query, key = query.to(value.dtype), key.to(value.dtype)  # rotary embedding leaves them in float32 under autocast
    if query.is_cuda and _varlen_works(query.device):
        q, k, v = (x[0].transpose(0, 1).contiguous() for x in (query, key, value))  # (tokens, heads, d)
        return _varlen(q, k, v, segments, scaling)[None], None
    return _attend_each(query, key, value, segments, scaling), None


def _attend_each(query: Tensor, key: Tensor, value: Tensor, segments: Segments, scaling: float | None) -> Tensor:
    """Attend to one sequence after the other: exact, and a sequence's result does not depend on its neighbours."""
    gqa = query.shape[1] != key.shape[1]
    lengths = list(segments.lengths)
    parts = zip(*(torch.split(x, lengths, dim=2) for x in (query, key, value)), strict=True)
    attend = nn.functional.scaled_dot_product_attention
    outs = [attend(q, k, v, is_causal=True, scale=scaling, enable_gqa=gqa) for q, k, v in parts]
    return torch.cat(outs, dim=2).transpose(1, 2)


def _varlen(q: Tensor, k: Tensor, v: Tensor, segments: Segments, scaling: float | None) -> Tensor:
    """Call PyTorch's variable-length kernel under the names that its version has for causal attention."""
    from torch.nn.attention.varlen import varlen_attn  # noqa: PLC0415 - absent from older versions

    out: Any = varlen_attn(
        q, k, v, segments.cu_seqlens, segments.cu_seqlens, segments.longest, segments.longest,
        **_varlen_options(q.shape[1] != k.shape[1], scaling),
    )  # fmt: skip
    return cast("Tensor", out)


def _varlen_options(gqa: bool, scaling: float | None) -> dict[str, Any]:
    options: dict[str, Any] = {"window_size": (-1, 0)} if "window_size" in _VARLEN_NAMES else {"is_causal": True}
    if "scale" in _VARLEN_NAMES:
        options["scale"] = scaling
    if "enable_gqa" in _VARLEN_NAMES:
        options["enable_gqa"] = gqa
    return options


def _varlen_names() -> frozenset[str]:
    try:
        from torch.nn.attention.varlen import varlen_attn  # noqa: PLC0415
    except ImportError:
        return frozenset()
    return frozenset(inspect.signature(varlen_attn).parameters)


_VARLEN_NAMES = _varlen_names()
_varlen_verdict: dict[int, bool] = {}


def _varlen_works(device: torch.device) -> bool:
    """Compare the kernel with plain attention, once for each device; a kernel that differs is not used."""
    index = device.index or 0
    if index not in _varlen_verdict:
        _varlen_verdict[index] = bool(_VARLEN_NAMES) and _varlen_agrees(device)
        if not _varlen_verdict[index]:
            logger.warning("the variable-length attention kernel does not work here: sequences take turns")
    return _varlen_verdict[index]


@torch.no_grad()
def _varlen_agrees(device: torch.device) -> bool:
    segments = Segments.of(torch.tensor([0, 5, 133, 200]), device)
    q, k, v = (torch.randn(1, heads, 200, 64, device=device, dtype=torch.bfloat16) for heads in (4, 2, 2))
    tokens_first = [x[0].transpose(0, 1).contiguous() for x in (q, k, v)]
    try:
        kernel = _varlen(tokens_first[0], tokens_first[1], tokens_first[2], segments, 0.125)
    except (RuntimeError, TypeError, ValueError) as error:
        logger.info("variable-length attention: %s", _first_line(error))
        return False
    plain = _attend_each(q, k, v, segments, 0.125)[0]
    return bool((kernel - plain).abs().max() < 0.03)  # two bfloat16 kernels over values of size 1


AttentionInterface.register(PACKED, packed_attention)


@contextmanager
def _one_line(name: str) -> Iterator[None]:
    """Turn what goes wrong while a model is loaded into one line."""
    if is_path(name) and not Path(name).is_dir():
        raise ModelError(f"model.partial_pretrain={name}: there is no such folder")
    level = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()  # of reading shards; a download's own bar stays
    try:
        yield
    except UserError:
        raise
    except (torch.OutOfMemoryError, MemoryError):
        raise ModelError(f"{name}: not enough memory to load it; take a smaller model or a larger device") from None
    except Exception as error:  # transformers raises anything
        raise ModelError(f"{name}: {_reason(name, error)}") from None
    finally:
        transformers_logging.set_verbosity(level)


def _only_local(name: str) -> bool:
    """Tell whether only what is on disk is of use: a folder, or a hub that does not answer."""
    return is_path(name) or not _hub_answers()


@lru_cache(maxsize=1)
def _hub_answers() -> bool:
    """Ask once whether the hub can be reached: its client would try for most of a minute, over and over."""
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        return True
    address = urlsplit(os.environ.get("HF_ENDPOINT") or "https://huggingface.co")
    try:
        with socket.create_connection((address.hostname or "", address.port or 443), timeout=10):
            return True
    except OSError:
        return False


def _reason(name: str, error: Exception) -> str:
    if isinstance(error, OSError) and not Path(name).is_dir():
        return (
            "cannot be had from the Hugging Face hub (no network, or no such model); give the folder of a model,"
            " or make a small one: alfworld-sft tiny-model DIR"
        )
    if "trust_remote_code" in str(error):
        return "brings code of its own (auto_map), which is never run; take a model that transformers itself knows"
    if "out of memory" in str(error) or "can't allocate memory" in str(error):
        return "not enough memory to load it; take a smaller model or a larger device"
    return f"is not a causal language model that can be loaded: {_first_line(error)}"


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
