"""Triton backends of the update of the memory and of entropy separation, one launch each."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .. import _dispatch, _triton
from .autograd import DANCE_EPS
from .checks import SeparationProblem, UpdateProblem

# classes in the registers of one program, and logits that one program reads soon enough
_MOST_CLASSES = 8192
_MOST_LOGITS = 1 << 17
_AT_ONCE = 2048

_library = torch.library.Library("fastbrain", "FRAGMENT")
_library.define(
    "memory_update_triton(Tensor(a!) memory, Tensor features, Tensor indices, float momentum) -> ()"
)
_library.define(
    "entropy_separation_triton(Tensor logits, float rho, float margin, bool grad) "
    "-> (Tensor, Tensor)"
)


def can_update(problem: UpdateProblem) -> str | None:
    """Return None, or the reason why the Triton kernel cannot update this memory."""
    memory, features, _, _ = problem
    reason = _triton.unread("memory", memory) or _triton.unread("features", features)
    if reason is None and memory.stride(1) != 1:
        return "the rows of the memory are not contiguous"
    return reason


def update(problem: UpdateProblem) -> None:
    """Move the named rows of the memory on the GPU."""
    memory, features, indices, momentum = problem
    operator = torch.ops.fastbrain.memory_update_triton
    operator(memory, features.detach(), indices, momentum)


def can_separate(problem: SeparationProblem) -> str | None:
    """Return None, or the reason why the Triton kernel cannot read these logits."""
    logits = problem.logits
    reason = _triton.unread("logits", logits)
    if reason is None and (logits.shape[1] > _MOST_CLASSES or logits.numel() > _MOST_LOGITS):
        return (
            f"there are {logits.shape[0]} samples of {logits.shape[1]} classes; one program takes "
            f"at most {_MOST_CLASSES} classes and {_MOST_LOGITS} logits"
        )
    return reason


def separate(problem: SeparationProblem) -> Tensor:
    """Compute the loss on the GPU, with the gradient of the logits."""
    logits, rho, margin = problem
    if _dispatch.any_gradient(logits):
        return _Separation.apply(logits, rho, margin)
    return torch.ops.fastbrain.entropy_separation_triton(logits, rho, margin, False)[0]


class _Separation(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, rho: float, margin: float) -> Tensor:
        value, grads = torch.ops.fastbrain.entropy_separation_triton(logits, rho, margin, True)
        ctx.save_for_backward(grads)
        ctx.dtype = logits.dtype
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return (grad * ctx.saved_tensors[0]).to(ctx.dtype), None, None


def _update(memory: Tensor, features: Tensor, indices: Tensor, momentum: float) -> None:
    # imported here, so that only a call that needs Triton imports it
    import triton

    from ...kernels import neighborhood_rows as kernels
    from ...kernels.launch import launch

    batch, width = features.shape
    if batch == 0 or width == 0:
        return
    launch(
        kernels.memory_update_kernel,
        (batch,),
        *(memory, features.contiguous(), indices.contiguous(), momentum),
        WIDTH=width,
        STEP=memory.stride(0),
        KEEP=momentum != 0,
        BK=min(1024, triton.next_power_of_2(width)),
        num_warps=4,
    )


def _separate(logits: Tensor, rho: float, margin: float, grad: bool) -> tuple[Tensor, Tensor]:
    import triton

    from ...kernels import neighborhood_rows as kernels
    from ...kernels.launch import launch

    batch, classes = logits.shape
    value, grads = _fake_separate(logits, rho, margin, grad)
    block = triton.next_power_of_2(classes)
    launch(
        kernels.entropy_separation_kernel,
        (1,),
        *(logits.contiguous(), value, grads, batch, classes, rho, margin, DANCE_EPS),
        GRAD=grad,
        BB=max(1, min(_AT_ONCE // block, triton.next_power_of_2(batch))),
        BC=block,
        num_warps=8,
    )
    return value, grads


def _fake_separate(logits: Tensor, rho: float, margin: float, grad: bool) -> tuple[Tensor, Tensor]:
    shape = logits.shape if grad else (0, 0)
    dtype = torch.float32
    return logits.new_empty((), dtype=dtype), logits.new_empty(shape, dtype=dtype)


for _key in _triton.KEYS:
    _library.impl("memory_update_triton", _update, _key)
    _library.impl("entropy_separation_triton", _separate, _key)
torch.library.register_fake(
    "fastbrain::memory_update_triton", lambda *arguments: None, lib=_library
)
torch.library.register_fake("fastbrain::entropy_separation_triton", _fake_separate, lib=_library)
