"""Triton backend of neighbourhood clustering, with its registration.

Four to six launches for value and gradients: a sweep over the memory, the merging of its shares,
a second sweep (``dance``, or rows too wide for registers), the product with the memory of such
rows, and gradients. Nothing waits for the device, so a CUDA graph can capture the op.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .. import _dispatch, _triton
from . import autograd as entropy
from .checks import NORM_TOLERANCE, ClusteringProblem

# bytes of the weights stored at once, if a row is too wide for registers
_SLAB_BYTES = 64 << 20

# bytes of the products with the memory, if PyTorch may compute them all
_SCORE_BYTES = 512 << 20

# widest rows for which both products of the gradient stay in registers
_WIDEST_DUAL = 256

# multiprocessors of an H200
_PROCESSORS = 132

_library = torch.library.Library("fastbrain", "FRAGMENT")
_library.define(
    "neighborhood_clustering_triton(Tensor features, Tensor prototypes, Tensor memory, "
    "Tensor indices, float temperature, float eps, bool exact, bool grad) -> (Tensor, Tensor)"
)


def can_run(problem: ClusteringProblem) -> str | None:
    """Return None, or the reason why the Triton kernel cannot run the checked problem."""
    features = problem.features
    missing = _triton.missing(features)
    if missing is None and torch.float64 in (t.dtype for t in problem[:3]):
        return "a tensor is float64; it computes in float32"
    return missing or entropy.objection(features, problem.temperature)


def call(problem: ClusteringProblem) -> Tensor:
    """Compute the mean entropy on the GPU, with gradients for features and prototypes."""
    features, prototypes, memory, indices, temperature, variant = problem
    rows = features.float(), prototypes.float()
    eps = entropy.DANCE_EPS if variant == "dance" else 0.0
    # features that a half-precision memory cannot hold are multiplied in float32
    fixed = memory.detach(), indices, temperature, eps, memory.dtype != features.dtype
    if _dispatch.any_gradient(*rows):
        return _Clustering.apply(*rows, *fixed)
    return torch.ops.fastbrain.neighborhood_clustering_triton(*rows, *fixed, False)[0]


class _Clustering(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, *arguments: Any) -> Tensor:
        operator = torch.ops.fastbrain.neighborhood_clustering_triton
        value, grads = operator(features, *arguments, True)
        ctx.save_for_backward(grads)
        ctx.batch = features.shape[0]
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        grads = grad * ctx.saved_tensors[0]
        return grads[: ctx.batch], grads[ctx.batch :], None, None, None, None, None


def _fake(
    features: Tensor, prototypes: Tensor, memory: Tensor, *arguments: Any
) -> tuple[Tensor, Tensor]:
    rows = features.shape[0] + prototypes.shape[0] if arguments[-1] else 0
    return features.new_empty(()), features.new_empty(rows, features.shape[1])


def _cdiv(a: int, b: int) -> int:
    return -(-a // b)


def _entropy(
    features: Tensor,
    prototypes: Tensor,
    memory: Tensor,
    indices: Tensor,
    temperature: float,
    eps: float,
    exact: bool,
    grad: bool,
) -> tuple[Tensor, Tensor]:
    # imported here, so that only a call that needs Triton imports it
    from ...kernels import neighborhood as kernels
    from ...kernels import neighborhood_merge as merging
    from ...kernels import neighborhood_tiles as tiles
    from ...kernels.float32_product import float32_product
    from ...kernels.launch import launch

    features, prototypes, indices = (t.contiguous() for t in (features, prototypes, indices))
    if memory.stride(1) != 1:
        memory = memory.contiguous()
    (batch, width), size, classes = features.shape, memory.shape[0], prototypes.shape[0]
    dance = eps != 0
    dual = grad and width <= _WIDEST_DUAL
    count = classes + batch * dance
    new = features.new_empty
    bias, few, stats = new(size), new(batch, count), new(4, batch)
    groups = _cdiv(batch, 16)
    sizes = (batch, classes, count, size)
    exact = exact or memory.dtype == torch.float32
    layout = {
        "WIDTH": width,
        "STEP": memory.stride(0),
        "EXACT": exact or _triton.INTERPRETED,
    }

    # PyTorch multiplies numbers of one dtype, and its products are all held at once
    same = memory.dtype == torch.float32 or not exact
    scored = same and 4 * batch * size <= _SCORE_BYTES
    taken, scores = tiles.taken(memory, dual=dual, exact=exact, scored=scored), None
    if taken.variant == "products":
        dual, scores = False, float32_product(features.to(memory.dtype), memory.T)
    # a sweep without sums of products beside one that has them
    only = {"dual": False, "exact": exact, "scored": False}
    single = tiles.taken(memory, **only) if dual and dance else taken

    def sweep(*, known: bool, dual: bool) -> tuple[Tensor, Tensor, int]:
        """Read the memory in shares: sums (shares, 3, B), products (shares, 2, B, D)."""
        tile = (taken if dual else single).tile
        rows = _cdiv(batch, tile["BB"])
        most = max(1, (1 if dual else 2) * _PROCESSORS // rows)
        span = _cdiv(_cdiv(size, tile["BN"]), most) * tile["BN"]
        shares = _cdiv(size, span)
        sums = new(shares, 3, batch)
        products = new((shares, 2, batch, width) if dual else (0,))
        # the sums of the few columns are those of the merging: here are only their logits
        more = 0 if known else _cdiv(count, 16)
        launch(
            kernels.neighborhood_clustering_fwd_kernel,
            (rows, shares + more),
            *(features, prototypes, memory, scores, indices, bias, few, stats, sums, products),
            *(*sizes, span, shares, 1 / temperature, eps, NORM_TOLERANCE),
            **{"KNOWN": known, "DUAL": dual, "DANCE": dance},
            **layout,
            **tile,
        )
        return sums, products, shares

    def merge(sums: Tensor, *, known: bool) -> None:
        launch(
            merging.neighborhood_clustering_merge_kernel,
            (groups,),
            *(sums, few, stats, batch, count, sums.shape[0], eps),
            KNOWN=known,
            num_warps=4,
        )

    sums, products, shares = sweep(known=False, dual=dual and not dance)
    merge(sums, known=False)
    if dance and (dual or not grad):
        sums, products, shares = sweep(known=True, dual=dual)
        merge(sums, known=True)
    if not grad:
        return stats[3].mean(), new(0, width)
    if not dual:
        products, late = _wide(
            *(features, memory, scores, indices, bias, few, stats, temperature, eps),
            exact=exact,
            tile=single.tile,
            layout=layout,
        )
        if late is not None:
            merge(late, known=True)
        shares = products.shape[0]
    value, grads = new(()), new(batch + classes, width)
    launch(
        merging.neighborhood_clustering_finalise_kernel,
        (groups + _cdiv(classes, 16), _cdiv(width, 16)),
        *(features, prototypes, few, stats, sums, products, value, grads),
        *(batch, classes, count, shares, 1 / (temperature * batch), eps),
        **{"PLANES": products.shape[1], "DANCE": dance, "WIDTH": width, "BD": 16, "BS": 16},
        num_warps=4,
    )
    return value, grads


def _wide(
    features: Tensor,
    memory: Tensor,
    scores: Tensor | None,
    indices: Tensor,
    bias: Tensor,
    few: Tensor,
    stats: Tensor,
    temperature: float,
    eps: float,
    *,
    exact: bool,
    tile: dict[str, int],
    layout: dict[str, Any],
) -> tuple[Tensor, Tensor | None]:
    """Compute products (shares, planes, B, D) of stored weights and the memory, by slabs.

    With ``eps`` the statistics lack the mean slope of these weights: it completes them, or returns
    the sums (shares, 3, B) from which it is still to be merged.
    """
    from ...kernels import neighborhood as kernels
    from ...kernels import neighborhood_merge as merging
    from ...kernels.float32_product import float32_product
    from ...kernels.launch import launch
    from ...kernels.neighborhood_tiles import product_blocks

    (batch, width), size, count = features.shape, memory.shape[0], few.shape[1]
    dance = eps != 0
    planes, scored = 1 + dance, scores is not None
    inner = product_blocks(exact=exact)
    kept = torch.float32 if exact else memory.dtype
    slab = _SLAB_BYTES // (planes * batch * kept.itemsize)
    slab = min(size, max(1, slab // tile["BN"]) * tile["BN"])
    rows, sections = planes * batch, _cdiv(planes * batch, inner["BB"])
    columns = _cdiv(width, inner["BD"])
    most = max(1, 2 * _PROCESSORS // (sections * columns))
    span = _cdiv(_cdiv(slab, inner["BN"]), most) * inner["BN"]
    starts = range(0, size, slab)
    parts = [_cdiv(min(slab, size - begin), span) for begin in starts]
    products = features.new_empty(0 if scored else sum(parts), planes, batch, width)
    multiplied: list[Tensor] = []
    sums = features.new_empty((_cdiv(size, tile["BN"]), 3, batch) if dance else (0,))
    weights = memory.new_empty(rows * _pitch(slab), dtype=kept)
    first = 0
    for begin, part in zip(starts, parts, strict=True):
        end = min(begin + slab, size)
        pitch = _pitch(end - begin)
        launch(
            kernels.neighborhood_clustering_bwd_kernel,
            (_cdiv(batch, tile["BB"]), _cdiv(end - begin, tile["BN"])),
            *(features, memory, scores, indices, bias, stats, weights, sums),
            *(begin, batch, size, end, pitch, 1 / temperature, eps),
            DANCE=dance,
            **layout,
            **tile,
        )
        if scored:
            stored = weights[: rows * pitch].view(rows, pitch)[:, : end - begin]
            multiplied.append(float32_product(stored, memory[begin:end]))
            continue
        # the programs that merge run beside those of the last product
        merge = dance and end == size
        launch(
            merging.neighborhood_clustering_product_kernel,
            (sections + merge * _cdiv(batch, 16), columns, part),
            *(weights, memory, products, sums, few, stats, begin, rows, end, pitch, span, first),
            *(batch, count, sections, sums.shape[0], eps),
            MERGE=merge,
            **layout,
            **inner,
        )
        first += part
    if scored:
        # one product needs no copy
        products = multiplied[0] if len(multiplied) == 1 else torch.stack(multiplied)
        return products.view(-1, planes, batch, width), sums if dance else None
    return products, None


def _pitch(columns: int) -> int:
    """Return the length of a row of weights: a multiple of 16, so that stores stay wide.

    It is that of each slab: behind a shorter last one there are no weights of the slab before.
    """
    return 16 * _cdiv(columns, 16)


for _key in _triton.KEYS:
    _library.impl("neighborhood_clustering_triton", _entropy, _key)
torch.library.register_fake("fastbrain::neighborhood_clustering_triton", _fake, lib=_library)
