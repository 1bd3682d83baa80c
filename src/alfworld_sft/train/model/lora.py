"""How are LoRA adapters added and computed?"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from alfworld_sft.models.load import ModelError, base_of, first_line, plain_name


def add_lora(model: Any, rank: int, alpha: float, target_modules: str | Sequence[str], *, autocast: bool) -> Any:
    """Return the model with float32 adapters on its linear layers, except the output layer.

    Under autocast the adapters take the layer's input as it is and compute in its dtype.
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
            warnings.simplefilter("ignore", FutureWarning)  # from PEFT's own use of transformers
            warnings.filterwarnings("ignore", "The following (rank|alpha)_pattern keys")  # PEFT's own, for experts
            warnings.filterwarnings("ignore", "Model (with|has) `tie_word_embeddings=True`")  # merging unties the two
            adapted: Any = get_peft_model(model, config, autocast_adapter_dtype=True)
    except (ValueError, re.error) as error:
        said = f"{first_line(error)} (there are {', '.join(names)})"
        raise ModelError(f"model.target_modules={_format_targets(target_modules)}: {said}") from None
    _check_targets(adapted, target_modules, wanted, names)
    layers: list[Any] = list(adapted.modules())
    for layer in layers:
        if isinstance(layer, LoraLayer):
            layer.cast_input_dtype_enabled = not autocast
        if type(layer) is LoraLinear:
            layer.forward = partial(_lora_linear, layer, layer.forward)
    return adapted


def _lora_linear(layer: Any, plain: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Return base(x) + alpha/rank · x·Aᵀ·Bᵀ as PEFT does (`plain`), without its passes over the full output.

    The last matrix multiplication adds the scaled product. Inputs are not cast: without autocast everything is float32.
    """
    if layer.disable_adapters or layer.merged:
        return plain(x)
    base = layer.base_layer(x)  # (..., out)
    reduced = nn.functional.linear(x, layer.lora_A["default"].weight)  # (..., rank)
    out = torch.addmm(
        base.flatten(0, -2), reduced.flatten(0, -2), layer.lora_B["default"].weight.t(), alpha=layer.scaling["default"]
    )
    return out.view_as(base)


def adapted_name(name: str, layer: Any) -> str:
    """Return the plain name of the weight changed by the adapter's layer of this name."""
    return plain_name(f"{name}.{getattr(layer, 'parameter_name', 'weight')}")


def _modules_of(target_modules: str | Sequence[str]) -> str | list[str]:
    """Return target modules as PEFT takes them: a list of names, a pattern for full names, or all-linear.

    A single name becomes a list.
    """
    if not isinstance(target_modules, str):
        return list(target_modules)
    if target_modules != "all-linear" and re.fullmatch(r"[\w.]+(\s*,\s*[\w.]+)*", target_modules):
        return [name.strip() for name in target_modules.split(",")]
    return target_modules


def _layer_names(model: Any) -> list[str]:
    """Return the last parts of the names of a model's matrices, except the output layer's."""
    head = model.get_output_embeddings()
    linear = (n for n, m in model.named_modules() if isinstance(m, nn.Linear) and m is not head)
    return sorted({name.rsplit(".", 1)[-1] for name in linear})


def _check_targets(adapted: Any, said: str | Sequence[str], wanted: str | list[str], names: list[str]) -> None:
    """Raise ModelError if a name matches no layer, if nothing is trained, or if the output layer would be."""
    option = f"model.target_modules={_format_targets(said)}"
    present = [plain_name(name) for name, _ in adapted.named_modules()]
    experts = getattr(adapted.peft_config["default"], "target_parameters", None)  # under their former names
    unknown = [w for w in wanted if not any(f".{n}".endswith(f".{w}") for n in present)]
    if not isinstance(wanted, str) and unknown and not experts:
        raise ModelError(f"{option}: there is no layer {', '.join(unknown)} (there are {', '.join(names)})")
    if not any(parameter.requires_grad for parameter in adapted.parameters()):
        raise ModelError(f"{option}: no layer would be trained (there are {', '.join(names)})")
    if hasattr(base_of(adapted).get_output_embeddings(), "base_layer"):
        raise ModelError(f"{option}: lm_head cannot have an adapter: the loss is computed from its matrix")


def _format_targets(target_modules: str | Sequence[str]) -> str:
    """Format the option as on the command line."""
    return target_modules if isinstance(target_modules, str) else f"[{','.join(target_modules)}]"
