"""Read the layers of a Hugging Face causal language model as plain tensors and numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import InputError
from .objections import ACTIVATIONS, KNOWN, hidden_activation, plain, reason_against
from .projection import Projection, projection_of


@dataclass(frozen=True, eq=False)
class Norm:
    """Layer norm, or RMS norm where `bias` is None; weight (d,) and bias (d,) float32.

    `rounds_first`: the normalised value is rounded to the model's precision before the product with
    the weight, as Llama does in half precision.
    """

    weight: Tensor
    bias: Tensor | None
    eps: float
    rounds_first: bool = True


@dataclass(frozen=True, eq=False)
class Layer:
    """One decoder layer.

    `window`: number of last positions that a token attends to, itself included; None for all.
    `gate` is None for an MLP without gating. `after_attention` and `after_mlp` normalise the
    outputs that are added to the residual stream (Gemma 2 and 3).
    """

    before_attention: Norm
    q: Projection
    k: Projection
    v: Projection
    q_norm: Norm | None
    k_norm: Norm | None
    out: Projection
    after_attention: Norm | None
    before_mlp: Norm
    gate: Projection | None
    up: Projection
    down: Projection
    after_mlp: Norm | None
    scale: float
    window: int | None
    rotary: str


@dataclass(frozen=True, eq=False)
class Architecture:
    """All that a forward pass needs, read from a model without copies where possible.

    Parameters
    ----------
    kind : str
        Class of the model.
    embed : Module
        Token ids to embeddings, scaled where the model scales them.
    positions : Tensor, (P, d), or None
        Learned position embeddings.
    rotary : Module or None
        The model's own rotary embedding.
    layers : tuple of Layer
    norm : Norm
        Before the output layer.
    head : Projection
        (V, d).
    activation : {"silu", "gelu", "gelu_tanh", "relu"}
    heads, key_heads, head_width, width, vocabulary : int
    attention_cap, logit_cap : float, optional
        Soft cap of attention scores and of logits (Gemma 2).
    dtype : torch.dtype
    device : torch.device
    """

    kind: str
    embed: Any
    positions: Tensor | None
    rotary: Any
    layers: tuple[Layer, ...]
    norm: Norm
    head: Projection
    activation: str
    heads: int
    key_heads: int
    head_width: int
    width: int
    vocabulary: int
    attention_cap: float | None
    logit_cap: float | None
    dtype: torch.dtype
    device: torch.device

    def projections(self) -> Iterator[Projection]:
        """Every linear layer, the output layer last."""
        for layer in self.layers:
            yield from (layer.q, layer.k, layer.v, layer.out)
            yield from (part for part in (layer.gate, layer.up, layer.down) if part is not None)
        yield self.head


def read_architecture(llm: Any) -> Architecture:
    """Read a model that :func:`reason_against` has no reason against.

    Raises
    ------
    InputError
        There is a reason.
    """
    reason = reason_against(llm)
    if reason is not None:
        raise InputError(
            f"DecodeEngine: llm must be a model that the engine can run, got one that it cannot: "
            f"{reason}. Use fastbrain.decoding.generate."
        )
    model = plain(llm)
    gpt2 = type(model).__name__ == "GPT2LMHeadModel"
    config, body = model.config, model.transformer if gpt2 else model.model
    head = projection_of(model.get_output_embeddings())
    width = config.hidden_size
    heads = config.num_attention_heads
    rounds = not KNOWN[type(model).__name__]
    activation = config.activation_function if gpt2 else hidden_activation(config)
    layers = (
        tuple(_gpt2_layer(block) for block in body.h)
        if gpt2
        else tuple(_layer(config, block, i, rounds) for i, block in enumerate(body.layers))
    )
    return Architecture(
        kind=type(model).__name__,
        embed=model.get_input_embeddings(),
        positions=body.wpe.weight if gpt2 else None,
        rotary=None if gpt2 else body.rotary_emb,
        layers=layers,
        norm=_norm(body.ln_f if gpt2 else body.norm, rounds),
        head=head,
        activation=ACTIVATIONS[activation],
        heads=heads,
        key_heads=heads if gpt2 else config.num_key_value_heads,
        head_width=layers[0].q.weight.shape[0] // heads,
        width=width,
        vocabulary=head.weight.shape[0],
        attention_cap=getattr(config, "attn_logit_softcapping", None),
        logit_cap=getattr(config, "final_logit_softcapping", None),
        dtype=head.weight.dtype,
        device=head.weight.device,
    )


def _norm(module: Any, rounds_first: bool = True) -> Norm:
    weight = module.weight.detach().float()
    if isinstance(module, nn.LayerNorm):
        return Norm(weight, module.bias.detach().float(), module.eps)
    eps = getattr(module, "variance_epsilon", None)
    if eps is None:
        eps = module.eps
    return Norm(weight if rounds_first else 1.0 + weight, None, float(eps), rounds_first)


def _layer(config: Any, block: Any, index: int, rounds: bool) -> Layer:
    attention, mlp = block.self_attn, block.mlp
    kinds = getattr(config, "layer_types", None)
    kind = kinds[index] if kinds else None
    sliding = getattr(config, "sliding_window", None)
    if kind is not None and kind != "sliding_attention":
        sliding = None
    if type(config).__name__ == "LlamaConfig":
        sliding = None
    four = hasattr(block, "pre_feedforward_layernorm")

    def norm(name: str, owner: Any = block) -> Norm | None:
        return _norm(getattr(owner, name), rounds) if hasattr(owner, name) else None

    after = _norm(block.post_attention_layernorm, rounds)
    before_mlp = norm("pre_feedforward_layernorm") or after
    return Layer(
        before_attention=_norm(block.input_layernorm, rounds),
        q=projection_of(attention.q_proj),
        k=projection_of(attention.k_proj),
        v=projection_of(attention.v_proj),
        q_norm=norm("q_norm", attention),
        k_norm=norm("k_norm", attention),
        out=projection_of(attention.o_proj),
        after_attention=after if four else None,
        before_mlp=before_mlp,
        gate=projection_of(mlp.gate_proj),
        up=projection_of(mlp.up_proj),
        down=projection_of(mlp.down_proj),
        after_mlp=norm("post_feedforward_layernorm"),
        scale=float(attention.scaling),
        window=sliding,
        rotary=kind or "",
    )


def _gpt2_layer(block: Any) -> Layer:
    attention = block.attn
    joined = projection_of(attention.c_attn)
    q, k, v = joined.split(3)
    return Layer(
        before_attention=_norm(block.ln_1),
        q=q,
        k=k,
        v=v,
        q_norm=None,
        k_norm=None,
        out=projection_of(attention.c_proj),
        after_attention=None,
        before_mlp=_norm(block.ln_2),
        gate=None,
        up=projection_of(block.mlp.c_fc),
        down=projection_of(block.mlp.c_proj),
        after_mlp=None,
        scale=float(attention.scaling),
        window=None,
        rotary="",
    )
