"""C++ kernel of an adapted layer for the few rows of a decoding step on the CPU.

It reads the weight once, which dominates the cost of such a step, and adds the low-rank branch to
the same sums. It supports inference in float32 and bfloat16, with sums in float32.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ... import _native
from .. import _measured
from .._dispatch import any_gradient
from .._tensors import ACTIVATIONS, address, contiguous
from . import products
from .checks import LinearProblem
from .products import Linear

# Rows up to which the kernel runs without measurements. Time of the PyTorch matmuls over its own on
# one core of an EPYC (Zen 5), 768 and 4096 wide: in float32 1.3 and 1.6 for 1 row, 2.1 for 8, 1.6
# and 1.9 for 16 and 24; in bfloat16 5.4 and 2.2 for 1 row, 2.2 and 1.3 for 8, 1.3 and 1.05 for 16,
# 0.9 for 24, with products of pairs. Where the CPU has none it multiplies bfloat16 in float32.
_TILES = _native.isa() == "avx512amx"
_PAIRS = _TILES or _native.isa() == "avx512bf16"
MOST_ROWS = {torch.float32: 24, torch.bfloat16: 16 if _PAIRS else 3}
# of a large layer, where the calls of the matmuls count for nothing
_MOST_LARGE = {torch.float32: 24, torch.bfloat16: 8}
# widths that the kernel multiplies by tiles of registers (AMX), whatever the number of rows
_TILE = 32
# From this number of multiplications on, up to this number of rows, the faster way is measured.
_LEAST_WORK, _MOST_MEASURED = 1 << 22, 64
_MOST, _MOST_HALVES = MOST_ROWS[torch.float32], MOST_ROWS[torch.bfloat16]
WAYS = ("stream", "products")
_library = torch.library.Library("fastbrain", "FRAGMENT")
_library.define(
    "lora_linear_cpu_decode(Tensor x, Tensor weight, Tensor? bias, Tensor a, Tensor b, "
    "float scale, str activation) -> Tensor"
)


def takes(problem: LinearProblem) -> bool:
    """Return whether the kernel supports ``x (M, d_in)`` and is the faster way.

    While torch.compile traces: whether it may be. The operator then chooses when it runs.
    """
    if not _supports(problem):
        return False
    x, weight = problem.x, problem.weight
    if torch.compiler.is_compiling():
        return x.shape[0] <= _MOST_MEASURED
    return _streams(x.dtype, x.shape[0], weight.shape[0], weight.shape[1], problem)


def how(problem: LinearProblem) -> str:
    """Name the way that the next call with such a problem takes, and why."""
    flat = problem._replace(x=problem.x.reshape(-1, problem.x.shape[-1]))
    if not _supports(flat):
        return "products"
    d_out, d_in = flat.weight.shape
    choice = _choice(flat.x.dtype, flat.x.shape[0], d_out, d_in, None)
    return choice.way + (choice.reason and f" ({choice.reason})")


def _supports(problem: LinearProblem) -> bool:
    x, weight, bias, a, b, _, _ = problem
    return (
        x.dtype in MOST_ROWS
        # a copy of the weight would cost more than the step
        and weight.is_contiguous()
        and not any_gradient(x, weight, bias, a, b)
    )


def _streams(dtype: torch.dtype, rows: int, d_out: int, d_in: int, problem: Linear) -> bool:
    """Return whether the kernel is the faster way for a problem that it supports."""
    if rows > _MOST_MEASURED or rows * d_out * d_in < _LEAST_WORK:
        return rows <= _most_rows(dtype, d_out, d_in)
    shape = (dtype, rows, d_out, d_in)
    way = _measured.remembered(shape, lambda: _choice(dtype, rows, d_out, d_in, problem))
    return way == "stream"


def _choice(
    dtype: torch.dtype, rows: int, d_out: int, d_in: int, problem: Linear | None
) -> _measured.Choice:
    """Choose between the kernel and PyTorch matmuls; without a problem: without measuring."""
    most = _most_rows(dtype, d_out, d_in)
    if rows > _MOST_MEASURED or rows * d_out * d_in < _LEAST_WORK:
        return _measured.Choice(WAYS[rows > most], "")
    rule = WAYS[rows > (most if most == _MOST_MEASURED else min(most, _MOST_LARGE[dtype]))]
    # classes are powers of two
    sizes = (("M", rows), ("in", d_in), ("out", d_out))
    shape = "-".join(f"{name}{1 << (size - 1).bit_length()}" for name, size in sizes)
    key = f"lora_linear {shape} {str(dtype).removeprefix('torch.')}"
    if problem is None:
        return _measured.choose(key, dict.fromkeys(WAYS, int), rule, measure=False)
    ways = {"stream": lambda: _layer(*problem), "products": lambda: products.composed(problem)}
    return _measured.choose(key, ways, rule)


def _most_rows(dtype: torch.dtype, d_out: int, d_in: int) -> int:
    """Return up to how many rows the kernel runs without measurements."""
    if _TILES and dtype is torch.bfloat16 and d_out % _TILE == d_in % _TILE == 0:
        return _MOST_MEASURED
    return MOST_ROWS[dtype]


def layer(problem: LinearProblem) -> Tensor:
    """Compute ``y (M, d_out)`` of ``x (M, d_in)``."""
    # eager code bypasses the dispatcher, which takes a large share of the time of a narrow layer
    if not torch.compiler.is_compiling():
        return _layer(*problem)
    *arguments, activation = problem
    return torch.ops.fastbrain.lora_linear_cpu_decode(*arguments, activation or "")


def at_once(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    a: Tensor,
    b: Tensor,
    scale: float,
    activation: str | None,
) -> Tensor | None:
    """Compute the layer (..., d_out) of plainly right arguments, or return None.

    For a narrow layer, the full checks and the choice of a backend take longer than the layer.
    """
    if torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu"):
        return None
    threads = torch.get_num_threads()
    # one by one: to unpack a tuple of them takes a tenth of the time of a narrow layer
    found = _native.lora_at_once(
        x, weight, bias, a, b, scale, activation, torch.is_grad_enabled(),
        _MOST, _MOST_HALVES, _LEAST_WORK, threads,
    )  # fmt: skip
    if type(found) is not tuple:
        return found
    rows, d_out, d_in, unknown = found
    shape = x.shape
    flat = x if len(shape) == 2 else x.view(rows, d_in)
    # a plain tuple: to name its fields takes a noticeable time
    problem = flat, weight, bias, a, b, scale, activation
    streams = unknown and _streams(x.dtype, rows, d_out, d_in, problem)
    if unknown:
        _native.lora_remember(x.dtype == torch.bfloat16, rows, d_out, d_in, threads, streams)
    y = _layer(*problem) if streams else products.composed(problem)
    return y if len(shape) == 2 else y.view(*shape[:-1], d_out)


def _decode(x: Tensor, weight: Tensor, *rest: Any) -> Tensor:
    problem = LinearProblem(x, weight, *rest)
    d_out, d_in = weight.shape
    if _streams(x.dtype, x.shape[0], d_out, d_in, problem):
        return _layer(*problem)
    return products.composed(problem)


def _layer(x: Tensor, weight: Tensor, *rest: Any) -> Tensor:
    out = _fake(x, weight)
    *tensors, scale, activation = x, weight, *rest
    x, weight, bias, a, b = contiguous(*tensors)
    _native.lora_few(
        *(address(value) for value in (x, weight, bias, a, b, out)),
        *(*x.shape, *b.shape),
        ACTIVATIONS[activation or ""],
        scale,
        x.dtype == torch.bfloat16,
        torch.get_num_threads(),
    )
    return out


def _fake(x: Tensor, weight: Tensor, *_: Any) -> Tensor:
    return x.new_empty(x.shape[0], weight.shape[0])


_library.impl("lora_linear_cpu_decode", _decode, "CPU")
torch.library.register_fake("fastbrain::lora_linear_cpu_decode", _fake, lib=_library)
