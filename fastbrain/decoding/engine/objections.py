"""Reasons why the forward pass of the engine would differ from that of a model."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ...lm.device_map import is_placed
from ...ops.module_checks import touched, untouched
from .projection import projection_reason

# class of the model -> whether its norms multiply by 1 + weight
KNOWN = {
    "LlamaForCausalLM": False,
    "MistralForCausalLM": False,
    "Qwen2ForCausalLM": False,
    "Qwen3ForCausalLM": False,
    "GemmaForCausalLM": True,
    "Gemma2ForCausalLM": True,
    "Gemma3ForCausalLM": True,
    "GPT2LMHeadModel": False,
}
# types of rotary embedding with frequencies that do not depend on the length of the sequence
_FIXED_ROTARY = {"default", "linear", "llama3", "yarn"}
ACTIVATIONS = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
}


def plain(llm: Any) -> Any:
    """Return the model that adapters wrap, or the model itself."""
    return llm.get_base_model() if hasattr(llm, "get_base_model") else llm


def reason_against(llm: Any) -> str | None:
    """Return None, or the reason why the forward pass here would not be that of the model."""
    model = plain(llm)
    if is_placed(model):
        return "a device map says where its layers are"
    name = type(model).__name__
    known = type(model).__module__.startswith("transformers.models.")
    if name not in KNOWN or not known:
        listed = ", ".join(n.removesuffix("ForCausalLM") for n in KNOWN)
        return f"{name} is not one of {listed}"
    # of PEFT: prompt tuning and its kin
    adapters = getattr(llm, "peft_config", {}).values()
    if any(getattr(one, "is_prompt_learning", False) for one in adapters):
        return "its adapter puts tokens before the text"
    config = model.config
    if getattr(config, "use_bidirectional_attention", False):
        return "its attention is not causal"
    if name == "GPT2LMHeadModel":
        if config.add_cross_attention:
            return "it has cross-attention"
        activation = config.activation_function
    else:
        activation = hidden_activation(config)
        if KNOWN[name] and not hasattr(model.get_input_embeddings(), "embed_scale"):
            return "this version of transformers scales the embeddings within the model"
        rotary = _rotary_reason(model.model.rotary_emb)
        if rotary is not None:
            return rotary
    if activation not in ACTIVATIONS:
        return f"its activation is {activation}"
    devices = {str(p.device) for p in model.parameters()}
    if len(devices) != 1 or "meta" in devices:
        return f"its weights are on {', '.join(sorted(devices))}"
    return _module_reason(model)


def _module_reason(model: Any) -> str | None:
    """Reason why a module computes something else than its weights say, or None."""
    adapted: set[str] = set()
    types: set[str] = set()
    why: str | None
    for name, module in model.named_modules():
        if any(name.startswith(f"{one}.") for one in adapted):
            continue
        if hasattr(module, "modules_to_save"):
            why = f"is a {type(module).__module__}.{type(module).__name__}"
        elif hasattr(module, "base_layer") or type(module).__name__ == "AdaptedLinear":
            adapted.add(name)
            why = projection_reason(module)
        elif isinstance(module, nn.Linear):
            why = touched(module)
        else:
            why = None if untouched(module) else "has hooks or a forward pass of its own"
        weight = getattr(getattr(module, "base_layer", module), "weight", None)
        if why is None and weight is not None and not isinstance(weight, Tensor):
            why = f"is a {type(module).__module__}.{type(module).__name__}"
        if why is not None:
            return f"its layer {name or 'itself'} {why}"
        if weight is not None and weight.ndim == 2:
            types.add(str(weight.dtype).removeprefix("torch."))
    return None if len(types) == 1 else f"its weights are {' and '.join(sorted(types))}"


def _rotary_reason(rotary: Any) -> str | None:
    kinds = rotary.rope_type
    for kind in set(kinds.values()) if isinstance(kinds, dict) else {kinds}:
        if kind not in _FIXED_ROTARY:
            return f"its rotary embedding of type {kind} depends on the length of the sequence"
    return None


def hidden_activation(config: Any) -> str:
    """Name of the activation of the MLP in a configuration."""
    return getattr(config, "hidden_activation", None) or config.hidden_act
