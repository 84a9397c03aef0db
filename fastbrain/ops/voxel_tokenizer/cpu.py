"""C++ backend of the voxel tokenizer, with its registration and gradient.

The operators are opaque to torch.compile: they have a fake implementation for shapes, and the
gradient is a ``torch.autograd.Function`` around them.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ... import _native
from ...grid import TokenGrid
from .._dispatch import any_gradient

# one 64-bit word holds the mask of a row along x
_WIDEST_ROW = 64

_library = torch.library.Library("fastbrain", "FRAGMENT")
_library.define(
    "tokenize_voxels_cpu(Tensor volumes, Tensor weight, Tensor? bias, Tensor bases, Tensor bits, "
    "Tensor? mean, Tensor? inv_std, float scale) -> Tensor"
)
_library.define(
    "tokenize_voxels_cpu_grad(Tensor grad, Tensor volumes, Tensor bases, Tensor bits, "
    "Tensor? mean, Tensor? inv_std, float scale, SymInt frames, int[] kernel) -> Tensor"
)

_rows: WeakKeyDictionary[TokenGrid, tuple[Tensor, Tensor]] = WeakKeyDictionary()


@torch.compiler.assume_constant_result
def rows_of(grid: TokenGrid) -> tuple[Tensor, Tensor]:
    """Return the rows of voxels along x that make up each patch.

    Returns
    -------
    bases : Tensor, (n_tokens, kz·ky) int32
        Flat index in the volume of the first voxel of the row.
    bits : Tensor, (n_tokens, kz·ky) uint8, or int64 where a row is wider than 8 voxels
        Bit j is set where voxel j of the row lies in volume and mask.
    """
    if grid not in _rows:
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
        _rows[grid] = torch.from_numpy(base.astype(np.int32)), torch.from_numpy(bits)
    return _rows[grid]


def can_run(
    volumes: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    grid: TokenGrid,
    mean: Tensor | None,
    inv_std: Tensor | None,
    scale: float,
) -> str | None:
    """Return None, or the reason why the C++ kernel cannot run the checked problem."""
    if weight.device.type != "cpu":
        return f"the tensors are on {weight.device}"
    if weight.dtype != torch.float32:
        return f"weight is {weight.dtype}; it multiplies in float32"
    if volumes.dtype not in (torch.int16, torch.float32):
        return f"volumes are {volumes.dtype}; it reads int16 and float32"
    if grid.kernel[2] > _WIDEST_ROW:
        return f"the kernel is {grid.kernel[2]} voxels wide; it takes at most {_WIDEST_ROW}"
    if grid.mask.size >= 1 << 31:
        return f"a volume has {grid.mask.size} voxels; it counts them in 32 bits"
    return None


def call(
    volumes: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    grid: TokenGrid,
    mean: Tensor | None,
    inv_std: Tensor | None,
    scale: float,
) -> Tensor:
    """Tokenize on the CPU, with gradients for weight and bias."""
    bases, bits = rows_of(grid)
    if not any_gradient(weight, bias) and not torch.compiler.is_compiling():
        # with cold caches the dispatcher takes a tenth of the time of a fine grid
        return _forward(volumes, weight, bias, bases, bits, mean, inv_std, scale)
    fixed = [None if t is None else t.detach() for t in (volumes, mean, inv_std)]
    return _Tokenize.apply(weight, bias, fixed[0], bases, bits, fixed[1], fixed[2], scale)


class _Tokenize(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        weight: Tensor,
        bias: Tensor | None,
        volumes: Tensor,
        bases: Tensor,
        bits: Tensor,
        mean: Tensor | None,
        inv_std: Tensor | None,
        scale: float,
    ) -> Tensor:
        ctx.save_for_backward(volumes, bases, bits, mean, inv_std)
        ctx.scale, ctx.frames, ctx.kernel = scale, weight.shape[1], list(weight.shape[2:])
        return torch.ops.fastbrain.tokenize_voxels_cpu(
            volumes, weight, bias, bases, bits, mean, inv_std, scale
        )

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        volumes, bases, bits, mean, inv_std = ctx.saved_tensors
        grad_weight = grad_bias = None
        if ctx.needs_input_grad[0]:
            grad_weight = torch.ops.fastbrain.tokenize_voxels_cpu_grad(
                grad, volumes, bases, bits, mean, inv_std, ctx.scale, ctx.frames, ctx.kernel
            )
        if ctx.needs_input_grad[1]:
            grad_bias = grad.sum(dim=(0, 1))
        return grad_weight, grad_bias, None, None, None, None, None, None


def _source(
    volumes: Tensor,
    bases: Tensor,
    bits: Tensor,
    mean: Tensor | None,
    inv_std: Tensor | None,
    scale: float,
    width: int,
) -> Any:
    return _native.VoxelSource(
        volumes=volumes.data_ptr(),
        is_int16=volumes.dtype == torch.int16,
        packed=volumes.dim() == 4,
        mean=0 if mean is None else mean.data_ptr(),
        mean_packed=mean is not None and mean.dim() == 2,
        inv_std=0 if inv_std is None else inv_std.data_ptr(),
        inv_std_packed=inv_std is not None and inv_std.dim() == 2,
        bases=bases.data_ptr(),
        bits=bits.data_ptr(),
        sizes=(*volumes.shape[:2], volumes.shape[2:].numel(), *bases.shape, width),
        scale=scale,
    )


def _forward(
    volumes: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    bases: Tensor,
    bits: Tensor,
    mean: Tensor | None,
    inv_std: Tensor | None,
    scale: float,
) -> Tensor:
    volumes, weight, bias, mean, inv_std = _contiguous(volumes, weight, bias, mean, inv_std)
    out = weight.new_empty(volumes.shape[0], bases.shape[0], weight.shape[0])
    _native.voxel_tokenizer_forward(
        _source(volumes, bases, bits, mean, inv_std, scale, weight.shape[-1]),
        weight=weight.data_ptr(),
        bias=0 if bias is None else bias.data_ptr(),
        features=weight.shape[0],
        out=out.data_ptr(),
        threads=torch.get_num_threads(),
    )
    return out


def _weight_grad(
    grad: Tensor,
    volumes: Tensor,
    bases: Tensor,
    bits: Tensor,
    mean: Tensor | None,
    inv_std: Tensor | None,
    scale: float,
    frames: int,
    kernel: list[int],
) -> Tensor:
    grad, volumes, mean, inv_std = _contiguous(grad, volumes, mean, inv_std)
    out = grad.new_empty(grad.shape[-1], frames, *kernel)
    _native.voxel_tokenizer_backward(
        _source(volumes, bases, bits, mean, inv_std, scale, kernel[-1]),
        grad=grad.data_ptr(),
        features=grad.shape[-1],
        grad_weight=out.data_ptr(),
        threads=torch.get_num_threads(),
    )
    return out


def _contiguous(*tensors: Tensor | None) -> tuple[Any, ...]:
    return tuple(None if t is None else t.contiguous() for t in tensors)


def _fake_forward(
    volumes: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    bases: Tensor,
    bits: Tensor,
    mean: Tensor | None,
    inv_std: Tensor | None,
    scale: float,
) -> Tensor:
    return weight.new_empty(volumes.shape[0], bases.shape[0], weight.shape[0])


def _fake_weight_grad(
    grad: Tensor,
    volumes: Tensor,
    bases: Tensor,
    bits: Tensor,
    mean: Tensor | None,
    inv_std: Tensor | None,
    scale: float,
    frames: int,
    kernel: list[int],
) -> Tensor:
    return grad.new_empty(grad.shape[-1], frames, *kernel)


_library.impl("tokenize_voxels_cpu", _forward, "CPU")
_library.impl("tokenize_voxels_cpu_grad", _weight_grad, "CPU")
torch.library.register_fake("fastbrain::tokenize_voxels_cpu", _fake_forward, lib=_library)
torch.library.register_fake("fastbrain::tokenize_voxels_cpu_grad", _fake_weight_grad, lib=_library)
