"""One optimiser step: gradients of a group of batches, guard and update."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..nn import shards
from .config import StageConfig
from .data_parallel import add_gradients, add_terms, places_of_all
from .guards import places
from .processes import processes
from .run import History, Named
from .sharding import clip_gradients, is_sharded


class Objective(nn.Module):
    """Objective of a stage: ``forward(batch)`` returns its loss terms, including "loss".

    Attributes
    ----------
    tokens : int
        Tokens that the language model has processed so far: BOS, prefix, prompt and answer, without
        padding. It stays 0 without a language model.
    """

    tokens: int = 0

    def before_step(self) -> None:
        """Hook called before the batches of an optimiser step."""

    def after_step(self) -> None:
        """Hook called after an optimiser step (not after a skipped step)."""


def take_step(
    accelerator: Any,
    objective: Objective,
    optimizer: torch.optim.Optimizer,
    named: Named,
    group: list[Any],
    config: StageConfig,
    history: History,
) -> None:
    """Take one optimiser step on a group of batches; skip it if it is not finite."""
    means: dict[str, Tensor] = {}
    bf16 = config.precision == "bf16"
    objective.before_step()
    for batch in group:
        with shards.within(getattr(batch, "shard", None)):
            with torch.autocast(accelerator.device.type, torch.bfloat16, enabled=bf16):
                terms = objective(batch)
            accelerator.backward(terms["loss"] / len(group))
        for name, value in terms.items():
            means[name] = means.get(name, 0.0) + value.detach().float() / len(group)
    team = processes()
    if not team.alone:
        add_gradients(named)
    if any(is_sharded(p) for _, p in named):
        norm = clip_gradients(named, config.optim.grad_clip)
    else:
        norm = nn.utils.clip_grad_norm_(
            [p for _, p in named], config.optim.grad_clip or float("inf")
        ).float()
    found = torch.stack(list(means.values()))
    # one device transfer for all values that are logged and checked
    found = torch.cat([found if team.alone else add_terms(found), norm[None]])
    values = dict(zip([*means, "grad_norm"], found.tolist(), strict=True))
    finite = bool(np.isfinite(list(values.values())).all())
    where = [place for batch in group for place in places(batch)]
    if not (finite or team.alone):
        where = places_of_all(where, team.part.world)
    if history.guard.admit(finite, history.step + 1, where):
        optimizer.step()
        objective.after_step()
        history.step += 1
        for name, value in {**values, "steps": 1.0}.items():
            history.sums[name] = history.sums.get(name, 0.0) + value
    optimizer.zero_grad(set_to_none=True)


def adamw(named: Named, config: StageConfig) -> torch.optim.Optimizer:
    """Make the optimiser of the trainable parameters."""
    # biases, norms, temperatures and single vectors are not decayed
    # sharded and whole parameters cannot be updated in one call
    groups = [
        {
            "params": [p for _, p in named if (p.ndim > 1) == decayed and is_sharded(p) == parts],
            "weight_decay": config.optim.weight_decay if decayed else 0.0,
        }
        for parts in (False, True)
        for decayed in (True, False)
    ]
    return torch.optim.AdamW(
        [g for g in groups if g["params"]], lr=config.optim.lr, betas=config.optim.betas
    )
