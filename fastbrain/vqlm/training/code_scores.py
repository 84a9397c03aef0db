"""How good codes are: what comes back beside easy guesses, and how many codes are in use."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..._arguments import checked
from ...data import Autoregression
from ...errors import InputError
from ..autoencoder import VQAutoencoder
from ..quantiser import Quantised, Quantiser, VectorQuantiser
from .series_loader import SeriesBatch

ENOUGH_USED = 0.5
_FEW_TOKENS = 4  # per code; below this, chance alone leaves codes unused


@dataclass(frozen=True)
class CodeUsage:
    """Which codes are in use.

    Parameters
    ----------
    codes, used, tokens : int
        Size of the codebook, codes used at least once, and in how many tokens.
    share : float
        `used` over `codes`.
    perplexity : float
        Exponential of the entropy of the codes: as many equally frequent ones.
    finding : str
        What is wrong and its likely cause; empty where enough codes are used.
    """

    codes: int
    used: int
    tokens: int
    share: float
    perplexity: float
    finding: str = ""


@dataclass(frozen=True)
class CodingScores:
    """What an autoencoder gives back of runs.

    Parameters
    ----------
    r2_mean : float
        1 less squared error over that of the training mean.
    r2_ar1 : float
        1 less squared error over that of AR(1), which has seen the volume before but not this one.
    ar1_r2_mean : float
        AR(1) itself against the mean.
    values : int
        Numbers behind each R²: the first volume of a window, which AR(1) cannot predict, is left
        out of all three.
    usage : CodeUsage
    """

    r2_mean: float
    r2_ar1: float
    ar1_r2_mean: float
    values: int
    usage: CodeUsage

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


@checked
@torch.no_grad()
def coding_scores(
    model: VQAutoencoder, batches: Iterable[SeriesBatch], baseline: Autoregression
) -> CodingScores:
    """Score reconstructions, pooled over regions in scaled units.

    Parameters
    ----------
    model : VQAutoencoder
        Switched to evaluation mode.
    batches : iterable of SeriesBatch
    baseline : Autoregression
        Fitted on the training runs, in their own units.

    Raises
    ------
    InputError
        No value to score.
    """
    model.eval()
    center, spread = (v.double().cpu().numpy()[:, None] for v in (model.center, model.spread))
    errors = np.zeros(3)
    values = 0
    quantised: list[Quantised] = []
    for batch in batches:
        device = model.center.device
        mask = None if batch.mask is None else batch.mask.to(device)
        found = model(batch.series.to(device), mask)
        quantised.append(found.quantised)
        truth = batch.series.double().numpy()
        restored = found.signal.flatten(2).double().cpu().numpy()
        mean = (baseline.mean[:, None] - center) / spread
        guess = (baseline(truth) - center) / spread
        truth = ((truth - center) / spread)[..., 1:]
        known = np.ones(truth.shape, dtype=bool)
        if batch.mask is not None:
            # a volume counts where it and the one before lie inside the run
            known = batch.mask.repeat_interleave(model.config.patch, dim=2).numpy()[..., 1:]
        for k, other in enumerate((restored[..., 1:], mean, guess)):
            errors[k] += np.where(known, (truth - other) ** 2, 0.0).sum()
        values += int(known.sum())
    if not values or not errors[1:].all():
        raise InputError("coding_scores: batches must hold values that vary, got none.")
    coded, mean_error, ar1_error = errors
    return CodingScores(
        r2_mean=float(1 - coded / mean_error),
        r2_ar1=float(1 - coded / ar1_error),
        ar1_r2_mean=float(1 - ar1_error / mean_error),
        values=values,
        usage=code_usage(model.quantiser, quantised),
    )


@checked
def code_usage(
    quantiser: Quantiser, quantised: Iterable[Quantised], *, enough: float = ENOUGH_USED
) -> CodeUsage:
    """Count codes, and say why if too few are used.

    Parameters
    ----------
    quantiser : VectorQuantiser or ScalarQuantiser
    quantised : iterable of Quantised
        What it made of some batches.
    enough : float
        Share of the codes below which a cause is named.
    """
    batches = list(quantised)
    indices = torch.cat([q.indices[q.indices >= 0] for q in batches])
    size = quantiser.config.size
    counts = torch.bincount(indices, minlength=size).double()
    frequency = counts[counts > 0] / counts.sum()
    perplexity = float((-(frequency * frequency.log()).sum()).exp())
    used, tokens = int((counts > 0).sum()), len(indices)
    finding = ""
    if used < enough * size:
        vectors = torch.cat([q.vectors[q.indices >= 0] for q in batches]).float()
        told = f"{used} of {size} codes are used ({used / size:.0%}), perplexity {perplexity:.1f}"
        finding = f"{told}: {_cause(quantiser, vectors, tokens)}"
    return CodeUsage(size, used, tokens, used / size, perplexity, finding)


def _cause(quantiser: Quantiser, vectors: Tensor, tokens: int) -> str:
    """The likeliest reason why codes are not used, and what to do."""
    config = quantiser.config
    if tokens < _FEW_TOKENS * config.size:
        return (
            f"there are only {tokens} tokens, fewer than {_FEW_TOKENS} a code. Use fewer codes, or "
            "count over more data."
        )
    spread = vectors.var(dim=0).sum()
    if float(spread) < 1e-4 * float(vectors.square().sum(dim=1).mean()):
        return (
            "the encoder gives nearly the same vector for everything. Lower the learning rate, the "
            "domain weight or the commitment, and look at the scale of the series."
        )
    if not isinstance(quantiser, VectorQuantiser):
        return "the encoder leaves most levels alone. Use fewer or coarser levels."
    if not config.dead_below:
        return "codes that lost their vectors are never revived. Set dead_below (0.1)."
    codes = quantiser.values_of(torch.arange(config.size, device=vectors.device))
    away = torch.cdist(codes, vectors[:: max(1, tokens // 4096)]).min(dim=1).values.square()
    if float(away.median()) > float(spread) / 4:
        return (
            "most codes lie where no vector is: the codebook does not keep up with the encoder. "
            "Lower the decay (0.9 for a short training), or start the codebook on this encoder."
        )
    return (
        "a few codes hold most vectors. Lower the decay (0.9 for a short training) and the "
        "commitment (0.25), raise dead_below, or use fewer codes."
    )
