"""The training loop, one function shared by all stages.

Accelerate selects the device; everything else that affects a result (order, seeds, learning rate,
guards, checkpoints) is here, so that a resumed run is bitwise equal to an uninterrupted run.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .._arguments import checked
from .._io import new_output, write_atomic
from .._progress import say, track
from ..errors import CheckpointError, ConfigError, TrainingError
from .checkpoint import Checkpoint, latest_checkpoint, load_checkpoint, run_lock, save_checkpoint
from .config import StageConfig
from .data_parallel import add_numbers, copy_from_first, divide, windows_of
from .execution import arrange
from .prefetch import Prefetched
from .processes import Processes, processes, together
from .run import Clock, History, Loader, Row, begin, save
from .sharding import load_whole, sharded_blocks, whole
from .step import Objective as Objective
from .step import adamw, take_step


@checked
def fit(
    objective: Objective,
    loader: Loader,
    config: StageConfig,
    *,
    run_dir: str | Path,
    resume: bool = False,
    validate: Callable[[], Mapping[str, float]] | None = None,
    best: str = "loss",
    on_epoch: Callable[[Row], None] | None = None,
    record: Mapping[str, Any] | None = None,
) -> History:
    """Train the parameters of `objective` that require gradients.

    Seeds the global generators of torch, numpy and Python from the configuration.

    Several processes (torchrun, ``accelerate launch``) divide each batch and end with the numbers
    of one process up to rounding; see docs/scale.md. The first one writes to `run_dir`, which all
    must see.

    Parameters
    ----------
    objective : Objective
    loader : Loader
        Yields batches with `trial_ids`; ``fastbrain.data.WindowLoader`` is one. A thread reads
        two batches ahead, so the loader must not use the global random generators. Several
        processes need its method `divide`.
    config : StageConfig
    run_dir : str or Path
        Receives config.json, log.jsonl, checkpoints/ and best/.
    resume : bool
        Continue from the newest complete checkpoint, if there is one.
    validate : callable, optional
        Returns values by name; lower is better. Runs without gradients, in evaluation mode, with
        a separate torch random state.
    best : str
        Name of the validation value that selects the best weights.
    on_epoch : callable, optional
        Receives the row of every finished epoch.
    record : mapping, optional
        JSON values for config.json: data fingerprints, split, command line.

    Returns
    -------
    History

    Raises
    ------
    TrainingError
        Nothing is trainable, three steps in a row were not finite, the loader cannot be divided
        between several processes, or another process failed or was lost.
    CheckpointError
        The checkpoint does not match, or another process trains in this folder.
    OutputExistsError
        `run_dir` is not empty and `resume` is false.
    """
    named = [(n, p) for n, p in objective.named_parameters() if p.requires_grad]
    if not named or not len(loader):
        raise TrainingError(
            f"fit: {config.name} must have parameters and batches, got {len(named)} trainable "
            f"parameters and {len(loader)} batches. Check groups, split and batch size."
        )
    with together("fit", str(named[0][1].device)) as team:
        return _fit(
            team, objective, loader, config, Path(run_dir), resume, validate, best, on_epoch, record
        )


def _fit(
    team: Processes,
    objective: Objective,
    loader: Loader,
    config: StageConfig,
    run_dir: Path,
    resume: bool,
    validate: Callable[[], Mapping[str, float]] | None,
    best: str,
    on_epoch: Callable[[Row], None] | None,
    record: Mapping[str, Any] | None,
) -> History:
    from accelerate import Accelerator

    divide(team, loader, config)
    accelerator = Accelerator()
    with team.first_alone() as first:
        run = new_output(run_dir, resume=resume) if first else run_dir
    loader = Prefetched(loader)
    arrange(objective, config)
    # the gradients of several processes are added up by the loop
    objective = accelerator.prepare_model(objective, evaluation_mode=not team.alone)
    if not team.alone:
        copy_from_first(objective)
    with run_lock(run) if team.first else nullcontext(), sharded_blocks(objective, team):
        named = [(n, p) for n, p in objective.named_parameters() if p.requires_grad]
        optimizer = adamw(named, config)
        history = begin(run, objective, named, optimizer, loader, config, resume, record)
        if validate is not None and history.epoch == history.step == 0:
            # keep the initial weights if training only makes them worse (e.g. a fitted readout)
            _judge(run, objective, config, history, validate, best)
        per_epoch = -(-len(loader) // config.accumulate)
        while history.epoch < config.epochs and not history.stopped:
            objective.train()
            clock = Clock(objective.tokens)
            label = f"{config.name} {history.epoch + 1}/{config.epochs}"
            done = (history.step + history.guard.skipped) % per_epoch * config.accumulate
            group: list[Any] = []
            for batch in track(clock.waiting(loader), label, total=len(loader) - done):
                group.append(batch)
                done += 1
                if len(group) < config.accumulate and done < len(loader):
                    continue
                for p in optimizer.param_groups:
                    p["lr"] = config.optim.rate(history.step, per_epoch * config.epochs)
                take_step(accelerator, objective, optimizer, named, group, config, history)
                clock.windows += sum(windows_of(b) for b in group)
                group = []
                every = config.checkpoint_every
                if every and history.step % every == 0 and done < len(loader):
                    save(run, objective, named, optimizer, loader, config, history)
            row = {"lr": optimizer.param_groups[0]["lr"], **clock.rates(objective.tokens)}
            row["tokens_per_s"] = add_numbers(row["tokens_per_s"])[0]
            row = _finish_epoch(run, objective, config, history, row, validate, best)
            save(run, objective, named, optimizer, loader, config, history)
            if on_epoch is not None and team.first:
                on_epoch(row)
        if config.keep_best and history.best_value is not None:
            kept = team.from_first(str(latest_checkpoint(run / "best") or "") if team.first else "")
            if not kept:
                raise CheckpointError(f"fit: {run / 'best'} must hold the best weights, got none.")
            load_whole(objective, load_checkpoint(kept).model, where=kept)
    objective.eval()
    return history


def _finish_epoch(
    run: Path,
    objective: Objective,
    config: StageConfig,
    history: History,
    row: Row,
    validate: Callable[[], Mapping[str, float]] | None,
    best: str,
) -> Row:
    """Validate, keep the weights if they are the best so far, and write the epoch's row."""
    history.epoch += 1
    steps = history.sums.pop("steps", 0.0)
    where = {"stage": config.name, "epoch": history.epoch, "step": history.step}
    means = {name: total / max(steps, 1.0) for name, total in history.sums.items()}
    row = {**where, **means, "skipped": history.guard.skipped, **row}
    history.sums = {}
    if validate is not None and history.epoch % config.validate_every == 0:
        row |= _judge(run, objective, config, history, validate, best)
        waited = (history.epoch - history.best_epoch) // config.validate_every
        history.stopped = bool(config.patience) and waited >= config.patience
    history.rows.append(row)
    lines = "".join(json.dumps(r) + "\n" for r in history.rows)
    if processes().first:
        write_atomic(run / "log.jsonl", lines)
    shown = ", ".join(
        f"{k} {v:.4g}" for k, v in row.items() if k.endswith("loss") and v is not None
    )
    say(f"{config.name} {history.epoch}/{config.epochs}: {shown}; {_pace(row)}")
    return row


