"""Alignment stages of LLM4Brain, one function each: calibrate, stage one, stage two.

Each function sets the trainable groups, builds its objective and runs the training loop. None
reads data files: windows come from a loader, targets from :class:`VideoLatents`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from ..._arguments import checked
from ...errors import ConfigError
from ...training.loop import fit
from ...training.run import History, Loader, Row
from ...training.validation import mean_validation
from ..grid_models import AnyModel
from .clip_loader import ClipLoader
from .latent_targets import VideoLatents
from .objectives import Calibration, PairedLoader, StageOne, StageTwo
from .presets import preset
from .pretraining import DEFAULT_PROMPTS, check_prompts
from .stage_config import LLM4BrainStage, findings


@checked
def calibrate(
    model: AnyModel,
    latents: VideoLatents,
    texts: Mapping[str, str],
    config: LLM4BrainStage | None = None,
    *,
    run_dir: str | Path,
    prompts: Sequence[str] = DEFAULT_PROMPTS,
    instructions: Mapping[str, str] | None = None,
    resume: bool = False,
    on_epoch: Callable[[Row], None] | None = None,
    record: Mapping[str, Any] | None = None,
) -> History:
    """Tune the projection on out-of-fold predictions of the readout (stacked generalisation).

    In-sample predictions are far more accurate than those for a new run; a projection tuned on them
    gives the brain too much weight. Wolpert, "Stacked generalization", Neural Networks 1992.

    Parameters
    ----------
    model : LLM4Brain or GridModels
    latents : VideoLatents
        Out-of-fold predictions: ``fit_readout(...).latents``.
    texts : mapping of str to str
        Text by trial id.
    config : LLM4BrainStage, optional
        Default ``preset("calibrate")``.
    run_dir : str or Path
    prompts : sequence of str
    instructions : mapping of str to str, optional
        Instruction by trial id, which replaces the random prompt from `prompts`.
    resume : bool
    on_epoch, record
        See :func:`fastbrain.training.fit`.

    Returns
    -------
    History
    """
    config = config or preset("calibrate")
    check_prompts(prompts)
    model.set_trainable(config.groups)

    def predicted(trial: str) -> Tensor:
        return latents.latents[latents.rows[trial]]

    loader = ClipLoader(texts, predicted, batch_size=config.batch_size, seed=config.seed)
    objective = Calibration(model, config, prompts, instructions)
    return fit(
        objective, loader, config, run_dir=run_dir, resume=resume, on_epoch=on_epoch, record=record
    )


@checked
def stage_one(
    model: AnyModel,
    loader: Loader,
    targets: VideoLatents,
    config: LLM4BrainStage | None = None,
    *,
    run_dir: str | Path,
    resume: bool = False,
    val_loader: Loader | None = None,
    on_epoch: Callable[[Row], None] | None = None,
    record: Mapping[str, Any] | None = None,
) -> History:
    """Align fMRI latents Z with video latents X (LLM4Brain, section 3.2, stage I).

    Parameters
    ----------
    model : LLM4Brain or GridModels
    loader : Loader
    targets : VideoLatents
        From :func:`video_targets`; must contain the trials of `loader` and `val_loader`.
    config : LLM4BrainStage, optional
        Default ``preset("stage1")``.
    run_dir : str or Path
    resume : bool
    val_loader : Loader, optional
    on_epoch, record
        See :func:`fastbrain.training.fit`.

    Returns
    -------
    History
    """
    config = config or preset("stage1")
    model.set_trainable(config.groups)
    objective = StageOne(model, config, targets)
    return fit(
        objective,
        loader,
        config,
        run_dir=run_dir,
        resume=resume,
        validate=mean_validation(objective, val_loader),
        on_epoch=on_epoch,
        record=record,
    )


@checked(error=ConfigError)
def stage_two(
    model: AnyModel,
    loader: Loader,
    config: LLM4BrainStage | None = None,
    *,
    run_dir: str | Path,
    prompts: Sequence[str] = DEFAULT_PROMPTS,
    instructions: Mapping[str, str] | None = None,
    answers: Mapping[str, str] | None = None,
    labels: Mapping[str, int] | None = None,
    target_loader: Loader | None = None,
    n_target: int = 0,
    val_loader: Loader | None = None,
    resume: bool = False,
    on_epoch: Callable[[Row], None] | None = None,
    record: Mapping[str, Any] | None = None,
) -> History:
    """Tune on answers and adapt to unlabelled target subjects (LLM4Brain, section 3.2, stage II).

    With `target_loader` the result is transductive and must be reported as transductive. Without
    it, the result is the inductive baseline.

    Parameters
    ----------
    model : LLM4Brain or GridModels
    loader : Loader
        Source windows.
    config : LLM4BrainStage, optional
        Default ``preset("stage2")``.
    run_dir : str or Path
    prompts : sequence of str
        One is drawn at random for each sample.
    instructions : mapping of str to str, optional
        Instruction by trial id, which replaces the random prompt from `prompts`.
    answers : mapping of str to str, optional
        Answer text by trial id; default: the texts of the trials.
    labels : mapping of str to int, optional
        Class of each source trial.
    target_loader : Loader, optional
        Windows of target subjects, disjoint from the scored windows. Their texts are not read.
    n_target : int
        Number of trials of `target_loader`. Ignored if the loader has `trial_ids`.
    val_loader : Loader, optional
    resume : bool
    on_epoch, record
        See :func:`fastbrain.training.fit`.

    Returns
    -------
    History

    Raises
    ------
    ConfigError
        No loss would train the prototypes, a class is out of range, or adaptation has no classes
        or no target trials.
    """
    config = config or preset("stage2")
    check_prompts(prompts)
    classes = model.first.config.n_classes
    if "prototypes" in config.groups and target_loader is None and labels is None:
        raise ConfigError(
            "stage_two: group 'prototypes' must have labels or a target_loader to learn from, got "
            "neither. Pass one, or leave the group out."
        )
    if labels is not None and not all(0 <= c < classes for c in labels.values()):
        raise ConfigError(f"stage_two: labels must be in [0, {classes}), got one outside.")
    if target_loader is not None:
        n_target = len(getattr(target_loader, "trial_ids", ())) or n_target
        if not classes or not n_target or not len(target_loader):
            raise ConfigError(
                f"stage_two: adaptation must have classes and target trials, got {classes} and "
                f"{n_target}. Set n_classes of the model."
            )
        for finding in findings(config.losses, classes):
            warnings.warn(f"stage_two: {finding}", stacklevel=2)
    model.set_trainable(config.groups)
    objective = StageTwo(
        model,
        config,
        prompts=prompts,
        instructions=instructions,
        answers=answers,
        labels=labels,
        n_target=n_target if target_loader is not None else 0,
    )
    return fit(
        objective,
        loader if target_loader is None else PairedLoader(loader, target_loader),
        config,
        run_dir=run_dir,
        resume=resume,
        validate=mean_validation(objective, val_loader),
        best="answer_loss",
        on_epoch=on_epoch,
        record=record,
    )
