"""Quality of codes: R² of the reconstruction against simple baselines, and code usage."""

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
_FEW_TOKENS = 4  # tokens per code; below this, codes are unused by chance alone


@dataclass(frozen=True)
class CodeUsage:
    """Usage statistics of the codes.

    Parameters
    ----------
    codes, used, tokens : int
        Size of the codebook, number of codes used at least once, and number of tokens.
    share : float
        `used` over `codes`.
    perplexity : float
        Exponential of the entropy of the codes: the equivalent number of equally frequent codes.
    finding : str
        Description of the problem and its likely cause; empty if enough codes are used.
    """

    codes: int
    used: int
    tokens: int
    share: float
    perplexity: float
    finding: str = ""


@dataclass(frozen=True)
class CodingScores:
    """Reconstruction scores of an autoencoder.

    Parameters
    ----------
    r2_mean : float
        One minus the squared error over that of the training mean.
    r2_ar1 : float
        One minus the squared error over that of AR(1), which predicts a volume from the one before.
    ar1_r2_mean : float
        R² of AR(1) against the training mean.
    values : int
        Number of values behind each R². The first volume of a window, which AR(1) cannot predict,
        is excluded from all three.
    usage : CodeUsage
    """

    r2_mean: float
    r2_ar1: float
    ar1_r2_mean: float
    values: int
    usage: CodeUsage

    def to_json(self) -> dict[str, Any]:
        """Convert to plain JSON values."""
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
        The function switches it to evaluation mode.
    batches : iterable of SeriesBatch
    baseline : Autoregression
        Fitted on the training runs, in the units of the runs.

    Raises
    ------
    InputError
        The batches contain no values, or the values do not vary.
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
            # score a volume if it is inside the run (the one before then is, too)
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
    """Count the codes in use, and give a likely cause if too few are used.

    Parameters
    ----------
    quantiser : VectorQuantiser or ScalarQuantiser
    quantised : iterable of Quantised
        Outputs of the quantiser for some batches.
    enough : float
        Share of used codes below which a cause is given.
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
        usage = f"{used} of {size} codes are used ({used / size:.0%}), perplexity {perplexity:.1f}"
        finding = f"{usage}: {_cause(quantiser, vectors, tokens)}"
    return CodeUsage(size, used, tokens, used / size, perplexity, finding)


def _cause(quantiser: Quantiser, vectors: Tensor, tokens: int) -> str:
    """Likeliest reason why codes are unused, and a remedy."""
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
