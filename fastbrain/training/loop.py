"""The training loop, one function shared by all stages.

Accelerate selects the device; everything else that affects a result (order, seeds, learning rate,
guards, checkpoints) is here, so that a resumed run is bitwise equal to an uninterrupted run.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch import distributed as dist

from .._arguments import checked
from .._io import new_output, write_atomic
from .._progress import say, track
from ..errors import CheckpointError, ConfigError, TrainingError
from ..nn.state_dict import load_strict
from .checkpoint import Checkpoint, latest_checkpoint, load_checkpoint, run_lock, save_checkpoint
from .config import StageConfig
from .execution import arrange
from .guards import places
from .prefetch import Prefetched
from .run import Clock, History, Loader, Named, Row, begin, save


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

    Parameters
    ----------
    objective : Objective
    loader : Loader
        Yields batches with `trial_ids`; ``fastbrain.data.WindowLoader`` is one. A thread reads
        two batches ahead, so the loader must not use the global random generators.
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
        Nothing is trainable, several processes run, or three steps in a row were not finite.
    CheckpointError
        The checkpoint does not match, or another process trains in this folder.
    OutputExistsError
        `run_dir` is not empty and `resume` is false.
    """
    from accelerate import Accelerator

    named = [(n, p) for n, p in objective.named_parameters() if p.requires_grad]
    if not named or not len(loader):
        raise TrainingError(
            f"fit: {config.name} must have parameters and batches, got {len(named)} trainable "
            f"parameters and {len(loader)} batches. Check groups, split and batch size."
        )
    check_alone("fit")
    accelerator = Accelerator()
    run = new_output(run_dir, resume=resume)
    loader = Prefetched(loader)
    with run_lock(run):
        arrange(objective, config)
        objective = accelerator.prepare_model(objective)
        optimizer = _adamw(named, config)
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
                _step(accelerator, objective, optimizer, named, group, config, history)
                clock.windows += sum(len(b.trial_ids) for b in group)
                group = []
                every = config.checkpoint_every
                if every and history.step % every == 0 and done < len(loader):
                    save(run, objective, named, optimizer, loader, config, history)
            row = {"lr": optimizer.param_groups[0]["lr"], **clock.rates(objective.tokens)}
            row = _finish_epoch(run, objective, config, history, row, validate, best)
            save(run, objective, named, optimizer, loader, config, history)
            if on_epoch is not None:
                on_epoch(row)
        if config.keep_best and history.best_value is not None:
            kept = latest_checkpoint(run / "best")
            if kept is None:
                raise CheckpointError(f"fit: {run / 'best'} must hold the best weights, got none.")
            load_strict(objective, load_checkpoint(kept).model, where=str(kept))
    objective.eval()
    return history


def check_alone(function: str) -> None:
    """Require a single process; raise under any distributed launcher."""
    from accelerate import PartialState

    processes = int(PartialState().num_processes)
    if dist.is_available() and dist.is_initialized():
        processes = max(processes, dist.get_world_size())
    if processes > 1:
        raise TrainingError(
            f"{function}: one process must train, got {processes}. Start it without a distributed "
            "launcher, or put the objective into a loop of your own."
        )


def _step(
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
        with torch.autocast(accelerator.device.type, torch.bfloat16, enabled=bf16):
            terms = objective(batch)
        accelerator.backward(terms["loss"] / len(group))
        for name, value in terms.items():
            means[name] = means.get(name, 0.0) + value.detach().float() / len(group)
    norm = nn.utils.clip_grad_norm_(
        [p for _, p in named], config.optim.grad_clip or float("inf")
    ).float()
    # one device transfer for all values that are logged and checked
    values = dict(
        zip([*means, "grad_norm"], torch.stack([*means.values(), norm]).tolist(), strict=True)
    )
    finite = bool(np.isfinite(list(values.values())).all())
    where = [place for batch in group for place in places(batch)]
    if history.guard.admit(finite, history.step + 1, where):
        optimizer.step()
        objective.after_step()
        history.step += 1
        for name, value in {**values, "steps": 1.0}.items():
            history.sums[name] = history.sums.get(name, 0.0) + value
    optimizer.zero_grad(set_to_none=True)


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
    if best not in values:
        raise ConfigError(f"fit: best must be one of {sorted(values)}, got '{best}'.")
    before = float("inf") if history.best_value is None else history.best_value
    if values[best] < before:
        history.best_value, history.best_epoch = values[best], history.epoch
        weights = Checkpoint(objective.state_dict(), {}, {}, {"epoch": history.epoch})
        save_checkpoint(run / "best", weights, step=history.step, keep=1)
    # JSON has no NaN: a non-finite validation value is recorded as null
    return {f"val_{k}": v if np.isfinite(v) else None for k, v in values.items()}


def _adamw(named: Named, config: StageConfig) -> torch.optim.Optimizer:
    # biases, norms, temperatures and single vectors are not decayed
    decay = [p for _, p in named if p.ndim > 1]
    plain = [p for _, p in named if p.ndim <= 1]
    groups = [
        {"params": decay, "weight_decay": config.optim.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [g for g in groups if g["params"]], lr=config.optim.lr, betas=config.optim.betas
    )
