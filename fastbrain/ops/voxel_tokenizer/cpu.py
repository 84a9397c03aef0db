"""C++ backend of the voxel tokenizer, with its registration and gradient.

The operators are opaque to torch.compile: they have a fake implementation for shapes, and the
gradient is a ``torch.autograd.Function`` around them.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ... import _native
from ...grid import TokenGrid
from ...layout import TokenLayout
from .._compiling import constant_in_graphs
from .._dispatch import any_gradient
from .._tensors import address, contiguous
from . import bfloat16
from .checks import TokenizeProblem

# one 64-bit word holds the mask of a row along x
_WIDEST_ROW = 64

_library = torch.library.Library("fastbrain", "FRAGMENT")
_STORED = "Tensor volumes, Tensor bases, Tensor bits, Tensor? mean, Tensor? inv_std, float scale"
_library.define(f"tokenize_voxels_cpu(Tensor weight, Tensor? bias, {_STORED}) -> Tensor")
_library.define(
    f"tokenize_voxels_cpu_grad(Tensor grad, SymInt frames, int[] kernel, {_STORED}) -> Tensor"
)


class StoredRows(NamedTuple):
    """Raw values, the rows of voxels that make up each patch, and the statistics.

    `bases` and `bits` are those of :func:`rows_of`.
    """

    volumes: Tensor
    bases: Tensor
    bits: Tensor
    mean: Tensor | None
    inv_std: Tensor | None
    scale: float


_rows: WeakKeyDictionary[TokenGrid, tuple[Tensor, Tensor]] = WeakKeyDictionary()


@constant_in_graphs
def rows_of(grid: TokenGrid) -> tuple[Tensor, Tensor]:
    """Return the rows of voxels along x that make up each patch.

    Returns
    -------
    bases : Tensor, (n_tokens, kz·ky) int32
        Flat index in the volume of the first voxel of the row.
    bits : Tensor, (n_tokens, kz·ky) uint8, or int64 where a row is wider than 8 voxels
        Bit j is set where voxel j of the row lies in volume and mask.
    """
    known = _rows.get(grid)
    if known is None:
        width = grid.kernel[2]
        offsets = grid.offsets.reshape(grid.n_tokens, -1, width)
        valid = offsets >= 0
        first = valid.argmax(axis=2)
        base = np.take_along_axis(offsets, first[..., None], axis=2)[..., 0] - first
        base[~valid.any(axis=2)] = 0
        powers = np.uint64(1) << np.arange(width, dtype=np.uint64)
        bits = np.where(valid, powers, np.uint64(0)).sum(axis=2, dtype=np.uint64)
        # small tables: at 4 voxels a row int64 tables would be larger than the values
        bits = bits.astype(np.uint8) if width <= 8 else bits.view(np.int64)
        known = torch.from_numpy(base.astype(np.int32)), torch.from_numpy(bits)
        _rows[grid] = known
    return known


def can_run(problem: TokenizeProblem) -> str | None:
    """Return None, or the reason why the C++ kernel cannot run the checked problem."""
    volumes, weight, grid = problem.volumes, problem.weight, problem.grid
    if weight.device.type != "cpu":
        return f"the tensors are on {weight.device}"
    if weight.dtype not in (torch.float32, torch.bfloat16):
        return f"weight is {weight.dtype}; it multiplies float32 and bfloat16"
    if volumes.dtype not in (torch.int16, torch.float32):
        return f"volumes are {volumes.dtype}; it reads int16 and float32"
    if isinstance(grid, TokenLayout) and not _packed(problem):
        return "the patches are lists of locations; it reads them packed (grid.pack)"
    return too_wide(grid)


def how(problem: TokenizeProblem) -> str:
    """Name the way that the next call with such a problem takes, where there are several."""
    weight = problem.weight
    if weight.dtype is not torch.bfloat16 or not bfloat16.has_kernels():
        return ""
    rows, features = problem.volumes.shape[0] * problem.grid.n_tokens, weight.shape[0]
    choice = bfloat16.choice(rows, weight.numel() // max(1, features), features, backward=False)
    return choice.way + (choice.reason and f" ({choice.reason})")


def too_wide(grid: TokenGrid) -> str | None:
    """Return None, or the reason why the C++ kernel cannot run any window of the grid."""
    if grid.kernel[2] > _WIDEST_ROW:
        return f"the kernel is {grid.kernel[2]} voxels wide; it takes at most {_WIDEST_ROW}"
    if grid.mask.size >= 1 << 31:
        return f"a volume has {grid.mask.size} voxels; it counts them in 32 bits"
    return None


def _packed(problem: TokenizeProblem) -> bool:
    statistics = (problem.mean, problem.inv_std)
    return problem.volumes.dim() == 4 and all(t is None or t.dim() == 2 for t in statistics)


def call(problem: TokenizeProblem) -> Tensor:
    """Tokenize on the CPU, with gradients for weight and bias."""
    volumes, weight, bias, grid, mean, inv_std, scale = problem
    rows = rows_of(grid)
    if not any_gradient(weight, bias) and not torch.compiler.is_compiling():
        # with cold caches the dispatcher takes a tenth of the time of a fine grid
        return _forward(weight, bias, volumes, *rows, mean, inv_std, scale)
    mean, inv_std = (None if t is None else t.detach() for t in (mean, inv_std))
    return _Tokenize.apply(weight, bias, volumes.detach(), *rows, mean, inv_std, scale)


class _Tokenize(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, bias: Tensor | None, *stored: Any) -> Tensor:
        *tensors, ctx.scale = stored
        ctx.save_for_backward(*tensors)
        ctx.frames, ctx.kernel = weight.shape[1], list(weight.shape[2:])
        return torch.ops.fastbrain.tokenize_voxels_cpu(weight, bias, *stored)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        grad_weight = grad_bias = None
        if ctx.needs_input_grad[0]:
            grad_weight = torch.ops.fastbrain.tokenize_voxels_cpu_grad(
                grad, ctx.frames, ctx.kernel, *ctx.saved_tensors, ctx.scale
            )
        if ctx.needs_input_grad[1]:
            grad_bias = grad.sum(dim=(0, 1))
        return grad_weight, grad_bias, None, None, None, None, None, None


def _source(rows: StoredRows, width: int) -> Any:
    volumes, mean, inv_std = rows.volumes, rows.mean, rows.inv_std
    whole = volumes.shape[2:]
    if len(whole) == 2:
        # a row that leaves the volume must not be read from statistics that are not packed
        whole = next((s.shape for s in (mean, inv_std) if s is not None and s.dim() == 3), whole)
    # by position: names take as long as a small window
    return _native.VoxelSource(
        volumes.data_ptr(),
        volumes.dtype is torch.int16,
        volumes.dim() == 4,
        address(mean),
        mean is not None and mean.dim() == 2,
        address(inv_std),
        inv_std is not None and inv_std.dim() == 2,
        rows.bases.data_ptr(),
        rows.bits.data_ptr(),
        (*volumes.shape[:2], whole.numel(), *rows.bases.shape, width),
        rows.scale,
    )


def _forward(weight: Tensor, bias: Tensor | None, *stored: Any) -> Tensor:
    half = weight.dtype is torch.bfloat16
    if half and not bfloat16.has_kernels():
        wide = None if bias is None else bias.float()
        return _forward(weight.float(), wide, *stored).bfloat16()
    out = _fake_forward(weight, bias, *stored)
    weight, bias, *kept = contiguous(weight, bias, *stored)
    source = _source(StoredRows(*kept), weight.shape[-1])
    if half:
        bfloat16.forward(source, weight, bias, out)
        return out
    _native.voxel_tokenizer_forward(
        source,
        address(weight),
        address(bias),
        weight.shape[0],
        address(out),
        torch.get_num_threads(),
    )
    return out


def _weight_grad(grad: Tensor, frames: int, kernel: list[int], *stored: Any) -> Tensor:
    half = grad.dtype is torch.bfloat16
    if half and not bfloat16.has_kernels():
        return _weight_grad(grad.float(), frames, kernel, *stored).bfloat16()
    grad, *kept = contiguous(grad, *stored)
    source = _source(StoredRows(*kept), kernel[-1])
    if half:
        total = bfloat16.weight_grad(source, grad, frames * math.prod(kernel))
        return total.to(grad.dtype).view(-1, frames, *kernel)
    out = _fake_weight_grad(grad, frames, kernel)
    _native.voxel_tokenizer_backward(
        source,
        grad=address(grad),
        features=grad.shape[-1],
        grad_weight=address(out),
        threads=torch.get_num_threads(),
    )
    return out


def _fake_forward(
    weight: Tensor, bias: Tensor | None, volumes: Tensor, bases: Tensor, *_: Any
) -> Tensor:
    # no len(): it would fix a size that torch.compile keeps symbolic
    return weight.new_empty(volumes.shape[0], bases.shape[0], weight.shape[0])


def _fake_weight_grad(grad: Tensor, frames: int, kernel: list[int], *_: Any) -> Tensor:
    return grad.new_empty(grad.shape[-1], frames, *kernel)


_library.impl("tokenize_voxels_cpu", _forward, "CPU")
_library.impl("tokenize_voxels_cpu_grad", _weight_grad, "CPU")
torch.library.register_fake("fastbrain::tokenize_voxels_cpu", _fake_forward, lib=_library)
torch.library.register_fake("fastbrain::tokenize_voxels_cpu_grad", _fake_weight_grad, lib=_library)
