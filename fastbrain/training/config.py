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
        require(self, "betas", all(0 <= b < 1 for b in self.betas), "be two numbers in [0, 1)")
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
class StageConfig:
    """Configuration of one training stage.

    Parameters
    ----------
    name : str
        Name of the stage in the log and in the record.
    epochs, batch_size, seed : int
    optim : OptimConfig
    precision : {"fp32", "bf16"}
        bf16 uses autocast: weights and optimiser stay fp32.
    accumulate : int
        Number of batches per optimiser step.
    recompute : bool
        Activation checkpointing: activations inside a block of the model are recomputed in the
        backward pass instead of stored. This needs less memory and about a third more computation.
    compile : {"inductor", "aot_eager"} or None
        Backend of ``torch.compile`` for the parts that an objective offers.
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
    optim: OptimConfig = field(default_factory=OptimConfig)
    precision: str = "fp32"
    accumulate: int = 1
    recompute: bool = False
    compile: str | None = None
    checkpoint_every: int = 0
    validate_every: int = 1
    patience: int = 0
    keep_best: bool = True

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "accumulate", "validate_every"):
            require(self, name, getattr(self, name) >= 1, "be 1 or more")
        for name in ("checkpoint_every", "patience"):
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
