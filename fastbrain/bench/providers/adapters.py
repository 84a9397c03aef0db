"""Low-rank adapted layers of other packages: PEFT, and the products of unsloth on a GPU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ..registry import Provider, Setting, Way
from .needs import first, missing, needs_gpu


def _linear(inputs: Mapping[str, Any]) -> str | None:
    return None if inputs["activation"] is None else "has linear adapters only"


def _peft_runs(inputs: Mapping[str, Any], setting: Setting) -> str | None:
    return first(_linear(inputs), missing("peft", "peft"))


def _peft(inputs: Mapping[str, Any], setting: Setting) -> Way:
    """The same layer as PEFT builds it."""
    from peft import LoraConfig, get_peft_model

    x, weight, bias, a, b = (inputs[name] for name in ("x", "weight", "bias", "a", "b"))
    base = nn.Linear(*weight.T.shape).to(weight)
    with torch.no_grad():
        base.weight.copy_(weight)
        base.bias.copy_(bias)
    config = LoraConfig(target_modules=["0"], r=len(a), lora_alpha=len(a), lora_dropout=0.0)
    made: Any = get_peft_model(nn.Sequential(base), config)
    layer = made.base_model.model[0].to(weight)
    lora_a, lora_b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    with torch.no_grad():
        lora_a.copy_(a)
        lora_b.copy_(b)
    upstream = inputs["upstream"]
    if upstream is None:
        quiet = torch.no_grad()(layer)
        return lambda: (quiet(x),)

    def step() -> tuple[torch.Tensor, ...]:
        out = layer(x)
        return out, *torch.autograd.grad(out, (x, lora_a, lora_b), upstream)

    return step


def _unsloth_runs(inputs: Mapping[str, Any], setting: Setting) -> str | None:
    step = None if inputs["upstream"] is None else "its layer of one matrix has no bias to train"
    return first(needs_gpu(setting), _linear(inputs), step, missing("unsloth", "unsloth"))


def _unsloth(inputs: Mapping[str, Any], setting: Setting) -> Way:
    from unsloth.kernels.utils import matmul_lora

    x, weight, bias, a, b = (inputs[name] for name in ("x", "weight", "bias", "a", "b"))
    quiet = torch.no_grad()(matmul_lora)
    return lambda: (quiet(x, weight, None, a, b, 1.0) + bias,)


PROVIDERS = (
    Provider("peft", "lora_linear", _peft, _peft_runs),
    Provider("unsloth", "lora_linear", _unsloth, _unsloth_runs),
)
