"""Triton backend of the nearest-code lookup and the codebook update, with its registration."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .. import _triton
from .scored import scored
from .segments import pieces_of, sort_by_code

if TYPE_CHECKING:
    from .codebook import PackedCodebook
    from .state import VQState

_library = torch.library.Library("fastbrain", "FRAGMENT")
_library.define(
    "vq_lookup_triton(Tensor x, Tensor? mask, Tensor codes, Tensor weights, bool cosine) -> Tensor"
)
_library.define("vq_update_triton(Tensor x, Tensor? order, Tensor begins, Tensor ends) -> Tensor")


def can_run(
    x: Tensor, codebook: Tensor, metric: str, mask: Tensor | None, packed: PackedCodebook | None
) -> str | None:
    """Return None, or the reason why the Triton kernel cannot run the checked lookup."""
    if len(codebook) >= 1 << 31:
        return f"the codebook holds {len(codebook)} codes; it counts them in 32 bits"
    if x.shape[-1] == 0:
        return "the rows are empty"
    return _triton.unread("a tensor", x) or _triton.unread("a tensor", codebook)


def call(
    x: Tensor, codebook: Tensor, metric: str, mask: Tensor | None, packed: PackedCodebook | None
) -> Tensor:
    """Return the index of the nearest code, on the GPU."""
    return torch.ops.fastbrain.vq_lookup_triton(*scored(x, codebook, metric, mask, packed))


def can_sum(
    state: VQState, x: Tensor, indices: Tensor, decay: float, mask: Tensor | None, group: object
) -> str | None:
    """Return None, or the reason why the Triton kernel cannot run the checked update."""
    if state.total.dtype != torch.float32:
        return f"the state is {state.total.dtype}; it adds in float32"
    return _triton.unread("a tensor", x)


def sums(x: Tensor, indices: Tensor, mask: Tensor | None, count: int) -> tuple[Tensor, Tensor]:
    """Count the rows of each code, (C,) int64, and add them up, (C, D) float32."""
    order, bounds = sort_by_code(indices, mask, count)
    begins, ends, firsts, lasts = pieces_of(bounds, order.shape[0])
    rows = x.detach().reshape(-1, x.shape[-1])
    parts = torch.ops.fastbrain.vq_update_triton(rows, order, begins, ends)
    return bounds.diff(), torch.ops.fastbrain.vq_update_triton(parts, None, firsts, lasts)


def _nearest(
    x: Tensor, mask: Tensor | None, codes: Tensor, weights: Tensor, cosine: bool
) -> Tensor:
    # imported here, so that only a call that needs Triton imports it
    from ...kernels import vq as kernels

    return kernels.nearest(
        x.contiguous(),
        codes.contiguous(),
        weights.contiguous(),
        None if mask is None else mask.contiguous(),
        cosine=cosine,
        exact=_triton.INTERPRETED,
    )


def _segment_sums(x: Tensor, order: Tensor | None, begins: Tensor, ends: Tensor) -> Tensor:
    from ...kernels import vq as kernels

    order = None if order is None else order.contiguous()
    return kernels.segment_sums(x.contiguous(), order, begins.contiguous(), ends.contiguous())


def _fake_nearest(
    x: Tensor, mask: Tensor | None, codes: Tensor, weights: Tensor, cosine: bool
) -> Tensor:
    return x.new_empty(x.shape[:-1], dtype=torch.int64)


def _fake_segment_sums(x: Tensor, order: Tensor | None, begins: Tensor, ends: Tensor) -> Tensor:
    return x.new_empty(begins.shape[0], x.shape[-1], dtype=torch.float32)


for _key in _triton.KEYS:
    _library.impl("vq_lookup_triton", _nearest, _key)
    _library.impl("vq_update_triton", _segment_sums, _key)
torch.library.register_fake("fastbrain::vq_lookup_triton", _fake_nearest, lib=_library)
torch.library.register_fake("fastbrain::vq_update_triton", _fake_segment_sums, lib=_library)
