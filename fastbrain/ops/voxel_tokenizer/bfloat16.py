"""Tokens and weight gradients in bfloat16 on the CPU: ways to multiply, chosen by measurement.

``tiles`` is a kernel with AMX and ``stream`` one with AVX512_BF16; both skip what is outside the
mask. In ``products``, blocks of patches go to the matrix product of torch, which uses AMX too.
Patches are always normalised in float32 first, and products are summed in float32.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

from ... import _native
from .. import _measured
from .._tensors import address

# elements of one thread's share of a block of patches: half the second-level cache of CPUs with AMX
_BLOCK = 1 << 19
# rows of patches in memory at once for a gradient; their products are rounded before they are added
_GRADIENT_ROWS = 1 << 14
# multiplications from which on the faster way is measured
_LEAST_WORK = 1 << 22


@cache
def has_kernels() -> bool:
    """Return whether this CPU multiplies bfloat16; if not, that of float32 runs instead."""
    return hasattr(_native, "voxel_tokenizer_bfloat16_forward")


@cache
def ways() -> tuple[str, ...]:
    """Return the ways that this CPU has; the first is the rule."""
    if hasattr(_native, "voxel_tokenizer_tiles_forward"):
        return ("tiles", "products", "stream")
    return ("products", "stream") if _native.bfloat16_tiles() else ("stream", "products")


def choice(rows: int, inner: int, features: int, *, backward: bool) -> _measured.Choice:
    """Return the way for so many patches of `inner` voxels, by what has been measured."""
    return _choice(rows, inner, features, backward, None)


def _choice(
    rows: int,
    inner: int,
    features: int,
    backward: bool,
    runs: dict[str, Callable[[], object]] | None,
) -> _measured.Choice:
    rule = ways()[0]
    if rows * inner * features < _LEAST_WORK:
        return _measured.Choice(rule, "")
    # classes are powers of two
    sizes = (("N", rows), ("P", inner), ("D", features))
    shape = "-".join(f"{name}{1 << (size - 1).bit_length()}" for name, size in sizes)
    key = f"tokenize_voxels {shape} bfloat16{' backward' if backward else ''}"
    known = runs or dict.fromkeys(ways(), int)
    return _measured.choose(key, known, rule, measure=runs is not None)


def _run(
    backward: bool, sizes: tuple[int, int, int], runs: dict[str, Callable[[], object]]
) -> None:
    """Run the chosen way; all write their result to the same place."""
    known = {name: runs[name] for name in ways()}
    shape = ("tokenize_voxels", *sizes, backward)
    known[_measured.remembered(shape, lambda: _choice(*sizes, backward, known))]()


def forward(source: Any, weight: Tensor, bias: Tensor | None, out: Tensor) -> None:
    """Write the tokens of a source of stored values.

    Parameters
    ----------
    source : VoxelSource
    weight : Tensor, (D, F, kz, ky, kx) bfloat16, contiguous
    bias : Tensor, (D,) bfloat16, optional
    out : Tensor, (B, n_tokens, D) bfloat16, contiguous
    """
    features = weight.shape[0]
    if not out.numel():
        return
    sizes = (out.numel() // features, weight.numel() // features, features)
    arguments = (source, weight, bias, out)
    runs = {"tiles": _tiles, "stream": _stream, "products": _products}
    _run(False, sizes, {name: partial(run, *arguments) for name, run in runs.items()})


def _tiles(*arguments: Any) -> None:
    _own(_native.voxel_tokenizer_tiles_forward, *arguments)


def _stream(*arguments: Any) -> None:
    _own(_native.voxel_tokenizer_bfloat16_forward, *arguments)


def _own(
    kernel: Callable[..., None], source: Any, weight: Tensor, bias: Tensor | None, out: Tensor
) -> None:
    wide = None if bias is None else bias.float()
    kernel(
        source,
        weight=address(weight),
        bias=address(wide),
        features=weight.shape[0],
        out=address(out),
        threads=torch.get_num_threads(),
    )


def _products(source: Any, weight: Tensor, bias: Tensor | None, out: Tensor) -> None:
    threads = torch.get_num_threads()
    factor, rows = weight.detach().flatten(1).T, out.view(-1, len(weight))
    count = min(len(rows), threads * max(64, _BLOCK // len(factor)))
    block = out.new_empty(count, len(factor))
    # autocast leaves products with out= in their precision
    for first in range(0, len(rows), count):
        part = rows[first : first + count]
        patches = _write(source, first, block[: len(part)], threads)
        if bias is None:
            torch.mm(patches, factor, out=part)
        else:
            torch.addmm(bias.detach(), patches, factor, out=part)


def weight_grad(source: Any, grad: Tensor, inner: int) -> Tensor:
    """Compute the gradient of the weight.

    Parameters
    ----------
    source : VoxelSource
    grad : Tensor, (B, n_tokens, D) bfloat16, contiguous
    inner : int
        Voxels of a patch in all frames, F·P.

    Returns
    -------
    Tensor, (D, F·P) float32
    """
    total = grad.new_empty(grad.shape[-1], inner, dtype=torch.float32)
    sizes = (grad.shape[0] * grad.shape[1], inner, grad.shape[2])
    arguments = (source, grad, total)
    runs = {"tiles": _tiles_grad, "stream": _stream_grad, "products": _products_grad}
    _run(True, sizes, {name: partial(run, *arguments) for name, run in runs.items()})
    return total


def _tiles_grad(*arguments: Any) -> None:
    _own_grad(_native.voxel_tokenizer_tiles_backward, *arguments)


def _stream_grad(*arguments: Any) -> None:
    _own_grad(_native.voxel_tokenizer_bfloat16_backward, *arguments)


def _own_grad(kernel: Callable[..., None], source: Any, grad: Tensor, total: Tensor) -> None:
    kernel(
        source,
        grad=address(grad),
        features=grad.shape[-1],
        grad_weight=address(total),
        threads=torch.get_num_threads(),
    )


def _products_grad(source: Any, grad: Tensor, total: Tensor) -> None:
    rows = grad.view(-1, grad.shape[-1])
    block = grad.new_empty(min(len(rows), _GRADIENT_ROWS), total.shape[1])
    product = torch.empty_like(total, dtype=grad.dtype)
    total.zero_()
    for first in range(0, len(rows), _GRADIENT_ROWS):
        part = rows[first : first + _GRADIENT_ROWS]
        patches = _write(source, first, block[: len(part)], torch.get_num_threads())
        total += torch.mm(part.T, patches, out=product)


def _write(source: Any, first: int, block: Tensor, threads: int) -> Tensor:
    _native.voxel_tokenizer_bfloat16_patches(
        source, first=first, count=len(block), out=address(block), threads=threads
    )
    return block
