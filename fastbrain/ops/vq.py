"""Vector quantisation: nearest code and the running codebook.

Lookup: ``argmin_c ||x - e_c||²`` (van den Oord et al. 2017, arXiv 1711.00937, eq. 1). Update: the
exponential moving averages of its appendix A.1, ``N_c <- γ N_c + (1-γ) n_c``,
``m_c <- γ m_c + (1-γ) Σ x`` and ``e_c = m_c / N_c`` with Laplace-smoothed counts.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError
from . import _checks, _dispatch

METRICS = ("euclidean", "cosine")
# added to every count, so that a rare code is not divided by almost nothing
_SMOOTHING = 1e-5
_CHUNK_ELEMENTS = 1 << 22


@dataclass(frozen=True)
class VQState:
    """Codebook and its running averages; all three tensors are updated in place.

    Parameters
    ----------
    codebook : Tensor, (C, D) float32 or float64
    count : Tensor, (C,)
        Moving average of how often each code was used in a batch.
    total : Tensor, (C, D)
        Moving average of the sum of what each code was used for.
    """

    codebook: Tensor
    count: Tensor
    total: Tensor

    @classmethod
    def from_codebook(cls, codebook: Tensor) -> VQState:
        """Start from a codebook as if every code had been used once.

        Parameters
        ----------
        codebook : Tensor, (C, D) float
        """
        wide = torch.promote_types(codebook.dtype, torch.float32)
        codes = codebook.detach().to(wide, copy=True)
        return cls(codes, codes.new_ones(len(codes)), codes.clone())


def reference_lookup(x: Tensor, codebook: Tensor, metric: str, mask: Tensor | None) -> Tensor:
    """The meaning of :func:`vq_lookup`, in plain torch."""
    rows = x.detach().reshape(-1, x.shape[-1]).to(torch.float64)
    codes = codebook.detach().to(torch.float64)
    if metric == "cosine":
        rows, codes = F.normalize(rows, dim=1), F.normalize(codes, dim=1)
    squares = codes.square().sum(dim=1)
    parts = [
        # rounded from float64, so that equal codes tie whatever the order of summation was
        (part.square().sum(dim=1, keepdim=True) + squares - 2 * part @ codes.T)
        .to(torch.float32)
        .argmin(dim=1)
        for part in rows.split(max(1, _CHUNK_ELEMENTS // len(codes)))
    ]
    found = torch.cat(parts).reshape(x.shape[:-1])
    return found if mask is None else torch.where(mask, found, -1)


def reference_update_(
    state: VQState, x: Tensor, indices: Tensor, decay: float, mask: Tensor | None
) -> None:
    """The meaning of :func:`vq_update_`, in plain torch."""
    with torch.no_grad():
        size = len(state.codebook)
        flat = indices.reshape(-1)
        used = flat >= 0 if mask is None else (flat >= 0) & mask.reshape(-1)
        # what is left out goes to a segment of its own behind the last code
        codes, order = torch.where(used, flat, size).sort(stable=True)
        rows = x.detach().reshape(-1, x.shape[-1]).to(state.total.dtype)[order]
        counts = torch.bincount(codes, minlength=size + 1)
        sums = torch.segment_reduce(rows, "sum", lengths=counts, axis=0, initial=0)
        state.count.mul_(decay).add_(counts[:size], alpha=1 - decay)
        state.total.mul_(decay).add_(sums[:size], alpha=1 - decay)
        everything = state.count.sum()
        smooth = (state.count + _SMOOTHING) / (everything + size * _SMOOTHING) * everything
        # a code that nothing has used for long keeps its place instead of shrinking to zero
        alive = (state.count > 100 * _SMOOTHING)[:, None]
        state.codebook.copy_(torch.where(alive, state.total / smooth[:, None], state.codebook))


def vq_lookup(
    x: Tensor,
    codebook: Tensor,
    *,
    metric: str = "euclidean",
    mask: Tensor | None = None,
    backend: str | None = None,
) -> Tensor:
    """Index of the nearest code; of equally near ones the lowest.

    Parameters
    ----------
    x : Tensor, (..., D) float
    codebook : Tensor, (C, D) float
    metric : {"euclidean", "cosine"}
    mask : Tensor, (...) bool, optional
        False marks rows without a code.
    backend : str, optional

    Returns
    -------
    Tensor, (...) int64
        -1 where masked. Codes whose float32 distances are equal count as equally near.

    Raises
    ------
    InputError
        Shape, dtype, device or metric is off, or an unmasked row or a code is not finite.
    BackendError
        The requested backend cannot run these inputs.
    """
    problem = _lookup_problem(x, codebook, metric=metric, mask=mask)
    return _dispatch.run(OPERATIONS["vq_lookup"], problem, backend)


def vq_update_(
    state: VQState, x: Tensor, indices: Tensor, *, decay: float, mask: Tensor | None = None
) -> None:
    """Move the codebook towards what its codes were used for, in place.

    Parameters
    ----------
    state : VQState
    x : Tensor, (..., D) float
    indices : Tensor, (...) int64
        As :func:`vq_lookup` gives them; -1 counts for no code.
    decay : float
        In [0, 1).
    mask : Tensor, (...) bool, optional
        False leaves a row out.

    Raises
    ------
    InputError
    """
    problem = _update_problem(state, x, indices, decay=decay, mask=mask)
    _dispatch.run(OPERATIONS["vq_update_"], problem, None)


def _rows(function: str, x: Tensor, mask: Tensor | None) -> None:
    _checks.tensor(function, "x", x, dtypes=_checks.FLOATS)
    if x.dim() < 1:
        raise InputError(f"{function}: x must have shape (..., D), got a scalar. Unsqueeze it.")
    if mask is not None:
        _checks.tensor(function, "mask", mask, x.shape[:-1], dtypes=(torch.bool,), like=x)
    if _checks.readable(x):
        bad = ~x.isfinite().all(dim=-1)
        if bool((bad if mask is None else bad & mask).any()):
            raise InputError(
                f"{function}: x must be finite, got NaN or infinity. Mask those rows out."
            )


def _lookup_problem(
    x: Tensor, codebook: Tensor, *, metric: str = "euclidean", mask: Tensor | None = None
) -> tuple[object, ...]:
    function = "vq_lookup"
    _rows(function, x, mask)
    _checks.tensor(
        function,
        "codebook",
        codebook,
        (None, x.shape[-1]),
        dtypes=_checks.FLOATS,
        like=x,
        layout="(C, D)",
    )
    _checks.same_dtype(function, "x", x, codebook=codebook)
    if len(codebook) == 0:
        raise InputError(f"{function}: codebook must hold a code, got none.")
    if _checks.readable(codebook) and not bool(codebook.isfinite().all()):
        raise InputError(f"{function}: codebook must be finite, got NaN or infinity.")
    if metric not in METRICS:
        raise InputError(f"{function}: metric must be 'euclidean' or 'cosine', got {metric!r}.")
    return x, codebook, metric, mask


def _update_problem(
    state: VQState, x: Tensor, indices: Tensor, *, decay: float, mask: Tensor | None = None
) -> tuple[object, ...]:
    function = "vq_update_"
    _rows(function, x, mask)
    if not isinstance(state, VQState):
        raise InputError(
            f"{function}: state must be a VQState, got {type(state).__name__}. "
            "Make one with VQState.from_codebook."
        )
    only = (torch.float32, torch.float64)
    _checks.tensor(function, "codebook", state.codebook, (None, x.shape[-1]), dtypes=only, like=x)
    _checks.tensor(function, "count", state.count, state.codebook.shape[:1], dtypes=only, like=x)
    _checks.tensor(function, "total", state.total, state.codebook.shape, dtypes=only, like=x)
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
    return state, x, indices, float(decay), mask


OPERATIONS = {
    "vq_lookup": _dispatch.Operation(
        "vq_lookup",
        _lookup_problem,
        (_dispatch.Backend("reference", _dispatch.anything, reference_lookup),),
    ),
    "vq_update_": _dispatch.Operation(
        "vq_update_",
        _update_problem,
        (_dispatch.Backend("reference", _dispatch.anything, reference_update_),),
    ),
}
