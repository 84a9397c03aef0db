"""Inputs of the video branch: frames of clips, or tokens of a frozen frame encoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...data.leaks.pretraining_scans import scans_beside
from ...data.readers.clips import read_clip
from ...data.store.members import AnyStore
from ...errors import ConfigError, some
from ..config import LLM4BrainConfig
from ..model import LLM4Brain
from ..published_weights import load_scmbm
from ..qformer_weights import load_video_branch
from ..vision_model import VisionModelFrames
from .clip_loader import Frames
from .frame_features import FrameFeatures
from .run_config import RunConfig


def fitted_to(sizes: LLM4BrainConfig, vision: VisionModelFrames | None) -> LLM4BrainConfig:
    """Set the frame size in `sizes` to the input size of a vision model."""
    if vision is None:
        return sizes
    side = vision.size
    return replace(sizes, video=replace(sizes.video, size=side, patch=side))


def with_stimulus(store: AnyStore, config: RunConfig) -> RunConfig:
    """Return a copy of a configuration with the stimulus that its store allows.

    A configuration without a stimulus takes clips if the store has any, and texts otherwise.

    Raises
    ------
    ConfigError
        Clips are needed and a training or validation trial has none.
    """
    shown = (*store.split.train, *store.split.val)
    without = [trial for trial in shown if not store.by_id[trial].clip]
    kind = config.stimulus or ("text" if len(without) == len(shown) else "clips")
    if kind == "text":
        return replace(config, stimulus=kind, video=None)
    if without:
        raise ConfigError(
            f"train: stimulus must be 'text' unless every trial has a clip, got {len(without)} of "
            f"{len(shown)} trials without one: {some(without, 3)}. Use --stimulus text."
        )
    return replace(config, stimulus=kind)


def clip_frames(store: AnyStore, model: LLM4Brain, trial_ids: Sequence[str]) -> Frames:
    """Build a callable from trial id to frames, or to tokens of a frozen frame encoder.

    Parameters
    ----------
    store : VoxelStore or StoreCollection
    model : LLM4Brain
    trial_ids : sequence of str
        Trials with needed clips. Tokens of a frozen encoder are computed now unless they are in
        the cache.

    Raises
    ------
    StoreError, CohortError
        A clip is missing, or the first clip is not a video.
    """
    size = model.config.video
    clips = {trial: store.clip(trial) for trial in trial_ids}
    if isinstance(model.video, VisionModelFrames):
        features = FrameFeatures(model.video, clips.__getitem__, frames=size.frames, size=size.size)
        features.prepare(clips)
        return features
    read: dict[Path, Tensor] = {}

    def frames(trial: str) -> Tensor:
        clip = clips[trial]
        if clip not in read:
            read[clip] = torch.from_numpy(read_clip(clip, frames=size.frames, size=size.size))
        return read[clip]

    # read one clip now, so that a folder without videos fails before training
    frames(trial_ids[0])
    return frames


def load_weights(model: LLM4Brain, config: RunConfig) -> dict[str, Any]:
    """Load the published weights of a run configuration; return their manifest entries."""
    facts: dict[str, Any] = {}
    if config.encoder_weights is not None:
        loaded = load_scmbm(model.encoder, config.encoder_weights, tokenizer=model.tokenizer)
        known = scans_beside(config.encoder_weights) is not None
        facts["encoder_weights"] = asdict(loaded) | {"scans": "recorded" if known else "unknown"}
    if config.qformer_weights is not None:
        loaded = load_video_branch(model, config.qformer_weights, prefix=config.qformer_prefix)
        facts["qformer_weights"] = asdict(loaded)
    if isinstance(model.video, VisionModelFrames):
        own = model.video
        facts["vision_model"] = {
            "name": config.vision_model,
            "revision": own.revision,
            "digest": own.digest(),
        }
    return facts
