"""Time and memory of a training step, measured on this machine with one batch."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn

from .config import StageConfig
from .data_parallel import windows_of
from .step import Objective, adamw


@dataclass(frozen=True)
class MeasuredStep:
    """Result of :func:`measure_step`.

    Parameters
    ----------
    windows : int
        Windows of the batch.
    seconds : float
        Of the faster of two steps after one that is not counted.
    activations : int
        Bytes that the forward pass keeps for the backward pass, without weights.
    weights, learning : int
        Bytes of all parameters and buffers, and of gradients and moments of Adam.
    """

    windows: int
    seconds: float
    activations: int
    weights: int
    learning: int

    def describe(self, steps: int) -> str:
        """Describe a stage of that many steps in a line: what was measured, what follows."""
        total = self.weights + self.learning + self.activations
        hours = self.seconds * steps / 3600
        time = f"{hours:.1f} hours" if hours >= 1 else f"{hours * 60:.1f} minutes"
        return (
            f"a step of {self.windows} windows took {self.seconds:.3g} s and kept "
            f"{_gb(self.activations)} of activations (measured); {steps:,} steps: about {time}; "
            f"weights {_gb(self.weights)}, gradients and moments {_gb(self.learning)} (counted): "
            f"about {_gb(total)}"
        )


def measure_step(objective: Objective, batch: Any, config: StageConfig) -> MeasuredStep:
    """Take three training steps on one batch; the weights change, so use a model to throw away.

    Parameters
    ----------
    objective : Objective
    batch
        As its loader yields them.
    config : StageConfig

    Returns
    -------
    MeasuredStep
    """
    named = [(n, p) for n, p in objective.named_parameters() if p.requires_grad]
    optimizer = adamw(named, config)
    device = named[0][1].device
    objective.train()
    own = {t.untyped_storage().data_ptr() for t in (*objective.parameters(), *objective.buffers())}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    times = []
    for turn in range(3):
        start = perf_counter()
        objective.before_step()
        with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16"):
            if turn:
                loss = objective(batch)["loss"]
            else:
                with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
                    loss = objective(batch)["loss"]
        loss.backward()
        nn.utils.clip_grad_norm_([p for _, p in named], config.optim.grad_clip or float("inf"))
        optimizer.step()
        objective.after_step()
        optimizer.zero_grad(set_to_none=True)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(perf_counter() - start)
    weights = sum(t.nbytes for t in (*objective.parameters(), *objective.buffers()))
    learning = 3 * sum(p.nbytes for _, p in named)
    return MeasuredStep(windows_of(batch), min(times[1:]), sum(kept.values()), weights, learning)


def _gb(count: float) -> str:
    return f"{count / 1e9:.2g} GB" if count >= 1e8 else f"{count / 1e6:.2g} MB"
