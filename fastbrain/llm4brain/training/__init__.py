"""Training of LLM4Brain: SC-MBM, alignment with video, instruction tuning, few-shot adaptation."""

from .adaptation_target import audit_run, split_target
from .clip_loader import ClipBatch, ClipLoader
from .few_shot import FewShot, adapt, plan_few_shot
from .fit_readout import ReadoutFit, fit_readout
from .latent_targets import VideoLatents, text_targets, video_targets
from .losses import alignment_loss, clip_loss
from .objectives import Captions, MaskedVoxels, PairedLoader, StageOne, StageTwo
from .pipeline import build_model, train_llm4brain
from .presets import preset
from .pretraining import DEFAULT_PROMPTS, pretrain_scmbm, pretrain_video
from .run_config import RunConfig
from .stage_config import (
    LLM4BrainStage,
    LossConfig,
    entropy_threshold,
    findings,
    reachable_entropy_minimum,
)
from .stages import calibrate, stage_one, stage_two

__all__ = [
    "DEFAULT_PROMPTS",
    "Captions",
    "ClipBatch",
    "ClipLoader",
    "FewShot",
    "LLM4BrainStage",
    "LossConfig",
    "MaskedVoxels",
    "PairedLoader",
    "ReadoutFit",
    "RunConfig",
    "StageOne",
    "StageTwo",
    "VideoLatents",
    "adapt",
    "alignment_loss",
    "audit_run",
    "build_model",
    "calibrate",
    "clip_loss",
    "entropy_threshold",
    "findings",
    "fit_readout",
    "plan_few_shot",
    "preset",
    "pretrain_scmbm",
    "pretrain_video",
    "reachable_entropy_minimum",
    "split_target",
    "stage_one",
    "stage_two",
    "text_targets",
    "train_llm4brain",
    "video_targets",
]
