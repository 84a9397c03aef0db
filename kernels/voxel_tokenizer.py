"""Voxel tokenizer on the GPU: gather, scale, normalise and multiply in one kernel.

A program computes BM tokens times BD features. It iterates over the inner axis (frames times patch
elements), gathers raw values through the offsets table, normalises them in float32 and then casts
them for the tensor cores. The kernels use plain pointers, so that every Triton from 3.6 on compiles
them.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from .launch import launch


@triton.jit
def _patches(
    begin,
    offsets,
    mean,
    inv_std,
    scale,
    token,
    real,
    k,
    patch,
    PACKED: tl.constexpr,
    STATS_PACKED: tl.constexpr,
):
    # positions inside a volume are 32-bit numbers, which halves their registers; the start of a
    # volume needs 64 bits
    inside = token[:, None] * patch + k[None, :]
    # a tail beyond the patch reads as outside the mask
    offset = tl.load(offsets + inside, mask=real[:, None] & (k < patch)[None, :], other=-1)
    valid = offset >= 0
    # packed patches are contiguous and read completely, also outside the mask: loads masked by
    # voxel would be only two bytes wide
    there = real[:, None] & (k < patch)[None, :]
    where, read = (inside, there) if PACKED else (offset, valid)
    value = tl.load(begin[:, None] + where, mask=read, other=0).to(tl.float32) * scale
    where, read = (inside, there) if STATS_PACKED else (offset, valid)
    if mean is not None:
        value -= tl.load(mean + where, mask=read, other=0)
    if inv_std is not None:
        value *= tl.load(inv_std + where, mask=read, other=0)
    return tl.where(valid, value, 0.0)  # [len(token), len(k)]


@triton.jit
def _volume_size(tokens, patch, voxels, PACKED: tl.constexpr):
    # for packed patches a multiple of the patch size, from which Triton can derive alignment
    if PACKED:
        size = tl.cast(tokens, tl.int64) * patch
    else:
        size = tl.cast(voxels, tl.int64)
    return size


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
    size = _volume_size(tokens, patch, voxels, PACKED)
    total = tl.zeros((BM, BD), dtype=tl.float32)
    for frame in range(0, frames):
        begin = volumes + (window * frames + frame) * size
        for first in range(0, patch, BK):
            k = first + tl.arange(0, BK)
            value = _patches(
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
    size = _volume_size(tokens, patch, voxels, PACKED)
    total = tl.zeros((BD, BK), dtype=tl.float32)
    for first in range(0, share, BM):
        sample = begin_sample + first + tl.arange(0, BM)
        real = (sample < samples) & (first + tl.arange(0, BM) < share)
        window = sample // tokens
        token = (sample % tokens).to(tl.int32)
        begin = volumes + (window * frames + frame) * size
        value = _patches(
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


def blocks(dtype: torch.dtype, patch: int, *, backward: bool = False) -> dict[str, int]:
    """Return tile sizes, warps and stages for a weight of `dtype` and patches of `patch` voxels.

    These are the largest tiles that spill no register on sm_80, sm_90 and sm_100: the gather holds
    its pointers in registers, and more pipeline stages would duplicate them.
    """
    if dtype == torch.float32:
        inner = {"BM": 16, "BK": 64} if backward else {"BM": 64, "BK": 16}
        return {**inner, "BD": 64, "num_warps": 8, "num_stages": 2}
    few = max(16, triton.next_power_of_2(min(patch, 32)))
    inner = {"BM": 32, "BK": 64} if backward else {"BM": 64, "BK": few}
    return {**inner, "BD": 128, "num_warps": 8, "num_stages": 1}


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
    tile = blocks(weight.dtype, patch)
    programs = triton.cdiv(batch * tokens, tile["BM"]) * triton.cdiv(features, tile["BD"])
    sizes = batch * tokens, tokens, patch, frames, volumes.shape[2:].numel(), features
    flags = _flags(volumes, mean, inv_std, exact or weight.dtype == torch.float32)
    pointers = volumes, weight, bias, offsets, mean, inv_std, out
    launch(tokenize_voxels_fwd_kernel, (programs,), *pointers, scale, *sizes, **flags, **tile)
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
    tile = blocks(grad.dtype, patch, backward=True)
    tiles = frames * triton.cdiv(patch, tile["BK"]), triton.cdiv(features, tile["BD"])
    # enough programs for two on each of some 132 multiprocessors
    shares = min(triton.cdiv(264, tiles[0] * tiles[1]), triton.cdiv(samples, 4 * tile["BM"]))
    out = grad.new_empty(shares, features, frames * patch, dtype=torch.float32)
    if out.numel() == 0:
        return out.sum(dim=0)
    share = triton.cdiv(samples, shares)
    sizes = samples, share, tokens, patch, frames, volumes.shape[2:].numel(), features
    flags = _flags(volumes, mean, inv_std, exact or grad.dtype == torch.float32)
    pointers = grad, volumes, offsets, mean, inv_std, out
    launch(tokenize_voxels_bwd_kernel, (*tiles, shares), *pointers, scale, *sizes, **flags, **tile)
    return out.sum(dim=0)


def _flags(
    volumes: torch.Tensor, mean: torch.Tensor | None, inv_std: torch.Tensor | None, exact: bool
) -> dict[str, bool]:
    packed = any(t is not None and t.dim() == 2 for t in (mean, inv_std))
    return {"PACKED": volumes.dim() == 4, "STATS_PACKED": packed, "EXACT": exact}
