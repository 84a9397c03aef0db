"""Training: configuration, the training loop, and checkpoints that resume exactly."""

from .checkpoint import Checkpoint, latest_checkpoint, load_checkpoint, save_checkpoint
from .config import OptimConfig, StageConfig
from .loop import Objective, fit
from .mixing import MixedLoader
from .resumable import ResumableLoader
from .run import History, Loader

__all__ = [
    "Checkpoint",
    "History",
    "Loader",
    "MixedLoader",
    "Objective",
    "OptimConfig",
    "ResumableLoader",
    "StageConfig",
    "fit",
    "latest_checkpoint",
    "load_checkpoint",
    "save_checkpoint",
]
