"""Losses of stage I (LLM4Brain, section 3.2)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ...errors import InputError
from ...ops import _checks
from ...ops.lengths import unit

# as in CLIP: the logit scale 1/τ never exceeds 100
LOWEST_TAU = 0.01


def clip_loss(brain: Tensor, video: Tensor, log_tau: Tensor) -> Tensor:
    """Compute the contrastive loss over a batch; row and column losses are summed.

    ``-(1/B) Σ_i [log softmax_j(s(ẑ_i, z_j)/τ)_i + log softmax_k(s(ẑ_k, z_i)/τ)_i]`` with s the
    cosine. In the paper both denominators have the same index; here one runs over the row and one
    over the column, as in CLIP. The sum has no factor ½.

    Parameters
    ----------
    brain : Tensor, (B, d)
        Predictions ẑ from fMRI.
    video : Tensor, (B, d)
        Latents z of the clips.
    log_tau : Tensor, scalar
        Log of the temperature, clamped to τ ≥ 0.01.

    Returns
    -------
    Tensor, scalar float32
        Nats; 2·log(B) for unrelated inputs.
    """
    _same("clip_loss", brain, video, 2)
    _checks.tensor("clip_loss", "log_tau", log_tau, (), dtypes=_checks.FLOATS, like=brain)
    with torch.autocast(brain.device.type, enabled=False):
        wide = torch.promote_types(brain.dtype, torch.float32)
        cosine = unit(brain.to(wide)) @ unit(video.to(wide)).T
        logits = cosine / log_tau.to(wide).clamp_min(math.log(LOWEST_TAU)).exp()  # (B, B)
        match = torch.arange(len(logits), device=logits.device)
        return F.cross_entropy(logits, match) + F.cross_entropy(logits.T, match)


def alignment_loss(brain: Tensor, video: Tensor, *, alpha: float) -> Tensor:
    """Compute the distance of token-aligned latents (LLM4Brain, equation 1).

    ``(1/(N·L)) Σ_n Σ_l [(1−α)·‖z − x‖₂² + α·‖z − x‖₁]``: norms are summed over channels, so the
    value is d times a mean squared error.

    Parameters
    ----------
    brain, video : Tensor, (N, L, d)
    alpha : float
        Weight of L1.

    Returns
    -------
    Tensor, scalar float32
    """
    _same("alignment_loss", brain, video, 3)
    alpha = _checks.finite("alignment_loss", "alpha", alpha, low=-math.inf, high=1.0)
    wide = torch.promote_types(brain.dtype, torch.float32)
    difference = brain.to(wide) - video.to(wide)
    squared, absolute = difference.square().sum(-1), difference.abs().sum(-1)  # (N, L)
    return ((1 - alpha) * squared + alpha * absolute).mean()


def _same(function: str, brain: Tensor, video: Tensor, ndim: int) -> None:
    for name, value in (("brain", brain), ("video", video)):
        _checks.tensor(function, name, value, dtypes=_checks.FLOATS, like=brain)
    if brain.shape != video.shape or brain.ndim != ndim or not brain.numel():
        raise InputError(
            f"{function}: brain and video must have one shape with {ndim} axes, got "
            f"{tuple(brain.shape)} and {tuple(video.shape)}."
        )
