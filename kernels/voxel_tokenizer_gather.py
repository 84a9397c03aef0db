"""Gather of normalised patches on the GPU.

``normalised_patches`` is what every kernel of the tokenizer reads voxels with.
``tokenize_voxels_gather_kernel`` writes patches of some thousand tokens into a buffer that stays in
the L2 cache, and a product of PyTorch reads it from there.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
import triton
import triton.language as tl

from .launch import launch

# bytes of the buffer: a part of the second-level cache of every GPU from compute capability 8.0 on
_BUFFER = 8 << 20


@triton.jit
def normalised_patches(
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
def volume_size(tokens, patch, voxels, PACKED: tl.constexpr):
    # for packed patches a multiple of the patch size, from which Triton can derive alignment
    if PACKED:
        size = tl.cast(tokens, tl.int64) * patch
    else:
        size = tl.cast(voxels, tl.int64)
    return size


@triton.jit(do_not_specialize=["begin_sample", "samples", "tokens", "voxels"])
def tokenize_voxels_gather_kernel(
    volumes,
    offsets,
    mean,
    inv_std,
    out,
    scale,
    begin_sample,
    samples,
    tokens,
    patch,
    frames,
    voxels,
    PACKED: tl.constexpr,
    STATS_PACKED: tl.constexpr,
    BM: tl.constexpr,
    BK: tl.constexpr,
):
    stretches = tl.cdiv(patch, BK)
    frame = tl.program_id(1) // stretches
    k = tl.program_id(1) % stretches * BK + tl.arange(0, BK)
    row = tl.program_id(0).to(tl.int64) * BM + tl.arange(0, BM)
    sample = begin_sample + row
    real = sample < samples
    window = sample // tokens
    token = (sample % tokens).to(tl.int32)
    begin = volumes + (window * frames + frame) * volume_size(tokens, patch, voxels, PACKED)
    value = normalised_patches(
        begin, offsets, mean, inv_std, scale, token, real, k, patch, PACKED, STATS_PACKED
    )
    depth = tl.cast(patch, tl.int64) * frames
    tl.store(
        out + row[:, None] * depth + (frame * patch + k)[None, :],
        value.to(out.dtype.element_ty),
        mask=real[:, None] & (k < patch)[None, :],
    )


def gathered(
    volumes: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    offsets: torch.Tensor,
    mean: torch.Tensor | None,
    inv_std: torch.Tensor | None,
    scale: float,
    *,
    out: torch.Tensor,
    tile: dict[str, int],
    exact: bool,
) -> torch.Tensor:
    """Fill `out` (B, n_tokens, D) by products of gathered patches.

    Arguments as in :func:`kernels.voxel_tokenizer.forward`.
    """
    batch, frames = volumes.shape[:2]
    (tokens, patch), features = offsets.shape, weight.shape[0]
    samples, depth = batch * tokens, frames * patch
    dtype = torch.float32 if exact else weight.dtype
    right = weight.reshape(features, depth).to(dtype)
    added = None if bias is None else bias.to(dtype)
    count = max(tile["BM"], _BUFFER // (depth * weight.element_size()))
    buffer = weight.new_empty(min(count, samples), depth, dtype=dtype)
    rows = out.view(samples, features)
    layouts = flags_of(volumes, mean, inv_std, False)
    del layouts["EXACT"]
    for begin in range(0, samples, count):
        part = buffer[: samples - begin]
        grid = triton.cdiv(len(part), tile["BM"]), frames * triton.cdiv(patch, tile["BK"])
        sizes = begin, begin + len(part), tokens, patch, frames, volumes.shape[2:].numel()
        pointers = volumes, offsets, mean, inv_std, part
        launch(tokenize_voxels_gather_kernel, grid, *pointers, scale, *sizes, **layouts, **tile)
        here = rows[begin : begin + len(part)]
        if exact:
            here.copy_(F.linear(part, right, added))
        elif added is None:
            torch.mm(part, right.T, out=here)
        else:
            torch.addmm(added, part, right.T, out=here)
    return out


def flags_of(
    volumes: torch.Tensor, mean: torch.Tensor | None, inv_std: torch.Tensor | None, exact: bool
) -> dict[str, bool]:
    """Return the flags of layouts and of exact products for a kernel."""
    packed = any(t is not None and t.dim() == 2 for t in (mean, inv_std))
    return {"PACKED": volumes.dim() == 4, "STATS_PACKED": packed, "EXACT": exact}
