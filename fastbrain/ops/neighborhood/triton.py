"""Triton backend of neighbourhood clustering, with its registration.

The kernels stream the memory; the few other columns and the merging of shares are plain PyTorch on
(B, C) tensors. Nothing waits for the device, so a CUDA graph can capture the op.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .. import _triton
from . import autograd as entropy
from .checks import NORM_TOLERANCE, ClusteringProblem

# rows of the memory with weights stored at once, if a row is too wide for registers
_SLAB = 1 << 16

# widest rows for which both products of the gradient stay in registers
_WIDEST_DUAL = 256

_library = torch.library.Library("fastbrain", "FRAGMENT")
_library.define("neighborhood_clustering_triton" + entropy.SCHEMA)


def can_run(problem: ClusteringProblem) -> str | None:
    """Return None, or the reason why the Triton kernel cannot run the checked problem."""
    features = problem.features
    missing = _triton.missing(features)
    if missing is None and torch.float64 in (t.dtype for t in problem[:3]):
        return "a tensor is float64; it computes in float32"
    return missing or entropy.objection(features, problem.temperature)


def call(problem: ClusteringProblem) -> Tensor:
    """Compute the mean entropy on the GPU, with gradients for features and prototypes."""
    return entropy.clustering(torch.ops.fastbrain.neighborhood_clustering_triton, problem)


def _entropy(
    features: Tensor,
    others: Tensor,
    memory: Tensor,
    indices: Tensor,
    temperature: float,
    eps: float,
    own: int,
    grad: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    features, indices = features.contiguous(), indices.contiguous()
    if memory.stride(1) != 1:
        memory = memory.contiguous()
    batch, width = features.shape
    # a row with a norm other than 0 or 1 makes the result NaN: the host cannot read the norms
    # without waiting for the device
    norms = torch.linalg.vector_norm(memory, dim=1, dtype=torch.float32)
    bias = torch.where((norms - 1).abs() <= NORM_TOLERANCE, 0.0, torch.nan)
    bias = bias.masked_fill(norms == 0, float("-inf"))
    logits = features @ others.T / temperature
    if eps:
        bias.index_fill_(0, indices, float("-inf"))
        logits[:, own:].diagonal().fill_(float("-inf"))
    stream = (features, memory, indices, bias)
    constants = (temperature, eps)
    dual = grad and width <= _WIDEST_DUAL
    sums, products = _sums(*stream, None, *constants, dual=dual and not eps)

    highest = torch.maximum(sums[:, 0].amax(dim=0), logits.amax(dim=1))  # (B,)
    moved = sums[:, 0] - highest  # (shares, B)
    shrink = moved.exp()
    weight = (logits - highest[:, None]).exp()  # (B, C)
    slope = (logits - highest[:, None]).masked_fill(weight == 0, 0.0)
    total = (shrink * sums[:, 1]).sum(dim=0) + weight.sum(dim=1)
    second = shrink * (sums[:, 2] + moved * sums[:, 1])
    mean = (second.sum(dim=0) + (weight * slope).sum(dim=1)) / total
    known = torch.stack([highest, 1 / total, mean + highest])
    p = weight / total[:, None]
    if eps:
        sums, products = _sums(*stream, known, *constants, dual=dual)
        value = -torch.log(p + eps)
        slope = value - p / (p + eps)
        result = sums[:, 1].sum(dim=0) / total + (p * value).sum(dim=1)
        mean = known[2] = sums[:, 2].sum(dim=0) / total + (p * slope).sum(dim=1)
        pull = p * (slope - mean[:, None])
    else:
        result = total.log() - mean
        pull = p * (mean[:, None] - slope)
    if not grad:
        return result.mean(), features.new_empty(0, 0), features.new_empty(0, 0)
    if dual:
        left, right = products.unbind(dim=1)  # (shares, B, D)
        if eps:
            far = right.sum(dim=0) - mean[:, None] * left.sum(dim=0)
        else:
            moment = right + (moved - mean)[..., None] * left
            far = -(shrink[..., None] * moment).sum(dim=0)
    else:
        far = torch.zeros_like(features)
        for begin in range(0, len(memory), _SLAB):
            slab = memory[begin : begin + _SLAB]
            weights = _weights(*stream, known, *constants, begin=begin, count=len(slab))
            far += (weights @ slab).float()
    scale = 1 / (temperature * batch)
    grad_features = (far / total[:, None] + pull @ others) * scale
    return result.mean(), grad_features, pull.T @ features * scale


def _halves(features: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
    """Round features to the dtype of a half-precision memory; also return the rounding error."""
    high = features.to(memory.dtype)
    return high, (features - high.float()).to(memory.dtype)


def _cdiv(a: int, b: int) -> int:
    return -(-a // b)


def _sums(
    features: Tensor,
    memory: Tensor,
    indices: Tensor,
    bias: Tensor,
    known: Tensor | None,
    temperature: float,
    eps: float,
    *,
    dual: bool,
) -> tuple[Tensor, Tensor]:
    """Make one pass over the memory in shares.

    Returns sums (shares, 3, B) and products (shares, 2, B, D).


    Parameters
    ----------
    features : Tensor, (B, D) float32
    memory : Tensor, (N, D)
        Rows may be strided.
    indices : Tensor, (B,) int64
        Masked row of each sample.
    bias : Tensor, (N,) float32
        Added to the logits of a row: 0, or -inf where it is masked for all samples.
    known : Tensor, (2 or more, B) or None
        Maximum and inverse sum of exponentials; then the sums are those of the smoothed entropy.
    dual : bool
        Whether to compute the products; otherwise they are empty.
    """
    # imported here, so that only a call that needs Triton imports it
    from ...kernels import neighborhood as kernels
    from ...kernels.launch import launch

    (batch, width), size = features.shape, memory.shape[0]
    tile = kernels.blocks(memory.dtype, width, dual=dual)
    groups, tiles = _cdiv(batch, tile["BB"]), _cdiv(size, tile["BN"])
    # two programs for each of an H200's multiprocessors
    span = _cdiv(tiles, max(1, 264 // groups)) * tile["BN"]
    shares = _cdiv(size, span)
    sums = features.new_empty(shares, 3, batch)
    products = features.new_empty((shares, 2, batch, width) if dual else (0,))
    launch(
        kernels.neighborhood_clustering_fwd_kernel,
        (groups, shares),
        *(*_halves(features, memory), memory, indices, bias, known, sums, products),
        *(batch, size, span, 1 / temperature, eps),
        KNOWN=known is not None,
        DUAL=dual,
        SPLIT=memory.dtype != torch.float32,
        WIDTH=width,
        STEP=memory.stride(0),
        EXACT=_triton.INTERPRETED or memory.dtype == torch.float32,
        **tile,
    )
    return sums, products


def _weights(
    features: Tensor,
    memory: Tensor,
    indices: Tensor,
    bias: Tensor,
    known: Tensor,
    temperature: float,
    eps: float,
    *,
    begin: int,
    count: int,
) -> Tensor:
    """Compute derivatives (B, count) by the logits of `count` rows.

    They are multiplied by the sum of exponentials.

    `known` is (3, B): maximum, inverse sum and mean; the rest is as in :func:`_sums`.
    """
    from ...kernels import neighborhood as kernels
    from ...kernels.launch import launch

    batch, width = features.shape
    tile = kernels.blocks(memory.dtype, width, dual=False)
    # row length a multiple of 16, so that stores stay wide for a last slab of any length
    pitch = 16 * _cdiv(count, 16)
    weights = memory.new_empty(batch, pitch)
    launch(
        kernels.neighborhood_clustering_bwd_kernel,
        (_cdiv(batch, tile["BB"]), _cdiv(count, tile["BN"])),
        *(*_halves(features, memory), memory, indices, bias, known, weights),
        *(begin, batch, begin + count, pitch, 1 / temperature, eps),
        SMOOTHED=eps != 0,
        SPLIT=memory.dtype != torch.float32,
        WIDTH=width,
        STEP=memory.stride(0),
        EXACT=_triton.INTERPRETED or memory.dtype == torch.float32,
        **tile,
    )
    return weights[:, :count]


for _key in _triton.KEYS:
    _library.impl("neighborhood_clustering_triton", _entropy, _key)
torch.library.register_fake("fastbrain::neighborhood_clustering_triton", entropy.fake, lib=_library)
