"""From brain windows to text: generation and scoring through a causal language model."""

from .batch import mean_nll, score_matrix, score_pairs
from .engine import Generation, generate
from .sampling import Sampling
from .steered import score_steered
from .windows import Decoded, decode_windows, score_texts, token_saliency

__all__ = [
    "Decoded",
    "Generation",
    "Sampling",
    "decode_windows",
    "generate",
    "mean_nll",
    "score_matrix",
    "score_pairs",
    "score_steered",
    "score_texts",
    "token_saliency",
]
