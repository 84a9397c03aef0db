"""Align brain features with token embeddings: adversarial and contrastive losses, and a probe.

A domain classifier is trained to distinguish brain features from frozen token embeddings. Through a
gradient reversal (Ganin & Lempitsky 2015, arXiv 1409.7495) the encoder is trained to make them
indistinguishable. An adversary at chance may only be weak, so a fresh probe on frozen features
measures how far apart the two domains are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .._arguments import checked
from ..errors import InputError
from ..nn import shards
from ..ops._checks import FLOATS
from ..ops._checks import finite as check_number
from ..ops._checks import tensor as check_tensor
from ..ops.lengths import unit


@checked
def reversal_strength(progress: float) -> float:
    """Strength 2/(1 + exp(-10 p)) - 1 of the reversed gradient at progress p in [0, 1]."""
    return 2 / (1 + math.exp(-10 * progress)) - 1


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, strength: float) -> Tensor:
        ctx.strength = strength
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return -ctx.strength * gradient, None


def reverse_gradient(x: Tensor, strength: float) -> Tensor:
    """Return `x` unchanged, and multiply its gradient by ``-strength``.

    Parameters
    ----------
    x : Tensor, any shape, float
    strength : float

    Raises
    ------
    InputError
        `x` is not a dense floating-point tensor, or `strength` is not a finite number.
    """
    check_tensor("reverse_gradient", "x", x, dtypes=FLOATS)
    strength = check_number("reverse_gradient", "strength", strength, low=-math.inf, high=math.inf)
    return _Reversal.apply(x, strength)


@dataclass(frozen=True)
class DomainTerms:
    """Loss and accuracy of the domain classifier on one batch.

    Parameters
    ----------
    loss : Tensor, scalar
        Cross-entropy in nats; each domain has weight one half.
    accuracy : Tensor, scalar
        Mean recall of the two domains. Chance level does not prove alignment, because the
        adversary may be weak; see :func:`probe_domains`.
    """

    loss: Tensor
    accuracy: Tensor


class DomainClassifier(nn.Module):
    """Classifier of brain features against token embeddings (NeuroLM: 256 hidden units).

    Parameters
    ----------
    dim : int
        Width of the brain features.
    text_dim : int
        Width of the token embeddings. If it differs from `dim`, a linear layer before the reversal
        maps brain features to it.
    hidden : int
        Number of hidden units.
    """

    def __init__(self, dim: int, text_dim: int, *, hidden: int = 256) -> None:
        super().__init__()
        self.to_text = nn.Identity() if dim == text_dim else nn.Linear(dim, text_dim)
        self.classifier = nn.Sequential(
            nn.Linear(text_dim, hidden), nn.GELU(), nn.Linear(hidden, 2)
        )

    def forward(self, brain: Tensor, text: Tensor, *, strength: float) -> DomainTerms:
        """Classify brain features (N, dim) and token embeddings (M, text_dim).

        Parameters
        ----------
        brain : Tensor, (N, dim)
            Receives the reversed gradient.
        text : Tensor, (M, text_dim)
            Receives no gradient.
        strength : float
            Strength of the reversal, see :func:`reversal_strength`.
        """
        aligned = reverse_gradient(self.to_text(brain), strength)
        logits = self.classifier(aligned), self.classifier(text.detach().to(aligned.dtype))
        losses, right = [], []
        for label, part in enumerate(logits):
            truth = part.new_full((len(part),), label, dtype=torch.int64)
            terms = (
                F.cross_entropy(part.float(), truth),
                (part.argmax(dim=1) == label).float().mean(),
            )
            # every process draws the same tokens of text
            loss, correct = (
                shards.joint(t) if label else shards.share(t, len(part)) for t in terms
            )
            losses.append(loss)
            right.append(correct)
        return DomainTerms(torch.stack(losses).mean(), torch.stack(right).mean())


class ContrastiveAlignment(nn.Module):
    """Contrastive loss of recordings and their descriptions (CLIP, arXiv 2103.00020).

    Parameters
    ----------
    dim, text_dim : int
        Widths of brain features and text embeddings.
    width : int
        Width of the shared space.
    temperature : float
        Initial value of the learned temperature.
    """

    def __init__(
        self, dim: int, text_dim: int, *, width: int = 128, temperature: float = 0.07
    ) -> None:
        super().__init__()
        self.brain = nn.Linear(dim, width, bias=False)
        self.text = nn.Linear(text_dim, width, bias=False)
        self.log_temperature = nn.Parameter(torch.tensor(math.log(temperature)))

    def forward(self, brain: Tensor, text: Tensor) -> Tensor:
        """Symmetric cross-entropy of pairs (N, dim) and (N, text_dim), scalar."""
        if len(brain) != len(text) or len(brain) < 2:
            raise InputError(
                f"ContrastiveAlignment: brain and text must be two pairs or more, got {len(brain)} "
                f"and {len(text)}."
            )
        one = unit(self.brain(brain).float())
        other = unit(self.text(text.detach().to(brain.dtype)).float())
        logits = one @ other.T * (-self.log_temperature).exp()
        truth = torch.arange(len(logits), device=logits.device)
        return (F.cross_entropy(logits, truth) + F.cross_entropy(logits.T, truth)) / 2


@dataclass(frozen=True)
class DomainProbe:
    """Held-out accuracy of a classifier of two sets of frozen features.

    Parameters
    ----------
    accuracy : float
        Mean recall on held-out features; 0.5 is chance.
    distance : float
        Proxy A-distance ``2 (1 - 2 error)``: 0 for equal distributions, 2 for separable ones
        (Ben-David et al. 2007).
    n_brain, n_text : int
        Number of held-out features.
    """

    accuracy: float
    distance: float
    n_brain: int
    n_text: int


@checked(least={"hidden": 1, "steps": 1})
def probe_domains(
    brain: Tensor,
    text: Tensor,
    *,
    groups: Sequence[object] | None = None,
    hidden: int = 64,
    steps: int = 300,
    seed: int = 0,
) -> DomainProbe:
    """Train a fresh classifier on half of the features and test it on the other half.

    Parameters
    ----------
    brain : Tensor, (N, D)
        Frozen features, after the map to the width of the text.
    text : Tensor, (M, D)
        Token embeddings, each token once, so that no token is in both halves.
    groups : sequence, (N,), optional
        Recording of each brain feature; a recording is entirely in one half.
    hidden : int
        Hidden units of the probe.
    steps : int
        Number of AdamW steps.
    seed : int

    Returns
    -------
    DomainProbe

    Raises
    ------
    InputError
        Widths differ, a value is not finite, or a half is empty.
    """
    if brain.ndim != 2 or text.ndim != 2 or brain.shape[1] != text.shape[1]:
        raise InputError(
            f"probe_domains: brain and text must be (N, D) and (M, D), got {tuple(brain.shape)} "
            f"and {tuple(text.shape)}."
        )
    if not bool(brain.isfinite().all() and text.isfinite().all()):
        raise InputError("probe_domains: features must be finite, got NaN or infinity.")
    names = range(len(brain)) if groups is None else groups
    if len(names) != len(brain) or len(set(names)) < 2 or len(text) < 2:
        raise InputError(
            f"probe_domains: two recordings and two tokens are needed, got {len(set(names))} "
            f"recordings of {len(names)} features ({len(brain)} given) and {len(text)} tokens."
        )
    rng = np.random.default_rng(seed)
    halves = [_half(names, rng), _half(range(len(text)), rng)]
    sides = [part.detach().float().cpu() for part in (brain, text)]
    train = torch.cat([x[half] for x, half in zip(sides, halves, strict=True)])
    mean, std = train.mean(dim=0), train.std(dim=0).clamp_min(1e-6)
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        probe = nn.Sequential(nn.Linear(brain.shape[1], hidden), nn.GELU(), nn.Linear(hidden, 2))
        optimizer = torch.optim.AdamW(probe.parameters(), lr=3e-3, weight_decay=0.1)
        scaled = [(x - mean) / std for x in sides]
        for _ in range(steps):
            optimizer.zero_grad()
            losses = [
                F.cross_entropy(probe(x[half]), torch.full((int(half.sum()),), label))
                for label, (x, half) in enumerate(zip(scaled, halves, strict=True))
            ]
            (losses[0] + losses[1]).backward()
            optimizer.step()
    with torch.no_grad():
        recalls = [
            float((probe(x[~half]).argmax(dim=1) == label).float().mean())
            for label, (x, half) in enumerate(zip(scaled, halves, strict=True))
        ]
    accuracy = sum(recalls) / 2
    counts = [int((~half).sum()) for half in halves]
    return DomainProbe(accuracy, 2 * (1 - 2 * (1 - accuracy)), *counts)


def _half(names: Sequence[object], rng: np.random.Generator) -> Tensor:
    """Mark half of the distinct names; equal names get the same value."""
    order = {name: i for i, name in enumerate(dict.fromkeys(names))}
    chosen = np.zeros(len(order), dtype=bool)
    chosen[rng.permutation(len(order))[: len(order) // 2]] = True
    return torch.from_numpy(chosen[[order[name] for name in names]])
