"""Training: configuration, one loop, one function a stage, checkpoints that resume exactly."""

from .brainllm import PromptTuning, WarmUp, train_brainllm
from .brainpresets import BrainLLMTraining, brainllm_preset
from .brainrun import BrainRunConfig, audit_brainllm, train_brainllm_run
from .braintexts import BrainTextLoader, BrainTexts
from .checkpoint import (
    Checkpoint,
    latest_checkpoint,
    load_checkpoint,
    save_checkpoint,
)
from .claim import audit_run, split_target
from .clips import ClipBatch, ClipLoader
from .config import (
    LossConfig,
    OptimConfig,
    StageConfig,
    entropy_threshold,
    findings,
    reachable_entropy_minimum,
)
from .fewshot import FewShot, adapt, plan_few_shot
from .loop import Objective, fit
from .losses import alignment_loss, clip_loss
from .objectives import (
    Captions,
    MaskedVoxels,
    PairedLoader,
    StageOne,
    StageTwo,
)
from .pipeline import build_model, train_llm4brain
from .presets import preset
from .pretraining import DEFAULT_PROMPTS, pretrain_scmbm, pretrain_video
from .readout import ReadoutFit, fit_readout
from .recipes import calibrate, stage_one, stage_two
from .run import History, Loader
from .runconfig import RunConfig
from .series import SeriesBatch, SeriesLoader
from .steering import SteeringFit, fit_steering
from .targets import VideoLatents, text_targets, video_targets
from .vq import (
    CodedSeries,
    TextSide,
    start_codebook,
    train_vq,
)
from .vq_config import VQLosses, VQStageConfig, vq_preset
from .vq_scores import (
    CodeUsage,
    CodingScores,
    code_usage,
    coding_scores,
)

__all__ = [
    "DEFAULT_PROMPTS",
    "BrainLLMTraining",
    "BrainRunConfig",
    "BrainTextLoader",
    "BrainTexts",
    "Captions",
    "Checkpoint",
    "ClipBatch",
    "ClipLoader",
    "CodeUsage",
    "CodedSeries",
    "CodingScores",
    "FewShot",
    "History",
    "Loader",
    "LossConfig",
    "MaskedVoxels",
    "Objective",
    "OptimConfig",
    "PairedLoader",
    "PromptTuning",
    "ReadoutFit",
    "RunConfig",
    "SeriesBatch",
    "SeriesLoader",
    "StageConfig",
    "StageOne",
    "StageTwo",
    "SteeringFit",
    "TextSide",
    "VQLosses",
    "VQStageConfig",
    "VideoLatents",
    "WarmUp",
    "adapt",
    "alignment_loss",
    "audit_brainllm",
    "audit_run",
    "brainllm_preset",
    "build_model",
    "calibrate",
    "clip_loss",
    "code_usage",
    "coding_scores",
    "entropy_threshold",
    "findings",
    "fit",
    "fit_readout",
    "fit_steering",
    "latest_checkpoint",
    "load_checkpoint",
    "plan_few_shot",
    "preset",
    "pretrain_scmbm",
    "pretrain_video",
    "reachable_entropy_minimum",
    "save_checkpoint",
    "split_target",
    "stage_one",
    "stage_two",
    "start_codebook",
    "text_targets",
    "train_brainllm",
    "train_brainllm_run",
    "train_llm4brain",
    "train_vq",
    "video_targets",
    "vq_preset",
]
