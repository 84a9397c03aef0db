"""Training: configuration, the training loop, and checkpoints that resume exactly."""

from .checkpoint import Checkpoint, latest_checkpoint, load_checkpoint, save_checkpoint
from .config import (
    LossConfig,
    OptimConfig,
    StageConfig,
    entropy_threshold,
    findings,
    reachable_entropy_minimum,
)
from .loop import Objective, fit
from .run import History, Loader

__all__ = [
    "Checkpoint",
    "History",
    "Loader",
    "LossConfig",
    "Objective",
    "OptimConfig",
    "StageConfig",
    "entropy_threshold",
    "findings",
    "fit",
    "latest_checkpoint",
    "load_checkpoint",
    "reachable_entropy_minimum",
    "save_checkpoint",
]
