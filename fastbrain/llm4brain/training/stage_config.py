"""Configuration of the stages of LLM4Brain: trained groups, losses and noise."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..._arguments import checked
from ...errors import ConfigError
from ...nn.config_io import from_dict, require
from ...training.config import StageConfig


@checked(error=ConfigError)
@dataclass(frozen=True)
class LossConfig:
    """Weights and temperatures of LLM4Brain's losses; a stage reads only those of its losses.

    Parameters
    ----------
    alpha : float
        Weight of L1 against squared L2 in the alignment loss (equation 1).
    beta : float
        Weight of the contrastive against the alignment loss in stage I (equation 2).
    learn_tau : bool
        Whether the contrastive temperature is learned; it starts at the model's `tau`.
    lambda_ce : float
        Weight of the answer loss against domain adaptation in stage II (equation 6).
    eta : float
        Weight of the domain adaptation losses (DANCE: 0.05).
    nc, es : float
        Weights of neighbourhood clustering and of entropy separation in their sum; 0 leaves a
        loss out.
    tau_nc, tau_cls : float
        Temperatures of neighbourhood clustering and of the class head.
    nc_variant : {"dance", "paper"}
        Columns of the clustering (see :func:`fastbrain.ops.neighborhood_clustering`).
    rho : float or None
        Threshold of entropy separation, nats; None means log(C)/2.
    margin : float
        Half width of the interval around `rho` in which samples have no loss.
    source_ce_weight : float
        Weight of the class cross-entropy of labelled source samples on the prototypes. The paper
        has no such term; without it only target samples train the prototypes. At tau_cls = 0.05
        its gradient is steep: a weight of 1 dominates the answer loss.
    momentum : float
        Momentum of the memory of target features (DANCE: 0, replacement).
    reduction : {"token", "sequence"}
        Reduction of the answer loss; the paper sums over a sequence.
    """

    alpha: float = 0.5
    beta: float = 0.5
    learn_tau: bool = True
    lambda_ce: float = 0.9
    eta: float = 0.05
    nc: float = 1.0
    es: float = 1.0
    tau_nc: float = 0.05
    tau_cls: float = 0.05
    nc_variant: str = "dance"
    rho: float | None = None
    margin: float = 0.5
    source_ce_weight: float = 0.1
    momentum: float = 0.0
    reduction: str = "token"

    def __post_init__(self) -> None:
        for name in ("alpha", "beta", "lambda_ce"):
            require(self, name, 0 <= getattr(self, name) <= 1, "be in [0, 1]")
        for name in ("tau_nc", "tau_cls"):
            require(self, name, getattr(self, name) > 0, "be positive")
        for name in ("eta", "nc", "es", "margin", "source_ce_weight"):
            require(self, name, getattr(self, name) >= 0, "be 0 or more")
        require(self, "momentum", 0 <= self.momentum < 1, "be in [0, 1)")
        require(self, "nc_variant", self.nc_variant in ("dance", "paper"), "be dance or paper")
        require(self, "reduction", self.reduction in ("token", "sequence"), "be token or sequence")


@checked(error=ConfigError)
@dataclass(frozen=True)
class LLM4BrainStage(StageConfig):
    """Configuration of one stage of LLM4Brain: the fields of ``StageConfig`` and these.

    Parameters
    ----------
    groups : tuple of str
        Parameter groups to train; all others are frozen (``LLM4Brain.parameter_groups``).
    losses : LossConfig
    noise_std : float
        Gaussian noise added to the voxels in training, in standard deviations of each voxel.
    max_answer_tokens : int
        A longer answer is cut.
    """

    groups: tuple[str, ...] = ()
    losses: LossConfig = field(default_factory=LossConfig)
    noise_std: float = 0.0
    max_answer_tokens: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self, "noise_std", self.noise_std >= 0, "be 0 or more")
        require(self, "max_answer_tokens", self.max_answer_tokens >= 1, "be 1 or more")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> LLM4BrainStage:
        """Build from a plain dict; an unknown key is a :class:`ConfigError`."""
        return from_dict(cls, values)


@checked
def reachable_entropy_minimum(tau: float, n_classes: int) -> float:
    """Lowest class entropy that cosines over `tau` can reach (one is 1, all others −1), nats.

    Parameters
    ----------
    tau : float
    n_classes : int

    Returns
    -------
    float
        Entropy in nats; 4.52 at τ = 0.5 and 180 classes, far above any useful threshold.
    """
    if not tau > 0 or n_classes < 1:
        raise ConfigError(
            "reachable_entropy_minimum: tau must be positive and n_classes 1 or more, got "
            f"{tau} and {n_classes}."
        )
    rest = math.exp(-2 / tau)
    total = 1 + (n_classes - 1) * rest
    return math.log(total) + (n_classes - 1) * rest / total * (2 / tau)


@checked
def entropy_threshold(losses: LossConfig, n_classes: int) -> float:
    """Threshold ρ of entropy separation: the configured value, or log(C)/2 as in DANCE.

    Parameters
    ----------
    losses : LossConfig
    n_classes : int
        0 counts as one class.
    """
    return losses.rho if losses.rho is not None else math.log(max(n_classes, 1)) / 2


@checked
def findings(losses: LossConfig, n_classes: int) -> tuple[str, ...]:
    """List valid but unsuitable settings, one sentence each.

    Parameters
    ----------
    losses : LossConfig
    n_classes : int

    Returns
    -------
    tuple of str
    """
    found = []
    rho = entropy_threshold(losses, n_classes)
    lowest = reachable_entropy_minimum(losses.tau_cls, n_classes) if n_classes else 0.0
    if lowest > rho + losses.margin:
        found.append(
            f"tau_cls={losses.tau_cls} over {n_classes} classes keeps every entropy above "
            f"{lowest:.2f} nats, beyond rho + margin = {rho + losses.margin:.2f}: entropy "
            "separation only flattens all samples. Use tau_cls=0.05."
        )
    if not losses.source_ce_weight:
        found.append(
            "source_ce_weight=0 leaves the class prototypes to unlabelled target samples alone."
        )
    return tuple(found)
