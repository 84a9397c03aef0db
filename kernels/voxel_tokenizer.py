"""Voxel tokenizer on the GPU: gather, scale, normalise and multiply in one kernel.

A program computes BM tokens times BD features. It walks the inner axis (frames times patch
elements), gathers raw values through the offsets table, normalises them in float32 and only then
casts them for the tensor cores. Plain pointers, so that every Triton from 3.6 on compiles it.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl

from .variant import TYPES, Variant


@triton.jit
def _forward(
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
    HAS_BIAS: tl.constexpr,
    HAS_MEAN: tl.constexpr,
    MEAN_PACKED: tl.constexpr,
    HAS_INV_STD: tl.constexpr,
    INV_STD_PACKED: tl.constexpr,
    EXACT: tl.constexpr,
    BM: tl.constexpr,
    BD: tl.constexpr,
    BK: tl.constexpr,
):
    sample = tl.program_id(0).to(tl.int64) * BM + tl.arange(0, BM)
    feature = tl.program_id(1) * BD + tl.arange(0, BD)
    is_sample = sample < samples
    is_feature = feature < features
    window = sample // tokens
    token = (sample % tokens).to(tl.int32)
    depth = tl.cast(patch, tl.int64) * frames
    total = tl.zeros((BM, BD), dtype=tl.float32)
    # positions inside a volume fit 32 bits, which halves the registers they take; where a volume
    # begins does not
    for frame in range(0, frames):
        begin = volumes + (window * frames + frame) * voxels
        for first in range(0, patch, BK):
            k = first + tl.arange(0, BK)
            inside = token[:, None] * patch + k[None, :]
            # a tail beyond the patch reads as outside the mask
            offset = tl.load(
                offsets + inside, mask=is_sample[:, None] & (k < patch)[None, :], other=-1
            )
            valid = offset >= 0
            where = inside if PACKED else offset
            value = tl.load(begin[:, None] + where, mask=valid, other=0)
            value = value.to(tl.float32) * scale
            if HAS_MEAN:
                where = inside if MEAN_PACKED else offset
                value -= tl.load(mean + where, mask=valid, other=0)
            if HAS_INV_STD:
                where = inside if INV_STD_PACKED else offset
                value *= tl.load(inv_std + where, mask=valid, other=0)
            value = tl.where(valid, value, 0.0)
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
    if HAS_BIAS:
        total += tl.load(bias + feature, mask=is_feature, other=0).to(tl.float32)[None, :]
    tl.store(
        out + sample[:, None] * features + feature[None, :],
        total.to(out.dtype.element_ty),
        mask=is_sample[:, None] & is_feature[None, :],
    )


def blocks(dtype: torch.dtype, patch: int) -> dict[str, int]:
    """Tile sizes, warps and stages for a weight of `dtype` and patches of `patch` voxels.

    The largest tiles that spill no register on sm_80, sm_90 and sm_100: the gather holds its
    pointers in registers, and pipelining it in more stages would hold them twice.
    """
    if dtype == torch.float32:
        return {"BM": 64, "BD": 64, "BK": 16, "num_warps": 8, "num_stages": 2}
    inner = max(16, triton.next_power_of_2(min(patch, 32)))
    return {"BM": 64, "BD": 128, "BK": inner, "num_warps": 8, "num_stages": 1}


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
    """Tokens (B, n_tokens, D) of contiguous tensors on one device.

    Parameters
    ----------
    volumes : Tensor, (B, F, Z, Y, X) or (B, F, n_tokens, P)
    weight : Tensor, (D, F, kz, ky, kx)
    bias : Tensor, (D,) or None
    offsets : Tensor, (n_tokens, P) int32
        Flat voxel index of every patch element, -1 outside.
    mean, inv_std : Tensor, (Z, Y, X) or (n_tokens, P) float32, or None
    scale : float
    exact : bool
        Multiply in float32 whatever the weight is; for the interpreter, whose product of
        bfloat16 is wrong. A float32 weight is always multiplied exactly.
    """
    batch, frames = volumes.shape[:2]
    tokens, patch = offsets.shape
    features = weight.shape[0]
    out = weight.new_empty(batch, tokens, features)
    if out.numel() == 0:
        return out
    tile = blocks(weight.dtype, patch)
    grid = (triton.cdiv(batch * tokens, tile["BM"]), triton.cdiv(features, tile["BD"]))
    _forward[grid](
        volumes,
        weight,
        bias,
        offsets,
        mean,
        inv_std,
        out,
        scale,
        batch * tokens,
        tokens,
        patch,
        frames,
        volumes.shape[2:].numel(),
        features,
        PACKED=volumes.dim() == 4,
        HAS_BIAS=bias is not None,
        HAS_MEAN=mean is not None,
        MEAN_PACKED=mean is not None and mean.dim() == 2,
        HAS_INV_STD=inv_std is not None,
        INV_STD_PACKED=inv_std is not None and inv_std.dim() == 2,
        EXACT=exact or weight.dtype == torch.float32,
        **tile,
    )
    return out


def variants() -> dict[str, Variant]:
    """What a training run, a session and a test compile, for checks without a GPU."""
    kinds = {
        "bf16-volumes": (torch.bfloat16, 512, False, True),
        "bf16-packed": (torch.bfloat16, 512, True, True),
        "bf16-small": (torch.bfloat16, 64, True, True),
        "fp16-raw": (torch.float16, 512, True, False),
        "fp32-packed": (torch.float32, 512, True, True),
    }
    return {name: _variant(*kind) for name, kind in kinds.items()}


def _variant(dtype: torch.dtype, patch: int, packed: bool, statistics: bool) -> Variant:
    tile = blocks(dtype, patch)
    warps, stages = tile.pop("num_warps"), tile.pop("num_stages")
    value = f"*{TYPES[dtype]}"
    arguments: dict[str, Any] = {
        **{"volumes": "*i16", "weight": value, "bias": value, "offsets": "*i32"},
        **{"mean": "*fp32", "inv_std": "*fp32", "out": value, "scale": "fp32"},
        **dict.fromkeys(("samples", "tokens", "patch", "frames", "voxels", "features"), "i32"),
        **{"PACKED": packed, "HAS_BIAS": True, "HAS_MEAN": statistics, "MEAN_PACKED": packed},
        **{"HAS_INV_STD": statistics, "INV_STD_PACKED": packed, "EXACT": dtype == torch.float32},
        **tile,
    }
    return Variant(_forward, arguments, warps, stages, tensor_cores=dtype != torch.float32)
