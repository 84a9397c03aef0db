"""Gather of normalised patches on the GPU.

``normalised_patches`` is what every kernel of the tokenizer reads voxels with.
``tokenize_voxels_gather_kernel`` writes the patches of many tokens into a buffer, and a product of
PyTorch reads them there.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
import triton
import triton.language as tl

from .float32_product import float32_product
from .launch import launch
from .tables import Candidate

# MiB of the buffer: it fits the second-level cache of every GPU from compute capability 8.0 on; of
# the larger ones, the first fits a larger cache and the second takes few products
_BUFFER, _LARGER = 8, (32, 256)


def gathering(patch: int) -> tuple[Candidate, ...]:
    """Return what may gather patches of `patch` elements for a product."""
    whole = max(16, triton.next_power_of_2(patch))
    stretch = min(128 if patch % 16 == 0 else 64, whole)
    constants = {"BM": 16, "BK": stretch}
    larger = (Candidate.of("gathered", **constants, MB=size, num_warps=4) for size in _LARGER)
    return Candidate.of("gathered", **constants, num_warps=4), *larger


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
    features = weight.shape[0]
    dtype = torch.float32 if exact else weight.dtype
    right = weight.reshape(features, -1).to(dtype)
    added = None if bias is None else bias.to(dtype)
    rows = out.view(-1, features)
    for begin, part in _parts(volumes, offsets, mean, inv_std, scale, dtype=dtype, tile=tile):
        here = rows[begin : begin + len(part)]
        if exact:
            here.copy_(F.linear(part, right, added))
        elif added is None:
            torch.mm(part, right.T, out=here)
        else:
            torch.addmm(added, part, right.T, out=here)
    return out


def gathered_gradient(
    grad: torch.Tensor,
    volumes: torch.Tensor,
    offsets: torch.Tensor,
    mean: torch.Tensor | None,
    inv_std: torch.Tensor | None,
    scale: float,
    *,
    tile: dict[str, int],
    exact: bool,
) -> torch.Tensor:
    """Compute the gradient of the weight (D, F·P) float32 by products of gathered patches.

    Arguments as in :func:`kernels.voxel_tokenizer.backward`.
    """
    dtype = torch.float32 if exact else grad.dtype
    rows = grad.reshape(-1, grad.shape[-1]).to(dtype)
    out = grad.new_zeros(grad.shape[-1], volumes.shape[1] * offsets.shape[1], dtype=torch.float32)
    for begin, part in _parts(volumes, offsets, mean, inv_std, scale, dtype=dtype, tile=tile):
        out += float32_product(rows[begin : begin + len(part)].T, part)
    return out


def _parts(
    volumes: torch.Tensor,
    offsets: torch.Tensor,
    mean: torch.Tensor | None,
    inv_std: torch.Tensor | None,
    scale: float,
    *,
    dtype: torch.dtype,
    tile: dict[str, int],
) -> Iterator[tuple[int, torch.Tensor]]:
    """Yield (first token, patches from it on) in a buffer that is filled again and again."""
    batch, frames = volumes.shape[:2]
    tokens, patch = offsets.shape
    samples, depth = batch * tokens, frames * patch
    blocks = {name: value for name, value in tile.items() if name != "MB"}
    count = max(tile["BM"], (tile.get("MB", _BUFFER) << 20) // (depth * dtype.itemsize))
    buffer = volumes.new_empty(min(count, samples), depth, dtype=dtype)
    layouts = flags_of(volumes, mean, inv_std, False)
    del layouts["EXACT"]
    for begin in range(0, samples, count):
        part = buffer[: samples - begin]
        grid = triton.cdiv(len(part), tile["BM"]), frames * triton.cdiv(patch, tile["BK"])
        sizes = begin, begin + len(part), tokens, patch, frames, volumes.shape[2:].numel()
        pointers = volumes, offsets, mean, inv_std, part
        launch(tokenize_voxels_gather_kernel, grid, *pointers, scale, *sizes, **layouts, **blocks)
        yield begin, part


def flags_of(
    volumes: torch.Tensor, mean: torch.Tensor | None, inv_std: torch.Tensor | None, exact: bool
) -> dict[str, bool]:
    """Return the flags of layouts and of exact products for a kernel."""
    packed = any(t is not None and t.dim() == 2 for t in (mean, inv_std))
    return {"PACKED": volumes.dim() == 4, "STATS_PACKED": packed, "EXACT": exact}
