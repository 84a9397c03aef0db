"""Stages before alignment: pretraining of the fMRI encoder and of the video branch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..._arguments import checked
from ...errors import ConfigError
from ...training.loop import fit
from ...training.run import History, Loader, Row
from ...training.validation import mean_validation
from ..grid_encoders import GridEncoders
from ..grid_models import AnyModel, GridModels
from ..standalone_encoder import BrainEncoder
from .clip_loader import ClipLoader, Frames
from .grid_voxels import MaskedGridVoxels
from .objectives import Captions, MaskedVoxels
from .presets import preset
from .stage_config import LLM4BrainStage

DEFAULT_PROMPTS = ("What happens in the video?",)


@checked
def pretrain_scmbm(
    model: BrainEncoder | AnyModel | GridEncoders,
    loader: Loader,
    config: LLM4BrainStage | None = None,
    *,
    run_dir: str | Path,
    resume: bool = False,
    val_loader: Loader | None = None,
    on_epoch: Callable[[Row], None] | None = None,
    record: Mapping[str, Any] | None = None,
) -> History:
    """Pretrain tokenizer and encoder by masked autoencoding (SC-MBM).

    Parameters
    ----------
    model : BrainEncoder, LLM4Brain, GridEncoders or GridModels
    loader : Loader
        Windows of training runs; for several grids those of a collection of stores.
    config : LLM4BrainStage, optional
        Default ``preset("pretrain")``.
    run_dir : str or Path
    resume : bool
    val_loader : Loader, optional
    on_epoch, record
        See :func:`fastbrain.training.fit`.

    Returns
    -------
    History
    """
    config = config or preset("pretrain")
    model.set_trainable(config.groups)
    objective = (
        MaskedGridVoxels(model, config)
        if isinstance(model, GridEncoders | GridModels)
        else MaskedVoxels(model, config)
    )
    history = fit(
        objective,
        loader,
        config,
        run_dir=run_dir,
        resume=resume,
        validate=mean_validation(objective, val_loader),
        on_epoch=on_epoch,
        record=record,
    )
    model.eval()  # the objective contains parts of the model, not the model itself
    return history


@checked
def pretrain_video(
    model: AnyModel,
    texts: Mapping[str, str],
    frames: Frames,
    config: LLM4BrainStage | None = None,
    *,
    run_dir: str | Path,
    prompts: Sequence[str] = DEFAULT_PROMPTS,
    instructions: Mapping[str, str] | None = None,
    val_texts: Mapping[str, str] | None = None,
    resume: bool = False,
    on_epoch: Callable[[Row], None] | None = None,
    record: Mapping[str, Any] | None = None,
) -> History:
    """Train the video branch to caption clips through the frozen LLM.

    This replaces the training of Video-LLaMA if no pretrained video model is available. Pass clips
    of the training part only.

    Parameters
    ----------
    model : LLM4Brain or GridModels
    texts : mapping of str to str
        Caption by trial id.
    frames : callable
        Trial id to frames (T, 3, H, W) float in [0, 1].
    config : LLM4BrainStage, optional
        Default ``preset("video")``.
    run_dir : str or Path
    prompts : sequence of str
    instructions : mapping of str to str, optional
        Instruction by trial id, which replaces the random prompt from `prompts`.
    val_texts : mapping of str to str, optional
    resume : bool
    on_epoch, record
        See :func:`fastbrain.training.fit`.

    Returns
    -------
    History
    """
    config = config or preset("video")
    check_prompts(prompts)
    model.set_trainable(config.groups)
    size = config.batch_size
    loader = ClipLoader(texts, frames, batch_size=size, seed=config.seed)
    val = ClipLoader(val_texts, frames, batch_size=size, shuffle=False) if val_texts else None
    objective = Captions(model, config, prompts, instructions)
    return fit(
        objective,
        loader,
        config,
        run_dir=run_dir,
        resume=resume,
        validate=mean_validation(objective, val),
        on_epoch=on_epoch,
        record=record,
    )


def check_prompts(prompts: Sequence[str]) -> None:
    """Raise an error unless the prompts are a sequence of non-empty texts."""
    if isinstance(prompts, str) or not prompts or not all(p.strip() for p in prompts):
        raise ConfigError(
            f"prompts: must be a sequence of non-empty texts, got {prompts!r}. "
            "A single prompt is ('...',)."
        )
