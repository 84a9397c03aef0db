"""Configuration of a training stage, as frozen dataclasses that convert to and from JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .._arguments import checked
from ..errors import ConfigError
from ..nn.config_io import from_dict, require, to_dict


@checked(error=ConfigError)
@dataclass(frozen=True)
class OptimConfig:
    """AdamW with warm-up and cosine decay.

    Parameters
    ----------
    lr : float
        Peak learning rate.
    weight_decay : float
        Applied to matrices only; biases, norms and the temperature are never decayed.
    betas : tuple of float
    warmup_steps : int
        Steps of linear warm-up to `lr`.
    schedule : {"cosine", "constant"}
    min_lr : float
        Final learning rate of the cosine, as a fraction of `lr`.
    grad_clip : float
        Largest global gradient norm; 0 disables clipping.
    """

    lr: float = 1e-3
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.95)
    warmup_steps: int = 10
    schedule: str = "cosine"
    min_lr: float = 0.01
    grad_clip: float = 1.0

    def __post_init__(self) -> None:
        require(self, "lr", 0 < self.lr < math.inf, "be positive")
        require(self, "weight_decay", self.weight_decay >= 0, "be 0 or more")
        require(self, "betas", len(self.betas) == 2, "be two numbers")
        require(self, "warmup_steps", self.warmup_steps >= 0, "be 0 or more")
        require(self, "schedule", self.schedule in ("cosine", "constant"), "be cosine or constant")
        require(self, "min_lr", 0 <= self.min_lr <= 1, "be in [0, 1]")
        require(self, "grad_clip", self.grad_clip >= 0, "be 0 or more")

    def rate(self, step: int, steps: int) -> float:
        """Learning rate of optimiser step `step` (from 0) of `steps`; there is no other state."""
        if step < self.warmup_steps:
            return self.lr * (step + 1) / (self.warmup_steps + 1)
        if self.schedule == "constant":
            return self.lr
        part = (step - self.warmup_steps) / max(1, steps - self.warmup_steps)
        low = self.lr * self.min_lr
        return low + (self.lr - low) * 0.5 * (1 + math.cos(math.pi * min(1.0, part)))


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
        Weight of each domain adaptation loss (DANCE: 0.05).
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
        for name in ("eta", "margin", "source_ce_weight"):
            require(self, name, getattr(self, name) >= 0, "be 0 or more")
        require(self, "momentum", 0 <= self.momentum < 1, "be in [0, 1)")
        require(self, "nc_variant", self.nc_variant in ("dance", "paper"), "be dance or paper")
        require(self, "reduction", self.reduction in ("token", "sequence"), "be token or sequence")


@checked(error=ConfigError)
@dataclass(frozen=True)
class StageConfig:
    """Configuration of one training stage.

    Parameters
    ----------
    name : str
        "pretrain", "video", "stage1" or "stage2"; for the log and the record.
    epochs, batch_size, seed : int
    groups : tuple of str
        Parameter groups to train; all others are frozen (``LLM4Brain.parameter_groups``).
    optim : OptimConfig
    losses : LossConfig
    precision : {"fp32", "bf16"}
        bf16 uses autocast: weights and optimiser stay fp32.
    accumulate : int
        Number of batches per optimiser step.
    recompute : bool
        Activation checkpointing: activations inside a block of the encoder, Q-Former or language
        model are recomputed in the backward pass instead of stored. This needs less memory and
        about a third more computation.
    compile : {"inductor", "aot_eager"} or None
        Backend of ``torch.compile`` for encoder and Q-Former.
    noise_std : float
        Gaussian noise added to the voxels in training, in standard deviations of each voxel.
    max_answer_tokens : int
    checkpoint_every : int
        Optimiser steps between checkpoints within an epoch, besides the one at its end; 0: none.
    validate_every : int
        Epochs between validations.
    patience : int
        Number of validations without improvement before training stops; 0 disables this.
    keep_best : bool
        Whether to restore the weights of the best validation at the end.
    """

    name: str = "stage"
    epochs: int = 10
    batch_size: int = 16
    seed: int = 0
    groups: tuple[str, ...] = ()
    optim: OptimConfig = field(default_factory=OptimConfig)
    losses: LossConfig = field(default_factory=LossConfig)
    precision: str = "fp32"
    accumulate: int = 1
    recompute: bool = False
    compile: str | None = None
    noise_std: float = 0.0
    max_answer_tokens: int = 64
    checkpoint_every: int = 0
    validate_every: int = 1
    patience: int = 0
    keep_best: bool = True

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "accumulate", "max_answer_tokens", "validate_every"):
            require(self, name, getattr(self, name) >= 1, "be 1 or more")
        for name in ("noise_std", "checkpoint_every", "patience"):
            require(self, name, getattr(self, name) >= 0, "be 0 or more")
        compilers = (None, "inductor", "aot_eager")
        require(self, "compile", self.compile in compilers, f"be one of {compilers}")
        require(self, "precision", self.precision in ("fp32", "bf16"), "be fp32 or bf16")

    def to_dict(self) -> dict[str, Any]:
        """Convert to a plain dict for JSON."""
        return to_dict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> StageConfig:
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
