"""Facts on a run that its methods section states besides the scores."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ..._arguments import checked
from ..._rules import record_of, table_of, text
from ..._runfiles import read_record
from ...data import VoxelStore
from .html import environment


@dataclass(frozen=True)
class Recipe:
    """Description of the model of a system, for a methods section.

    Parameters
    ----------
    system : str
        Name of the system with its citations, e.g. ``"BrainLLM [@ye2025brainllm]"``.
    model : sequence of str
        Sentences on the model.
    purposes : mapping of str to str
        What each training stage does, by the name of its folder.
    parameters : mapping of str to int
        Number of parameters of the ``"language model"`` and of the ``"decoder"``, all other parts.
    """

    system: str
    model: Sequence[str] = ()
    purposes: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class RunFacts:
    """What a methods section needs besides the scores.

    Parameters
    ----------
    store : VoxelStore
    manifest : mapping
        Manifest of the run.
    recipe : Recipe
    stages : mapping of str to mapping
        Configuration of each training stage by the name of its folder; may be empty.
    epochs : mapping of str to int
        Epochs that each stage has trained.
    trained_with : mapping of str to str
        Versions of packages in training; may be empty.
    versions : mapping of str to str
        Versions of packages in this evaluation.
    device : str
        Device of this evaluation, in words.
    held : int
        Number of test windows that were not scored, as they are far from all training windows.
    """

    store: VoxelStore
    manifest: Mapping[str, Any]
    recipe: Recipe
    stages: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    epochs: Mapping[str, int] = field(default_factory=dict)
    trained_with: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    device: str = ""
    held: int = 0


@checked
def run_facts(
    run: str | Path,
    store: VoxelStore,
    manifest: Mapping[str, Any],
    recipe: Recipe,
    *,
    history: Mapping[str, Sequence[Mapping[str, Any]]],
    device: str,
    held: int = 0,
) -> RunFacts:
    """Collect the facts of a run folder.

    Parameters
    ----------
    run : str or Path
    store : VoxelStore
    manifest : mapping
    recipe : Recipe
    history : mapping of str to sequence of mapping
        Rows of the training logs by stage.
    device : str
        Device of the evaluation.
    held : int
        Number of test windows that are not scored.

    Raises
    ------
    CheckpointError
        A record of training is damaged.
    """
    stages: dict[str, Mapping[str, Any]] = {}
    versions: dict[str, str] = {}
    for name in history:
        path = Path(run) / "stages" / name / "config.json"
        if path.is_file():
            found = read_record(path, _STAGE, optional=_MORE, function="evaluate")
            stages[name] = found["config"]
            versions |= found.get("versions", {})
    return RunFacts(
        store,
        manifest,
        recipe,
        stages,
        {name: rows[-1]["epoch"] for name, rows in history.items() if rows},
        versions,
        environment(),
        _in_words(device),
        held,
    )


def read_config(run: str | Path, *, function: str) -> dict[str, Any] | None:
    """Read the configuration of a run; None for a run without a record of it.

    Raises
    ------
    CheckpointError
        The record is damaged.
    """
    path = Path(run) / "config.json"
    if not path.is_file():
        return None
    return read_record(path, {"config": record_of({})}, function=function)["config"]


def parameter_count(model: Any) -> int:
    """Number of parameters of a module."""
    return sum(parameter.numel() for parameter in model.parameters())


def counted(number: int, noun: str) -> str:
    """Write a number and its noun, with an s for other numbers than one."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


_STAGE = {"config": record_of({})}
_MORE = {"versions": table_of(text)}


def _in_words(name: str) -> str:
    if torch.device(name).type == "cuda":
        return f"one {torch.cuda.get_device_name(name)}"
    return f"one thread of a CPU ({platform.machine()})" if name == "cpu" else name
