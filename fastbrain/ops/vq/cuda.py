"""CUDA C++ backend of the nearest-code lookup, for the few rows of a real-time session."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .. import _cuda
from .._tensors import DTYPES, GPU_FLOATS, address, contiguous
from .codebook import LookupProblem
from .scored import scored

# for more rows every code is read too often, and the larger tiles of Triton are faster
_MOST_ROWS = 64
# rows that share one read of the codes
_AT_ONCE = 8
# a block scores 32 codes at once; two blocks for each multiprocessor of the largest GPUs
_BLOCK_CODES, _MOST_BLOCKS = 32, 264

_library = torch.library.Library("fastbrain", "FRAGMENT")
_library.define(
    "vq_lookup_cuda(Tensor x, Tensor? mask, Tensor codes, Tensor weights, bool cosine) -> Tensor"
)


def can_run(problem: LookupProblem) -> str | None:
    """Return None, or the reason why the CUDA kernel cannot run the checked lookup."""
    for value in (problem.x, problem.codebook):
        reason = _cuda.missing(value)
        if reason is not None:
            return reason
        if value.dtype not in GPU_FLOATS:
            return f"a tensor is {value.dtype}; it takes float32, float16 and bfloat16"
    rows = problem.x.shape[:-1].numel()
    if rows > _MOST_ROWS:
        return f"there are {rows} rows; it is meant for at most {_MOST_ROWS}"
    if len(problem.codebook) >= 1 << 31:
        return f"the codebook holds {len(problem.codebook)} codes; it counts them in 32 bits"
    return None


def slower(problem: LookupProblem) -> str | None:
    """Return None, or that Triton is faster for the codebook."""
    x, (codes, width) = problem.x, problem.codebook.shape
    rows = x.shape[:-1].numel()
    if rows <= _AT_ONCE:
        first, few = "cuda", "1 row" if rows == 1 else f"2 to {_AT_ONCE} rows"
    else:
        first, few = "triton", f"{_AT_ONCE + 1} to {_MOST_ROWS} rows"
    shape = f"{str(x.dtype)[6:]} {few} of {codes} codes of {width}"
    return _cuda.slower("vq_backend", shape, x, first=first)


def call(problem: LookupProblem) -> Tensor:
    """Return the index of the nearest code, on the GPU."""
    return torch.ops.fastbrain.vq_lookup_cuda(*scored(problem))


def _nearest(
    x: Tensor, mask: Tensor | None, codes: Tensor, weights: Tensor, cosine: bool
) -> Tensor:
    x, mask, codes, weights = contiguous(x, mask, codes, weights)
    out = _fake(x)
    blocks = min(-(-codes.shape[0] // _BLOCK_CODES), _MOST_BLOCKS)
    found = x.new_empty(blocks * out.numel(), dtype=torch.int64)
    _cuda.launch(
        "vq_lookup_cuda",
        x,
        x=address(x),
        type=DTYPES[x.dtype],
        codebook=address(codes),
        weights=address(weights),
        mask=address(mask),
        found=address(found),
        out=address(out),
        rows=out.numel(),
        codes=codes.shape[0],
        width=codes.shape[1],
        blocks=blocks,
        cosine=cosine,
    )
    return out


def _fake(x: Tensor, *_: Any) -> Tensor:
    return x.new_empty(x.shape[:-1], dtype=torch.int64)


for _key in _cuda.KEYS:
    _library.impl("vq_lookup_cuda", _nearest, _key)
torch.library.register_fake("fastbrain::vq_lookup_cuda", _fake, lib=_library)
