"""Codebook update: exponential moving averages of the rows assigned to each code.

Update of van den Oord et al. 2017 (arXiv 1711.00937, appendix A.1): ``N_c <- γ N_c + (1-γ) n_c``,
``m_c <- γ m_c + (1-γ) Σ x`` and ``e_c = m_c / N_c`` with Laplace-smoothed counts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor
from torch import distributed as dist

from ...errors import InputError
from .. import _checks, _dispatch
from . import cpu, triton
from .segments import sort_by_code
from .state import UpdateProblem, VQState

# added to every count, so that a rare code is not divided by almost nothing
_SMOOTHING = 1e-5

Sums = Callable[[UpdateProblem], tuple[Tensor, Tensor]]


def reference_sums(problem: UpdateProblem) -> tuple[Tensor, Tensor]:
    """Count and add up the rows of each code by sorted segments, without a host sync."""
    x, count = problem.x, len(problem.state.codebook)
    order, bounds = sort_by_code(problem.indices, problem.mask, count)
    wide = torch.promote_types(x.dtype, torch.float32)
    rows = x.detach().reshape(-1, x.shape[-1])[order].to(wide)
    counts = bounds.diff()
    # rows without a code, masked rows included, form a last segment that is dropped
    lengths = torch.cat([counts, len(rows) - bounds[-1:]])
    # unsafe=True skips a check of the lengths, which would read them on the host
    sums = torch.segment_reduce(rows, "sum", lengths=lengths, axis=0, initial=0, unsafe=True)
    return counts, sums[:count]


def _update_by(sums: Sums) -> Callable[[UpdateProblem], None]:
    """Make the update of a backend from its `sums`, which adds up the rows of each code."""

    def call(problem: UpdateProblem) -> None:
        with torch.no_grad():
            counts, totals = everywhere(*sums(problem), problem.group)
            _average(problem.state, counts, totals, problem.decay)

    return call


def everywhere(
    counts: Tensor, sums: Tensor, group: dist.ProcessGroup | None
) -> tuple[Tensor, Tensor]:
    """Add counts and sums over all processes of the group; all receive the same bits."""
    if group is None:
        return counts, sums
    # a whole number below 2^24 is exact in float32: one message carries both
    message = torch.cat([counts[:, None].to(sums.dtype), sums], dim=1)
    dist.all_reduce(message, group=group)
    return message[:, 0], message[:, 1:]


def _average(state: VQState, counts: Tensor, sums: Tensor, decay: float) -> None:
    size = len(state.codebook)
    state.count.mul_(decay).add_(counts, alpha=1 - decay)
    state.total.mul_(decay).add_(sums, alpha=1 - decay)
    everything = state.count.sum()
    smooth = (state.count + _SMOOTHING) / (everything + size * _SMOOTHING) * everything
    # a code that has not been used for long keeps its value instead of shrinking to zero
    alive = (state.count > 100 * _SMOOTHING)[:, None]
    state.codebook.copy_(torch.where(alive, state.total / smooth[:, None], state.codebook))


def vq_update_(
    state: VQState,
    x: Tensor,
    indices: Tensor,
    *,
    decay: float,
    mask: Tensor | None = None,
    group: dist.ProcessGroup | None = None,
) -> None:
    """Move each code towards the mean of the rows assigned to it, in place.

    Parameters
    ----------
    state : VQState
    x : Tensor, (..., D) float
    indices : Tensor, (...) int64
        As returned by :func:`vq_lookup`; -1 marks a row without a code.
    decay : float
        In [0, 1).
    mask : Tensor, (...) bool, optional
        False leaves a row out.
    group : ProcessGroup, optional
        Processes that contribute a batch each, ``torch.distributed.group.WORLD`` for all. Equal
        codebooks stay equal, bit for bit. Default: this process alone.

    Raises
    ------
    InputError
    """
    problem = _problem(state, x, indices, decay=decay, mask=mask, group=group)
    _dispatch.run(OPERATIONS["vq_update_"], problem, None)


def check_rows(function: str, x: Tensor, mask: Tensor | None, power: int) -> bool:
    """Raise if rows are not (..., D), not finite where unmasked, or do not match the mask.

    Returns whether all unmasked values are below 2^`power`; assumed to be so for values that cannot
    be read.
    """
    _checks.tensor(function, "x", x, dtypes=_checks.FLOATS)
    if x.dim() < 1:
        raise InputError(f"{function}: x must have shape (..., D), got a scalar. Unsqueeze it.")
    if mask is not None:
        _checks.tensor(function, "mask", mask, x.shape[:-1], dtypes=(torch.bool,), like=x)
    if not _checks.readable(x) or _checks.all_below(x, power):
        return True
    used = x if mask is None else x[mask]
    if not _checks.all_below(used):
        raise InputError(f"{function}: x must be finite, got NaN or infinity. Mask those rows out.")
    return mask is not None and _checks.all_below(used, power)


def check_sums(function: str, x: Tensor, mask: Tensor | None) -> None:
    """Raise like :func:`check_rows`, and if sums of the rows could overflow."""
    _checks.tensor(function, "x", x, dtypes=_checks.FLOATS)
    power = _checks.summable(x.dtype, x.shape[:-1].numel())
    if not check_rows(function, x, mask, power):
        raise InputError(
            f"{function}: x must be below 2^{power} so that {x.shape[:-1].numel()} rows can be "
            "added up, got larger values. Scale them down."
        )


def check_state(function: str, state: VQState, x: Tensor) -> None:
    """Raise unless `state` is a VQState that matches the rows of `x`."""
    if not isinstance(state, VQState):
        raise InputError(
            f"{function}: state must be a VQState, got {type(state).__name__}. "
            "Make one with VQState.from_codebook."
        )
    only = (torch.float32, torch.float64)
    _checks.tensor(function, "codebook", state.codebook, (None, x.shape[-1]), dtypes=only, like=x)
    _checks.tensor(function, "count", state.count, state.codebook.shape[:1], dtypes=only, like=x)
    _checks.tensor(function, "total", state.total, state.codebook.shape, dtypes=only, like=x)


def check_generator(function: str, generator: torch.Generator | None) -> None:
    """Raise unless `generator` is None or a torch.Generator."""
    if generator is not None and not isinstance(generator, torch.Generator):
        raise InputError(
            f"{function}: generator must be a torch.Generator, got {type(generator).__name__}. "
            "Make one with torch.Generator().manual_seed(0)."
        )


def check_group(function: str, group: dist.ProcessGroup | None) -> None:
    """Raise unless `group` is None or a ProcessGroup."""
    if group is not None and not isinstance(group, dist.ProcessGroup):
        raise InputError(
            f"{function}: group must be a ProcessGroup, got {type(group).__name__}. "
            "All processes are torch.distributed.group.WORLD after init_process_group."
        )


def _problem(
    state: VQState,
    x: Tensor,
    indices: Tensor,
    *,
    decay: float,
    mask: Tensor | None = None,
    group: dist.ProcessGroup | None = None,
) -> UpdateProblem:
    function = "vq_update_"
    check_sums(function, x, mask)
    check_state(function, state, x)
    _checks.tensor(function, "indices", indices, x.shape[:-1], dtypes=(torch.int64,), like=x)
    if _checks.readable(indices) and indices.numel():
        low, high = (int(v) for v in torch.aminmax(indices))
        if low < -1 or high >= len(state.codebook):
            raise InputError(
                f"{function}: indices must be in [-1, {len(state.codebook)}), got values from "
                f"{low} to {high}. They are rows of the codebook."
            )
    if not isinstance(decay, (int, float)) or not 0 <= decay < 1:
        raise InputError(f"{function}: decay must be in [0, 1), got {decay!r}.")
    check_group(function, group)
    return UpdateProblem(state, x, indices, float(decay), mask, group)


# sums by backend, the only part of an update that differs between backends
SUMS = _dispatch.Operation(
    "vq_update_",
    _problem,
    (
        _dispatch.Backend("triton", triton.can_sum, triton.sums),
        _dispatch.Backend("cpu", cpu.can_sum, cpu.sums),
        _dispatch.Backend("reference", _dispatch.anything, reference_sums),
    ),
)
OPERATIONS = {
    "vq_update_": replace(
        SUMS, backends=tuple(replace(b, call=_update_by(b.call)) for b in SUMS.backends)
    ),
}
