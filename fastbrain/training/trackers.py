"""Trackers, the programs that plot a training run while it goes: TensorBoard, W&B and trackio.

A tracker receives the numbers of one epoch at a time. All three libraries are optional and imported
when a run asks for them.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from .._io import as_disk_error
from ..errors import ConfigError, MissingPartError
from ..nn.config_io import suggest

_PROJECT = "fastbrain"


class Tracker(Protocol):
    """Destination of the numbers of a run."""

    keeps: bool
    """Whether epochs that an earlier start has sent are still there."""

    def send(self, stage: str, values: Mapping[str, float], *, epoch: int, step: int) -> None:
        """Add the values of an epoch; `step` counts the epochs of all stages, from 0."""

    def close(self, *, failed: bool) -> None:
        """Write what is still in memory; `failed` says whether training was interrupted."""


class _TensorBoard:
    """Event files in ``tensorboard/`` of the run folder, written anew at every start."""

    keeps = False

    def __init__(self, run: Path, identity: str, config: Mapping[str, Any]) -> None:
        from torch.utils.tensorboard import SummaryWriter
        from torch.utils.tensorboard.summary import hparams

        folder = run / "tensorboard"
        with as_disk_error(folder):
            if folder.exists():
                shutil.rmtree(folder)
            self.writer = SummaryWriter(str(folder))
        # add_hparams would open a second file, and TensorBoard follows only the newest
        events: Any = self.writer.file_writer
        for summary in hparams(flat(config), {}):
            events.add_summary(summary)

    def send(self, stage: str, values: Mapping[str, float], *, epoch: int, step: int) -> None:
        for name, value in values.items():
            self.writer.add_scalar(f"{stage}/{name}", value, epoch)
        self.writer.flush()

    def close(self, *, failed: bool) -> None:
        self.writer.close()


class _WandB:
    """A run of Weights & Biases; ``WANDB_MODE``, ``WANDB_PROJECT`` and so on apply."""

    keeps = True

    def __init__(self, run: Path, identity: str, config: Mapping[str, Any]) -> None:
        import wandb

        self.run: Any = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or _PROJECT,
            name=run.name,
            id=identity,
            resume="allow",
            dir=str(run),
            config=dict(config),
        )
        self.stages: set[str] = set()

    def send(self, stage: str, values: Mapping[str, float], *, epoch: int, step: int) -> None:
        if stage not in self.stages:
            self.run.define_metric(f"{stage}/*", step_metric=f"{stage}/epoch")
            self.stages.add(stage)
        named = {f"{stage}/{name}": value for name, value in values.items()}
        self.run.log({**named, f"{stage}/epoch": epoch}, step=step)

    def close(self, *, failed: bool) -> None:
        self.run.finish(exit_code=int(failed))


class _Trackio:
    """A run of trackio, on this machine unless its own settings name a Space."""

    keeps = True

    def __init__(self, run: Path, identity: str, config: Mapping[str, Any]) -> None:
        import trackio

        # a run is found again by its name, and folders of one name are common
        name = f"{run.name}-{identity}"
        self.run: Any = trackio.init(
            project=_PROJECT, name=name, config=dict(config), resume="allow", embed=False
        )

    def send(self, stage: str, values: Mapping[str, float], *, epoch: int, step: int) -> None:
        named = {f"{stage}/{name}": value for name, value in values.items()}
        self.run.log({**named, f"{stage}/epoch": epoch}, step=step)

    def close(self, *, failed: bool) -> None:
        self.run.finish()


TRACKERS: dict[str, Any] = {"tensorboard": _TensorBoard, "wandb": _WandB, "trackio": _Trackio}
# what is imported, and the name in it that a folder of the same name would not have
_NEEDS = {
    "tensorboard": ("torch.utils.tensorboard", "SummaryWriter"),
    "wandb": ("wandb", "init"),
    "trackio": ("trackio", "init"),
}


def check_trackers(names: Sequence[str], *, function: str) -> tuple[str, ...]:
    """Return the names of trackers, each once, if they are known and installed.

    Raises
    ------
    ConfigError
        A name is unknown.
    MissingPartError
        The package of a tracker is not installed.
    """
    for name in names:
        if name not in TRACKERS:
            raise ConfigError(
                f"{function}: log must name trackers, got '{name}'.{suggest(name, TRACKERS)}"
            )
        module, part = _NEEDS[name]
        try:
            # W&B leaves a folder `wandb` behind, which can be imported as an empty package
            getattr(importlib.import_module(module), part)
        except (ImportError, AttributeError) as error:
            raise MissingPartError(
                f"{function}: log must name installed trackers, got '{name}' ({error}). "
                f"pip install {name}"
            ) from error
    return tuple(dict.fromkeys(names))


def flat(config: Mapping[str, Any], before: str = "") -> dict[str, bool | float | str]:
    """Flatten a nested configuration to ``{"stage1.optim.lr": 0.001}``."""
    found: dict[str, bool | float | str] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{before}{key}.")
        else:
            plain = isinstance(value, bool | int | float | str)
            found[f"{before}{key}"] = value if plain else json.dumps(value)
    return found
