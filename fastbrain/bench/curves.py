"""Learning curves: training and validation loss of every stage of several runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .._runfiles import read_log
from ..errors import InputError
from .drawing import COLOURS, MARKERS, pyplot, saved
from .figures import Figure

LOG = "log.jsonl"
# in the order of training; a stage of another name comes after them
_STAGES = "pretrain video calibrate warmup stage1 stage2 tune vq llm adapt".split()
_WIDTH_IN, _STAGE_IN = 8.2, 2.6
_MOST_MARKS = 12

Stages = Mapping[str, Sequence[Mapping[str, Any]]]


def learning_curves(runs: Sequence[Path]) -> Figure:
    """Draw the losses of runs against the step, one panel for each stage.

    Parameters
    ----------
    runs : sequence of Path
        Run folders of any system, or folders of a stage.

    Returns
    -------
    Figure

    Raises
    ------
    InputError
        A folder has no training log or a log no loss, there are more runs than colours, or one is
        named twice.
    CheckpointError
        A log is damaged.
    MissingPartError
        matplotlib is not installed.
    """
    if not 1 <= len(runs) <= len(COLOURS):
        raise InputError(
            f"bench plot: runs must be 1 to {len(COLOURS)}, which have colours of their own, got "
            f"{len(runs)}. Draw several pictures."
        )
    if len({run.resolve() for run in runs}) < len(runs):
        raise InputError("bench plot: runs must be different folders, got one of them twice.")
    names = [run.resolve().name for run in runs]
    found = {
        name if names.count(name) == 1 else str(run): stages_of(run)
        for name, run in zip(names, runs, strict=True)
    }
    return Figure("learning", "", "Loss against step", learning_plot(found))


def stages_of(run: Path) -> dict[str, list[dict[str, Any]]]:
    """Read the training logs of a run, by stage, in the order of training.

    Raises
    ------
    InputError
        There is no log, or one without losses.
    CheckpointError
        A log is damaged.
    """
    logs = {log.parent.name: log for log in (*run.glob(f"*/{LOG}"), *run.glob(f"stages/*/{LOG}"))}
    if (run / LOG).is_file():
        logs[run.resolve().name] = run / LOG
    if not logs:
        raise InputError(
            f"bench plot: {run} must hold {LOG} of a training stage, got none. Name the folder "
            "that fastbrain train wrote."
        )
    known = {name: place for place, name in enumerate(_STAGES)}
    stages = {}
    for name in sorted(logs, key=lambda stage: (known.get(stage, len(known)), stage)):
        stages[name] = read_log(logs[name], function="bench plot")
        if not any(isinstance(row.get("loss"), int | float) for row in stages[name]):
            raise InputError(
                f"bench plot: {logs[name]} must hold the loss of an epoch, got none. Train on, or "
                "leave the run out."
            )
    return stages


def learning_plot(runs: Mapping[str, Stages]) -> bytes:
    """Draw the losses of runs.

    Parameters
    ----------
    runs : mapping
        Name of a run to its stages, each with rows of ``step``, ``loss`` and, where the epoch was
        validated, ``val_loss``.

    Returns
    -------
    bytes
        SVG.

    Raises
    ------
    MissingPartError
        matplotlib is not installed.
    """
    stages = list(dict.fromkeys(name for run in runs.values() for name in run))
    with pyplot("learning_plot") as plt:
        size = (_WIDTH_IN, 0.9 + _STAGE_IN * len(stages))
        figure, panels = plt.subplots(
            len(stages), squeeze=False, figsize=size, layout="constrained"
        )
        for axes, stage in zip(panels[:, 0], stages, strict=True):
            for (run, own), colour, marker in zip(runs.items(), COLOURS, MARKERS, strict=False):
                for key, line, fill in (("loss", "-", colour), ("val_loss", "--", "white")):
                    points = _points(own.get(stage, ()), key)
                    axes.plot(
                        *points,
                        line,
                        color=colour,
                        marker=marker,
                        markersize=4.5,
                        markerfacecolor=fill,
                        markevery=max(1, len(points[0]) // _MOST_MARKS),
                        linewidth=1.4,
                        label=run if (key, stage) == ("loss", stages[0]) else None,
                    )
            axes.set_title(stage, loc="left", fontsize=9, fontweight="bold")
            axes.set_ylabel("loss")
            axes.grid(color="0.92", zorder=0)
            axes.set_axisbelow(True)
        axes.set_xlabel("step")
        for style, said in (("-", "training, mean of an epoch"), ("--", "validation")):
            fill = "0.3" if style == "-" else "white"
            axes.plot([], [], style, marker="o", color="0.3", markersize=4.5,
                      markerfacecolor=fill, label=said)  # fmt: skip
        figure.legend(loc="outside upper left", ncols=4, frameon=False, fontsize=8)
        return saved(plt, figure)


def _points(rows: Sequence[Mapping[str, Any]], key: str) -> tuple[list[int], list[float]]:
    """Steps and values; an epoch without the value, or with one that is not finite, has none."""
    held = [(row["step"], row[key]) for row in rows if isinstance(row.get(key), int | float)]
    return [step for step, _ in held], [value for _, value in held]
