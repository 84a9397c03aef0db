"""State of a training run: history, start, saving, resuming and timing."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from .._io import write_json
from .._progress import say
from .._runfiles import changed_entries
from ..errors import CheckpointError
from .checkpoint import (
    Checkpoint,
    latest_checkpoint,
    load_checkpoint,
    recover_checkpoints,
    rng_state,
    save_checkpoint,
    set_rng_state,
)
from .config import StageConfig
from .guards import NonFiniteGuard
from .processes import processes
from .provenance import provenance
from .sharding import Named as Named
from .sharding import load_whole, part_of, whole

Row = dict[str, Any]


class Loader(Protocol):
    """Interface of a batch loader; its state counts the batches already yielded."""

    def __iter__(self) -> Iterator[Any]:
        """Yield the remaining batches of this epoch, then advance to the next epoch."""

    def __len__(self) -> int:
        """Number of batches in an epoch."""

    def state_dict(self) -> dict[str, Any]:
        """Return epoch and position, as JSON values."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore epoch and position."""


@dataclass
class History:
    """Epoch rows, progress and best validation of a training run.

    Parameters
    ----------
    rows : list of dict
        One row per epoch: mean of every loss term, learning rate, windows/s, tokens/s of the
        language model, fraction of the time spent waiting for data, and validation values.
    step, epoch : int
        Number of optimiser steps and complete epochs done.
    best_value : float or None
        Lowest validation value.
    best_epoch : int
        Epoch of `best_value`; 0 before the first epoch or if there is none.
    stopped : bool
        Whether validation stopped improving before the last epoch.
    guard : NonFiniteGuard
    sums : dict of str to float
        Sums of the loss terms over the current epoch.
    """

    rows: list[Row] = field(default_factory=list)
    step: int = 0
    epoch: int = 0
    best_value: float | None = None
    best_epoch: int = 0
    stopped: bool = False
    guard: NonFiniteGuard = field(default_factory=NonFiniteGuard)
    sums: dict[str, float] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> History:
        """Rebuild from the output of ``dataclasses.asdict``."""
        return cls(**{**values, "guard": NonFiniteGuard(**values["guard"])})


def begin(
    run: Path,
    objective: nn.Module,
    named: Named,
    optimizer: torch.optim.Optimizer,
    loader: Loader,
    config: StageConfig,
    resume: bool,
    record: Mapping[str, Any] | None,
) -> History:
    """Restore the newest complete checkpoint when resuming, else start from the seeds.

    Raises
    ------
    CheckpointError
        Checkpoints of an earlier start are missing or damaged, have another layout or
        configuration, or do not match: training never restarts silently.
    """
    team = processes()
    newest: Path | None = None
    with team.first_alone() as first:
        if first:
            for folder in (run, run / "best"):
                recover_checkpoints(folder)
            newest = latest_checkpoint(run) if resume else None
    found = team.from_first(None if newest is None else str(newest))
    newest = None if found is None else Path(found)
    if newest is None:
        if resume and (run / "log.jsonl").exists():
            raise CheckpointError(
                f"fit: {run} must have the checkpoints of its log.jsonl, got none. Put them back, "
                "or use a new run folder."
            )
        random.seed(config.seed)
        np.random.seed(config.seed)  # noqa: NPY002
        torch.manual_seed(config.seed)
        about = {"config": config.to_dict(), **provenance(), "record": dict(record or {})}
        if team.first:
            write_json(run / "config.json", about)
        # a run killed in its first epoch can then restart from the same weights
        save(run, objective, named, optimizer, loader, config, History())
        return History()
    saved = load_checkpoint(newest)
    differs = changed_entries(config.to_dict(), saved.state.get("config"))
    if differs:
        raise CheckpointError(
            f"fit: a resumed run must keep its configuration, got other values for "
            f"{', '.join(differs)}. Use a new run folder."
        )
    load_whole(objective, saved.model, where=str(newest))
    try:
        history = History.from_dict(saved.state["history"])
        for name, parameter in named:
            slots = {
                k.rpartition("/")[2]: v
                for k, v in saved.optimizer.items()
                if k.rpartition("/")[0] == name
            }
            # the step counter of Adam stays on the CPU
            optimizer.state[parameter] = {
                k: v if k == "step" else part_of(v.to(parameter.device), parameter)
                for k, v in slots.items()
            }
        loader.load_state_dict(saved.state["loader"])
        set_rng_state(saved.rng)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"fit: {newest} must hold the state of training, got {error!r}. It was edited, or "
            "another version wrote it: use a new run folder."
        ) from error
    # report damaged best weights before training continues, not at its end
    judged = team.first and config.keep_best and history.best_value is not None
    if judged and latest_checkpoint(run / "best") is None:
        raise CheckpointError(
            f"fit: {run / 'best'} must hold the weights of epoch {history.best_epoch}, the best so "
            "far, got none. Put the folder back, or use a new run folder."
        )
    say(f"{config.name}: going on from {newest.name}")
    return history


def save(
    run: Path,
    objective: nn.Module,
    named: Named,
    optimizer: torch.optim.Optimizer,
    loader: Loader,
    config: StageConfig,
    history: History,
) -> None:
    """Write a checkpoint of all state that :func:`begin` needs to resume."""
    slots = {f"{n}/{k}": v for n, p in named for k, v in optimizer.state.get(p, {}).items()}
    state = {
        "config": config.to_dict(),
        "history": asdict(history),
        "loader": loader.state_dict(),
    }
    checkpoint = Checkpoint(whole(objective.state_dict()), whole(slots), rng_state(), state)
    if processes().first:
        save_checkpoint(run, checkpoint, step=history.step)


class Clock:
    """Measure the time of an epoch and the time spent waiting for data.

    Parameters
    ----------
    tokens : int
        Token count of the objective at the start of the epoch.
    """

    def __init__(self, tokens: int = 0) -> None:
        self.start, self.waited = time.perf_counter(), 0.0
        self.windows, self._tokens = 0, tokens

    def waiting(self, loader: Loader) -> Iterator[Any]:
        """Yield the loader's batches, timing each wait."""
        batches = iter(loader)
        while True:
            before = time.perf_counter()
            batch = next(batches, None)
            self.waited += time.perf_counter() - before
            if batch is None:
                return
            yield batch

    def rates(self, tokens: int = 0) -> Row:
        """Return windows and tokens per second, and the fraction of time spent waiting."""
        spent = max(time.perf_counter() - self.start, 1e-9)
        return {
            "windows_per_s": self.windows / spent,
            "tokens_per_s": (tokens - self._tokens) / spent,
            "wait": self.waited / spent,
        }
