"""Training of the fMRI language model: the autoencoder, then the language model."""

from .autoencoder import CodedSeries, TextSide, start_codebook, train_vq
from .autoencoder_config import VQLosses, VQStageConfig, vq_preset
from .code_scores import CodeUsage, CodingScores, code_usage, coding_scores
from .series_loader import SeriesBatch, SeriesLoader

__all__ = [
    "CodeUsage",
    "CodedSeries",
    "CodingScores",
    "SeriesBatch",
    "SeriesLoader",
    "TextSide",
    "VQLosses",
    "VQStageConfig",
    "code_usage",
    "coding_scores",
    "start_codebook",
    "train_vq",
    "vq_preset",
]