def _pace(row: Row) -> str:
    """Format the throughput of an epoch; tokens only if a language model processed some."""
    parts = [f"{row['windows_per_s']:.3g} windows/s"]
    if row["tokens_per_s"]:
        parts.append(f"{row['tokens_per_s']:.3g} tokens/s")
    return ", ".join([*parts, f"{row['wait']:.1%} of the time waiting for data"])


def _judge(
    run: Path,
    objective: Objective,
    config: StageConfig,
    history: History,
    validate: Callable[[], Mapping[str, float]],
    best: str,
) -> Row:
    """Validate, and keep the weights if they are the best so far."""
    objective.eval()
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(config.seed)
        values = {k: float(v) for k, v in validate().items()}
    values = processes().from_first(values)
    if best not in values:
        raise ConfigError(f"fit: best must be one of {sorted(values)}, got '{best}'.")
    before = float("inf") if history.best_value is None else history.best_value
    if values[best] < before:
        history.best_value, history.best_epoch = values[best], history.epoch
        weights = Checkpoint(whole(objective.state_dict()), {}, {}, {"epoch": history.epoch})
        if processes().first:
            save_checkpoint(run / "best", weights, step=history.step, keep=1)
    # JSON has no NaN: a non-finite validation value is recorded as null
    return {f"val_{k}": v if np.isfinite(v) else None for k, v in values.items()}
