"""Training: configuration, the training loop, and checkpoints that resume exactly."""

from .checkpoint import Checkpoint, latest_checkpoint, load_checkpoint, save_checkpoint
from .config import OptimConfig, StageConfig
from .loop import Objective, fit
from .resumable import ResumableLoader
from .run import History, Loader

__all__ = [
    "Checkpoint",
    "History",
    "Loader",
    "Objective",
    "OptimConfig",
    "ResumableLoader",
    "StageConfig",
    "fit",
    "latest_checkpoint",
    "load_checkpoint",
    "save_checkpoint",
]
