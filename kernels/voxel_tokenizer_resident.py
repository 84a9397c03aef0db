"""Voxel tokenizer on the GPU with resident patches: gathered once, multiplied with all features.

A program keeps the normalised patches of BM tokens on the chip and goes through the tiles of the
weight. It is for windows of one frame; a patch is padded to a power of two.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .voxel_tokenizer_gather import normalised_patches, volume_size


@triton.jit(do_not_specialize=["samples", "tokens", "voxels"])
def tokenize_voxels_resident_kernel(
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
    sample = tl.program_id(0).to(tl.int64) * BM + tl.arange(0, BM)
    real = sample < samples
    window = sample // tokens
    token = (sample % tokens).to(tl.int32)
    k = tl.arange(0, BK)
    begin = volumes + window * volume_size(tokens, patch, voxels, PACKED)
    value = normalised_patches(
        begin, offsets, mean, inv_std, scale, token, real, k, patch, PACKED, STATS_PACKED
    )
    left = value.to(tl.float32 if EXACT else weight.dtype.element_ty)
    for first in range(0, features, BD):
        feature = first + tl.arange(0, BD)
        is_feature = feature < features
        right = tl.load(
            weight + feature[None, :].to(tl.int64) * patch + k[:, None],
            mask=is_feature[None, :] & (k < patch)[:, None],
            other=0,
        )
        if EXACT:
            total = tl.dot(left, right.to(tl.float32), input_precision="ieee")
        else:
            total = tl.dot(left, right)
        if bias is not None:
            total += tl.load(bias + feature, mask=is_feature, other=0).to(tl.float32)[None, :]
        tl.store(
            out + sample[:, None] * features + feature[None, :],
            total.to(out.dtype.element_ty),
            mask=real[:, None] & is_feature[None, :],
        )
