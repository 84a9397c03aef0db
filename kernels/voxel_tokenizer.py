"""Voxel tokenizer on the GPU: gather, scale, normalise and multiply in one kernel.

A program computes BM tokens times BD features. It iterates over the inner axis (frames times patch
elements), gathers raw values through the offsets table, normalises them in float32 and then casts
them for the tensor cores. The kernels use plain pointers, so that every Triton from 3.6 on compiles
them.
"""

from __future__ import annotations

from functools import cache

import torch
import triton
import triton.language as tl

from . import tables
from .launch import launch
from .tables import Candidate
from .voxel_tokenizer_gather import (
    flags_of,
    gathered,
    gathered_gradient,
    gathering,
    normalised_patches,
    volume_size,
)
from .voxel_tokenizer_resident import tokenize_voxels_resident_kernel


# batches and grids of tokens change from call to call and affect no alignment: do not specialise on
# their sizes
@triton.jit(do_not_specialize=["samples", "tokens", "voxels"])
def tokenize_voxels_fwd_kernel(
    volumes,
    weight,
    bias,
    offsets,
    mean,
    inv_std,
    out,
    scale,
    samples,
    tokens,
    patch,
    frames,
    voxels,
    features,
    PACKED: tl.constexpr,
    STATS_PACKED: tl.constexpr,
    EXACT: tl.constexpr,
    BM: tl.constexpr,
    BD: tl.constexpr,
    BK: tl.constexpr,
):
    # neighbouring programs gather the same samples, so the second one reads them from the L2 cache
    tiles = tl.cdiv(features, BD)
    sample = (tl.program_id(0) // tiles).to(tl.int64) * BM + tl.arange(0, BM)
    feature = tl.program_id(0) % tiles * BD + tl.arange(0, BD)
    real = sample < samples
    is_feature = feature < features
    window = sample // tokens
    token = (sample % tokens).to(tl.int32)
    depth = tl.cast(patch, tl.int64) * frames
    size = volume_size(tokens, patch, voxels, PACKED)
    total = tl.zeros((BM, BD), dtype=tl.float32)
    for frame in range(0, frames):
        begin = volumes + (window * frames + frame) * size
        for first in range(0, patch, BK):
            k = first + tl.arange(0, BK)
            value = normalised_patches(
                begin, offsets, mean, inv_std, scale, token, real, k, patch, PACKED, STATS_PACKED
            )
            right = tl.load(
                weight + feature[None, :] * depth + (frame * patch + k)[:, None],
                mask=is_feature[None, :] & (k < patch)[:, None],
                other=0,
            )
            left = value.to(right.dtype)
            if EXACT:
                total = tl.dot(
                    left.to(tl.float32), right.to(tl.float32), total, input_precision="ieee"
                )
            else:
                total = tl.dot(left, right, total)
    if bias is not None:
        total += tl.load(bias + feature, mask=is_feature, other=0).to(tl.float32)[None, :]
    tl.store(
        out + sample[:, None] * features + feature[None, :],
        total.to(out.dtype.element_ty),
        mask=real[:, None] & is_feature[None, :],
    )


@triton.jit(do_not_specialize=["samples", "share", "tokens", "voxels"])
def tokenize_voxels_bwd_kernel(
    grad,
    volumes,
    offsets,
    mean,
    inv_std,
    out,
    scale,
    samples,
    share,
    tokens,
    patch,
    frames,
    voxels,
    features,
    PACKED: tl.constexpr,
    STATS_PACKED: tl.constexpr,
    EXACT: tl.constexpr,
    BM: tl.constexpr,
    BD: tl.constexpr,
    BK: tl.constexpr,
):
    # one section of a frame, one tile of features, and one share of the samples: the shares are
    # summed afterwards in a fixed order, so that the result is deterministic
    stretches = tl.cdiv(patch, BK)
    frame = tl.program_id(0) // stretches
    k = tl.program_id(0) % stretches * BK + tl.arange(0, BK)
    feature = tl.program_id(1) * BD + tl.arange(0, BD)
    is_feature = feature < features
    begin_sample = tl.program_id(2).to(tl.int64) * share
    size = volume_size(tokens, patch, voxels, PACKED)
    total = tl.zeros((BD, BK), dtype=tl.float32)
    for first in range(0, share, BM):
        sample = begin_sample + first + tl.arange(0, BM)
        real = (sample < samples) & (first + tl.arange(0, BM) < share)
        window = sample // tokens
        token = (sample % tokens).to(tl.int32)
        begin = volumes + (window * frames + frame) * size
        value = normalised_patches(
            begin, offsets, mean, inv_std, scale, token, real, k, patch, PACKED, STATS_PACKED
        )
        left = tl.load(
            grad + sample[None, :] * features + feature[:, None],
            mask=real[None, :] & is_feature[:, None],
            other=0,
        )
        right = value.to(left.dtype)
        if EXACT:
            total = tl.dot(left.to(tl.float32), right.to(tl.float32), total, input_precision="ieee")
        else:
            total = tl.dot(left, right, total)
    depth = tl.cast(patch, tl.int64) * frames
    row = tl.program_id(2).to(tl.int64) * features + feature
    tl.store(
        out + row[:, None] * depth + (frame * patch + k)[None, :],
        total,
        mask=is_feature[:, None] & (k < patch)[None, :],
    )


@cache
def candidates(
    dtype: torch.dtype, patch: int, frames: int, packed: bool, capability: int = 90
) -> tuple[Candidate, ...]:
    """Return what may tokenize with a weight of `dtype`; none of it spills a register.

    ``tile`` gathers a tile for each step of the inner axis: it holds its pointers in registers, and
    more pipeline stages would duplicate them. ``resident`` gathers the patches of a program once.
    ``gathered`` writes normalised patches into a buffer and lets PyTorch multiply them: on an H200
    it is the fastest but for small patches in half precision. `capability` is the compute
    capability × 10.
    """
    whole = max(16, triton.next_power_of_2(patch))
    aligned = patch % 16 == 0
    products = gathering(patch)
    if dtype == torch.float32:
        return *products, Candidate.of("tile", BM=64, BK=16, BD=64, num_warps=8, num_stages=2)
    few = min(whole, 32)
    tiles = [("tile", 64, few, 128, 8, 1)]
    if 90 <= capability < 120:
        tiles += [("tile", 128, few, bd, 8, 1) for bd in (128, 256) if aligned]
        if frames == 1 and whole == 512 and packed:
            tiles += [("resident", 64, whole, 64, 8, 1)]
    small = frames == 1 and whole <= 64
    if small:
        tiles = [("resident", bm, whole, 64, 8, 2) for bm in (64, 128)] + tiles
    kernels = tuple(
        Candidate.of(variant, BM=bm, BK=bk, BD=bd, num_warps=warps, num_stages=stages)
        for variant, bm, bk, bd, warps, stages in tiles
    )
    return (*kernels, *products) if small else (*products, *kernels)


@cache
def backward_candidates(
    dtype: torch.dtype, patch: int, capability: int = 90
) -> tuple[Candidate, ...]:
    """Return what may compute the gradient of a weight of `dtype`, as :func:`candidates` does."""
    if dtype == torch.float32:
        tiles = [(16, 64, 64, 8, 2)]
    else:
        tiles = [(32, 64, 128, 8, 1)]
        tiles += [(64, 64, 128, 8, 1), (32, 128, 128, 8, 1)] if 90 <= capability < 120 else []
    kernels = (
        Candidate.of("tile", BM=bm, BK=bk, BD=bd, num_warps=warps, num_stages=stages)
        for bm, bk, bd, warps, stages in tiles
    )
    return *gathering(patch), *kernels


def forward(
    volumes: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    offsets: torch.Tensor,
    mean: torch.Tensor | None,
    inv_std: torch.Tensor | None,
    scale: float,
    *,
    exact: bool = False,
) -> torch.Tensor:
    """Compute tokens (B, n_tokens, D) from contiguous tensors on one device.

    Parameters
    ----------
    volumes : Tensor, (B, F, Z, Y, X) or (B, F, n_tokens, P)
    weight : Tensor, (D, F, kz, ky, kx)
    bias : Tensor, (D,) or None
    offsets : Tensor, (n_tokens, P) int32
        Flat voxel index of every patch element, -1 outside.
    mean, inv_std : Tensor, (Z, Y, X) or (n_tokens, P) float32, or None
        Both in the same layout.
    scale : float
    exact : bool
        Multiply in float32 for every dtype of the weight; for the interpreter, which multiplies
        bfloat16 incorrectly. A float32 weight is always multiplied exactly.
    """
    batch, frames = volumes.shape[:2]
    (tokens, patch), features = offsets.shape, weight.shape[0]
    out = weight.new_empty(batch, tokens, features)
    if out.numel() == 0:
        return out
    packed = volumes.dim() == 4
    found = candidates(weight.dtype, patch, frames, packed, tables.capability(weight))
    kind = "packed" if packed else "volumes"
    shape = f"{str(weight.dtype)[6:]} {kind} patch {frames}x{patch} features {features}"
    shape += " normalised" if mean is not None or inv_std is not None else ""
    taken = tables.choose("tokenize_voxels", shape, found, weight)
    if taken.variant == "gathered":
        stored = volumes, weight, bias, offsets, mean, inv_std, scale
        return gathered(*stored, out=out, tile=taken.tile, exact=exact)
    tile = taken.tile
    resident = taken.variant == "resident"
    kernel = tokenize_voxels_resident_kernel if resident else tokenize_voxels_fwd_kernel
    programs = triton.cdiv(batch * tokens, tile["BM"])
    programs *= 1 if resident else triton.cdiv(features, tile["BD"])
    sizes = batch * tokens, tokens, patch, frames, volumes.shape[2:].numel(), features
    flags = flags_of(volumes, mean, inv_std, exact or weight.dtype == torch.float32)
    pointers = volumes, weight, bias, offsets, mean, inv_std, out
    launch(kernel, (programs,), *pointers, scale, *sizes, **flags, **tile)
    return out


def backward(
    grad: torch.Tensor,
    volumes: torch.Tensor,
    offsets: torch.Tensor,
    mean: torch.Tensor | None,
    inv_std: torch.Tensor | None,
    scale: float,
    *,
    exact: bool = False,
) -> torch.Tensor:
    """Compute the gradient of the weight (D, F·P) float32 from `grad` (B, n_tokens, D).

    It reads the raw values again: the forward pass saves no patches. Other arguments as in
    :func:`forward`; the result is the same in every run.
    """
    batch, frames = volumes.shape[:2]
    (tokens, patch), features = offsets.shape, grad.shape[-1]
    samples = batch * tokens
    found = backward_candidates(grad.dtype, patch, tables.capability(grad))
    kind = "packed" if volumes.dim() == 4 else "volumes"
    shape = f"{str(grad.dtype)[6:]} {kind} patch {patch} features {features}"
    taken = tables.choose("tokenize_voxels_backward", shape, found, grad)
    tile = taken.tile
    if taken.variant == "gathered":
        stored = grad, volumes, offsets, mean, inv_std, scale
        return gathered_gradient(*stored, tile=tile, exact=exact)
    tiles = frames * triton.cdiv(patch, tile["BK"]), triton.cdiv(features, tile["BD"])
    # enough programs for two on each of some 132 multiprocessors
    shares = min(triton.cdiv(264, tiles[0] * tiles[1]), triton.cdiv(samples, 4 * tile["BM"]))
    out = grad.new_empty(shares, features, frames * patch, dtype=torch.float32)
    if out.numel() == 0:
        return out.sum(dim=0)
    share = triton.cdiv(samples, shares)
    sizes = samples, share, tokens, patch, frames, volumes.shape[2:].numel(), features
    flags = flags_of(volumes, mean, inv_std, exact or grad.dtype == torch.float32)
    pointers = grad, volumes, offsets, mean, inv_std, out
    launch(tokenize_voxels_bwd_kernel, (*tiles, shares), *pointers, scale, *sizes, **flags, **tile)
    return out.sum(dim=0)
