"""A run on disk and in memory: where it stands, how it starts, how it is saved and resumed."""

from __future__ import annotations

import json
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
from ..errors import CheckpointError
from ..nn.state_dict import load_strict
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
from .provenance import provenance

Row = dict[str, Any]
Named = list[tuple[str, nn.Parameter]]


class Loader(Protocol):
    """What is read batch by batch; its state counts the batches already handed out."""

    def __iter__(self) -> Iterator[Any]:
        """Yield the rest of this epoch, then move on to the next."""

    def __len__(self) -> int:
        """Batches in an epoch."""

    def state_dict(self) -> dict[str, Any]:
        """Epoch and position, as JSON values."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""


@dataclass
class History:
    """What happened, and where training stands.

    Parameters
    ----------
    rows : list of dict
        One an epoch: mean of every loss term, learning rate, windows/s, tokens/s that the language
        model read, part of the time spent waiting for data, and what validation returned.
    step, epoch : int
        Optimiser steps and whole epochs done.
    best_value : float or None
        Lowest validation value.
    best_epoch : int
        Epoch it belongs to, 0 when there is none.
    stopped : bool
        Whether validation stopped improving before the last epoch.
    guard : NonFiniteGuard
    sums : dict of str to float
        Loss terms of the epoch under way, added up.
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
        """Rebuild from what ``dataclasses.asdict`` gave."""
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
    """Start from the newest whole checkpoint when resuming, else from the seeds.

    Raises
    ------
    CheckpointError
        Checkpoints of an earlier start are gone or damaged, have another layout or configuration,
        or do not fit: training never starts again in silence.
    """
    for folder in (run, run / "best"):
        recover_checkpoints(folder)
    newest = latest_checkpoint(run) if resume else None
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
        write_json(run / "config.json", about)
        # a run killed in its first epoch then starts again from the same weights
        save(run, objective, named, optimizer, loader, config, History())
        return History()
    saved = load_checkpoint(newest)
    ours = json.loads(json.dumps(config.to_dict()))
    theirs = saved.state.get("config")
    theirs = theirs if isinstance(theirs, dict) else {}
    differs = sorted(k for k in ours if theirs.get(k) != ours[k])
    if differs:
        raise CheckpointError(
            f"fit: a resumed run must keep its configuration, got other values for "
            f"{', '.join(differs)}. Use a new run folder."
        )
    load_strict(objective, saved.model, where=str(newest))
    try:
        history = History.from_dict(saved.state["history"])
        for name, parameter in named:
            slots = {
                k.rpartition("/")[2]: v
                for k, v in saved.optimizer.items()
                if k.rpartition("/")[0] == name
            }
            # Adam's own step counter stays on the CPU
            optimizer.state[parameter] = {
                k: v if k == "step" else v.to(parameter.device) for k, v in slots.items()
            }
        loader.load_state_dict(saved.state["loader"])
        set_rng_state(saved.rng)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"fit: {newest} must hold the state of training, got {error!r}. It was edited, or "
            "another version wrote it: use a new run folder."
        ) from error
    # damaged best weights are reported before the rest of the training is done, not after it
    judged = config.keep_best and history.best_value is not None
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
    """Write a checkpoint of everything that :func:`begin` needs to go on from here."""
    slots = {f"{n}/{k}": v for n, p in named for k, v in optimizer.state.get(p, {}).items()}
    state = {
        "config": config.to_dict(),
        "history": asdict(history),
        "loader": loader.state_dict(),
    }
    checkpoint = Checkpoint(objective.state_dict(), slots, rng_state(), state)
    save_checkpoint(run, checkpoint, step=history.step)


class Clock:
    """Time of an epoch, and how much of it was spent waiting for data.

    Parameters
    ----------
    tokens : int
        What the objective had counted before.
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
        """Windows and tokens a second, and the part of the time that went into waiting."""
        spent = max(time.perf_counter() - self.start, 1e-9)
        return {
            "windows_per_s": self.windows / spent,
            "tokens_per_s": (tokens - self._tokens) / spent,
            "wait": self.waited / spent,
        }
