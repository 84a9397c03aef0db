"""Triton backend of the nearest-code lookup and the codebook update, with its registration."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .. import _triton
from .._tensors import contiguous
from .codebook import LookupProblem
from .scored import scored
from .segments import pieces_of, sort_by_code
from .state import UpdateProblem

_library = torch.library.Library("fastbrain", "FRAGMENT")
_library.define(
    "vq_lookup_triton(Tensor x, Tensor? mask, Tensor codes, Tensor weights, bool cosine) -> Tensor"
)
_library.define("vq_update_triton(Tensor x, Tensor? order, Tensor begins, Tensor ends) -> Tensor")


def can_run(problem: LookupProblem) -> str | None:
    """Return None, or the reason why the Triton kernel cannot run the checked lookup."""
    if len(problem.codebook) >= 1 << 31:
        return f"the codebook holds {len(problem.codebook)} codes; it counts them in 32 bits"
    if problem.x.shape[-1] == 0:
        return "the rows are empty"
    return _triton.unread("a tensor", problem.x) or _triton.unread("a tensor", problem.codebook)


def call(problem: LookupProblem) -> Tensor:
    """Return the index of the nearest code, on the GPU."""
    return torch.ops.fastbrain.vq_lookup_triton(*scored(problem))


def can_sum(problem: UpdateProblem) -> str | None:
    """Return None, or the reason why the Triton kernel cannot run the checked update."""
    dtype = problem.state.total.dtype
    if dtype != torch.float32:
        return f"the state is {dtype}; it adds in float32"
    return _triton.unread("a tensor", problem.x)


def sums(problem: UpdateProblem) -> tuple[Tensor, Tensor]:
    """Count the rows of each code, (C,) int64, and add them up, (C, D) float32."""
    order, bounds = sort_by_code(problem.indices, problem.mask, len(problem.state.codebook))
    begins, ends, firsts, lasts = pieces_of(bounds, order.shape[0])
    rows = problem.x.detach().reshape(-1, problem.x.shape[-1])
    parts = torch.ops.fastbrain.vq_update_triton(rows, order, begins, ends)
    return bounds.diff(), torch.ops.fastbrain.vq_update_triton(parts, None, firsts, lasts)


def _nearest(
    x: Tensor, mask: Tensor | None, codes: Tensor, weights: Tensor, cosine: bool
) -> Tensor:
    # imported here, so that only a call that needs Triton imports it
    from ...kernels import vq as kernels

    tensors = contiguous(x, codes, weights, mask)
    return kernels.nearest(*tensors, cosine=cosine, exact=_triton.INTERPRETED)


def _segment_sums(x: Tensor, order: Tensor | None, begins: Tensor, ends: Tensor) -> Tensor:
    from ...kernels import vq_sums as kernels

    return kernels.segment_sums(*contiguous(x, order, begins, ends))


def _fake_nearest(x: Tensor, *_: Any) -> Tensor:
    return x.new_empty(x.shape[:-1], dtype=torch.int64)


def _fake_segment_sums(x: Tensor, order: Tensor | None, begins: Tensor, ends: Tensor) -> Tensor:
    return x.new_empty(begins.shape[0], x.shape[-1], dtype=torch.float32)


for _key in _triton.KEYS:
    _library.impl("vq_lookup_triton", _nearest, _key)
    _library.impl("vq_update_triton", _segment_sums, _key)
torch.library.register_fake("fastbrain::vq_lookup_triton", _fake_nearest, lib=_library)
torch.library.register_fake("fastbrain::vq_update_triton", _fake_segment_sums, lib=_library)
