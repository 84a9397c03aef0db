"""Neighbourhood clustering and entropy separation, the two losses of DANCE.

Saito et al. 2020 (arXiv 2002.07953, sec. 3.2 and 3.3), used by LLM4Brain (arXiv 2409.17987,
eq. 4 and 5). With ``s_ij`` the cosine of feature i and column j over the temperature and
``p_i = softmax_j(s_ij)``, neighbourhood clustering is the mean entropy ``-(1/B) Σ_i Σ_j p log p``.
A masked column is -inf: it takes no probability at any temperature.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .. import _dispatch
from . import autograd as entropy
from . import checks, cpu, cuda, quick, triton, triton_rows
from .checks import ClusteringProblem, SeparationProblem, UpdateProblem


def reference(problem: ClusteringProblem) -> Tensor:
    """Reference implementation of :func:`neighborhood_clustering` in plain PyTorch."""
    features, prototypes, memory, indices, temperature, variant = problem
    wide = torch.promote_types(features.dtype, torch.float32)
    # logits are cosines over a small temperature: half precision is too coarse for them
    with torch.autocast(features.device.type, enabled=False):
        f, w, m = features.to(wide), prototypes.to(wide), memory.detach().to(wide)
        unvisited = m.norm(dim=1) == 0  # (N,)
        if variant == "dance":
            own = torch.arange(memory.shape[0], device=indices.device)[None] == indices[:, None]
            diagonal = torch.eye(len(f), dtype=torch.bool, device=f.device)
            scores = torch.cat([f @ w.T, f @ m.T, f @ f.T], dim=1) / temperature
            hidden = torch.cat(
                [
                    torch.zeros_like(scores[:, : len(w)], dtype=torch.bool),
                    (own.any(dim=0) | unvisited).expand(len(f), -1),
                    diagonal,
                ],
                dim=1,
            )
            p = scores.masked_fill(hidden, float("-inf")).softmax(dim=1)
            return -(p * torch.log(p + entropy.DANCE_EPS)).sum() / len(f)
        never = torch.where(unvisited, float("-inf"), 0.0)
        scores = torch.cat([f @ m.T + never, f @ w.T], dim=1) / temperature
        log_p = scores.scatter(1, indices[:, None], float("-inf")).log_softmax(dim=1)
        # 0 · -inf is NaN in value and gradient, so a masked column gets a finite logarithm
        return -(log_p.exp() * log_p.clamp_min(-1e30)).sum() / len(f)


def reference_update_(problem: UpdateProblem) -> None:
    """Reference implementation of :func:`memory_update_` in plain PyTorch."""
    memory, features, indices, momentum = problem
    wide = torch.promote_types(memory.dtype, torch.float32)
    with torch.no_grad():
        new = momentum * memory[indices].to(wide) + (1 - momentum) * features.detach().to(wide)
        memory[indices] = F.normalize(new, dim=1).to(memory.dtype)


def reference_separation(problem: SeparationProblem) -> Tensor:
    """Reference implementation of :func:`entropy_separation` in plain PyTorch."""
    logits, rho, margin = problem
    p = logits.to(torch.promote_types(logits.dtype, torch.float32)).softmax(dim=1)
    distance = (-(p * torch.log(p + entropy.DANCE_EPS)).sum(dim=1) - rho).abs()
    # written so that a NaN stays one
    return torch.where(distance <= margin, 0.0, -distance).sum() / len(logits)


def neighborhood_clustering(
    features: Tensor,
    prototypes: Tensor,
    memory: Tensor,
    indices: Tensor,
    *,
    temperature: float,
    variant: str,
    backend: str | None = None,
) -> Tensor:
    """Compute the mean entropy of the similarities of each sample to its neighbours.

    Parameters
    ----------
    features : Tensor, (B, D) float
        Unit rows; gradients flow here and to `prototypes`.
    prototypes : Tensor, (C, D)
        Unit rows, one for each class.
    memory : Tensor, (N, D)
        Unit rows of all samples, no gradient; a zero row is unvisited and masked.
    indices : Tensor, (B,) int64
        Row of the memory that belongs to each sample.
    temperature : float
    variant : {"paper", "dance"}
        ``paper``: columns [memory, own row masked | prototypes], exact entropy. ``dance``: columns
        [prototypes | memory, rows of the batch masked | batch, diagonal masked], 1e-5 inside the
        log.
    backend : str, optional

    Returns
    -------
    Tensor, scalar, at least float32
        Nats.

    Raises
    ------
    InputError
        Shape, dtype, device, row number, temperature, variant or row norm break the contract.
    BackendError
        The requested backend cannot run these inputs.
    """
    operation = OPERATIONS["neighborhood_clustering"]
    if _dispatch.runs_first(operation, "cpu", backend):
        loss = quick.loss(features, prototypes, memory, indices, temperature, variant)
        if loss is not None:
            _dispatch.note(operation, "cpu")
            return loss
    problem = checks.clustering(
        features, prototypes, memory, indices, temperature=temperature, variant=variant
    )
    return _dispatch.run(operation, problem, backend)


def memory_update_(memory: Tensor, features: Tensor, indices: Tensor, *, momentum: float) -> None:
    """Move the named rows of the memory towards new features, in place.

    ``m_i <- normalize(momentum · m_i + (1 - momentum) · f_i)``; all other rows stay unchanged.

    Parameters
    ----------
    memory : Tensor, (N, D) float
    features : Tensor, (B, D)
    indices : Tensor, (B,) int64
        Row numbers without duplicates.
    momentum : float
        In [0, 1); DANCE uses 0, plain replacement.

    Raises
    ------
    InputError
        Shape, dtype, device or range is invalid, or a row number occurs twice.
    """
    problem = checks.update(memory, features, indices, momentum=momentum)
    _dispatch.run(OPERATIONS["memory_update_"], problem, None)


def entropy_separation(logits: Tensor, *, rho: float, margin: float) -> Tensor:
    r"""Push each sample's class entropy H away from rho: mean of -\|H - rho\| outside the margin.

    Inside the margin a sample counts 0 (LLM4Brain, eq. 5; DANCE reports the constant
    -margin there, with the same gradient). The entropy has the 1e-5 of DANCE inside the log.

    Parameters
    ----------
    logits : Tensor, (B, C) float
    rho : float
        Nats; DANCE takes log(C) / 2.
    margin : float

    Returns
    -------
    Tensor, scalar, at least float32

    Raises
    ------
    InputError
    """
    problem = checks.separation(logits, rho=rho, margin=margin)
    return _dispatch.run(OPERATIONS["entropy_separation"], problem, None)


def _checked_reference(problem: ClusteringProblem) -> Tensor:
    """Check the memory, as the streaming backends do while reading it, and run the reference."""
    checks.memory(problem.memory)
    return reference(problem)


OPERATIONS = {
    operation.name: operation
    for operation in (
        _dispatch.Operation(
            "neighborhood_clustering",
            checks.clustering,
            (
                _dispatch.Backend("cuda", cuda.can_run, cuda.call, slower=cuda.slower),
                _dispatch.Backend("triton", triton.can_run, triton.call),
                _dispatch.Backend("cpu", cpu.can_run, cpu.call, cpu.how),
                _dispatch.Backend("reference", _dispatch.anything, _checked_reference),
            ),
        ),
        _dispatch.Operation(
            "memory_update_",
            checks.update,
            (
                _dispatch.Backend("triton", triton_rows.can_update, triton_rows.update),
                _dispatch.Backend("reference", _dispatch.anything, reference_update_),
            ),
        ),
        _dispatch.Operation(
            "entropy_separation",
            checks.separation,
            (
                _dispatch.Backend("triton", triton_rows.can_separate, triton_rows.separate),
                _dispatch.Backend("reference", _dispatch.anything, reference_separation),
            ),
        ),
    )
}
