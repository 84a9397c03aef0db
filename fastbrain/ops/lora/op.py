"""Low-rank adapted linear layers and attention.

``y = x Wᵀ + bias + scale · act(x Aᵀ) Bᵀ`` with ``A (r, d_in)`` and ``B (d_out, r)``. Without an
activation this is LoRA (Hu et al. 2021, arXiv 2106.09685, eq. 3); with one it is the nonlinear
low-rank adapter of LLM4Brain (arXiv 2409.17987, fig. 2), which cannot be merged into ``W``.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor

from .. import _dispatch
from . import cpu, cpu_decode, cuda, triton
from .checks import (
    AttentionProblem,
    Layer,
    LinearProblem,
    LoraWeights,
    attention_problem,
    linear_problem,
)


def reference_linear(problem: LinearProblem) -> Tensor:
    """Reference implementation of :func:`lora_linear` in plain PyTorch."""
    x, weight, bias, a, b, scale, activation = problem
    rows = x.reshape(-1, x.shape[-1])
    low = F.linear(rows, a)  # (M, r)
    if activation is not None:
        low = getattr(F, activation)(low)
    # in place: no second array of the size of the output
    y = F.linear(rows, weight, bias).addmm_(low, b.T, alpha=scale)
    return y.reshape(*x.shape[:-1], weight.shape[0])


def reference_attention(problem: AttentionProblem) -> Tensor:
    """Reference implementation of :func:`lora_attention` in plain PyTorch."""
    x, qkv, out, adapters, num_heads, mask = problem

    def project(name: str, value: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if name not in adapters:
            return F.linear(value, weight, bias)
        w = adapters[name]
        problem = LinearProblem(value, weight, bias, w.a, w.b, w.scale, w.activation)
        return reference_linear(problem)

    batch, length, width = x.shape
    weights = qkv[0].chunk(3)
    biases = (None, None, None) if qkv[1] is None else qkv[1].chunk(3)
    q, k, v = (
        project(name, x, w, bias)
        .reshape(batch, length, num_heads, width // num_heads)
        .transpose(1, 2)  # (B, H, T, E/H)
        for name, w, bias in zip("qkv", weights, biases, strict=True)
    )
    heads = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    return project("out", heads.transpose(1, 2).reshape(batch, length, width), *out)


def lora_linear(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    a: Tensor,
    b: Tensor,
    *,
    scale: float = 1.0,
    activation: str | None = None,
    backend: str | None = None,
) -> Tensor:
    """Linear layer with a low-rank adapter branch.

    ``y = x Wᵀ + bias + scale · act(x Aᵀ) Bᵀ``

    Parameters
    ----------
    x : Tensor, (..., d_in) float
    weight : Tensor, (d_out, d_in)
    bias : Tensor, (d_out,), or None
    a : Tensor, (r, d_in)
    b : Tensor, (d_out, r)
    scale : float
    activation : {None, "gelu", "silu", "relu"}
        Activation between A and B; gelu is the exact form, not the tanh approximation.
    backend : str, optional

    Returns
    -------
    Tensor, (..., d_out), dtype of `x` (or of autocast, if enabled)

    Raises
    ------
    InputError
        Shape, dtype, device or activation break the contract.
    BackendError
        The requested backend cannot run these inputs.
    """
    operation = OPERATIONS["lora_linear"]
    if _dispatch.runs_first(operation, "cpu", backend):
        y = cpu_decode.at_once(x, weight, bias, a, b, scale, activation)
        if y is not None:
            _dispatch.note(operation, "cpu")
            return y
    problem = linear_problem(x, weight, bias, a, b, scale=scale, activation=activation)
    return _dispatch.run(operation, problem, backend)


def lora_attention(
    x: Tensor,
    qkv: Layer,
    out: Layer,
    *,
    adapters: Mapping[str, LoraWeights],
    num_heads: int,
    mask: Tensor | None = None,
    backend: str | None = None,
) -> Tensor:
    """Self-attention with low-rank adapters on its projections: softmax(q kᵀ / sqrt(E/H)) v.

    Parameters
    ----------
    x : Tensor, (B, T, E) float
    qkv : tuple
        Weight (3E, E), rows in the order q, k, v, and bias (3E,) or None.
    out : tuple
        Weight (E, E) and bias (E,) or None.
    adapters : mapping
        Any of "q", "k", "v", "out" to :class:`LoraWeights`.
    num_heads : int
        Divides E.
    mask : Tensor, (B or 1, H or 1, T, T) bool, optional
        True = the column may be attended to; every row needs at least one.
    backend : str, optional

    Returns
    -------
    Tensor, (B, T, E)

    Raises
    ------
    InputError
        A shape, dtype, device or adapter name is invalid, or a row is completely masked.
    BackendError
        The requested backend cannot run these inputs.
    """
    problem = attention_problem(x, qkv, out, adapters=adapters, num_heads=num_heads, mask=mask)
    return _dispatch.run(OPERATIONS["lora_attention"], problem, backend)


OPERATIONS = {
    "lora_linear": _dispatch.Operation(
        "lora_linear",
        linear_problem,
        (
            _dispatch.Backend("cuda", cuda.can_run, cuda.call, slower=cuda.slower),
            _dispatch.Backend("triton", triton.can_run, triton.call),
            _dispatch.Backend("cpu", cpu.can_run, cpu.call, cpu_decode.how),
            _dispatch.Backend("reference", _dispatch.anything, reference_linear),
        ),
    ),
    "lora_attention": _dispatch.Operation(
        "lora_attention",
        attention_problem,
        (
            _dispatch.Backend("cuda", cuda.can_attend, cuda.attend),
            _dispatch.Backend("triton", triton.can_attend, triton.attend),
            _dispatch.Backend("cpu", cpu.can_attend, cpu.attend),
            _dispatch.Backend("reference", _dispatch.anything, reference_attention),
        ),
    ),
}
