"""From brain windows to text: generation and scoring through a causal language model."""

from .batch import score_matrix
from .engine import Generation, generate
from .sampling import Sampling
from .windows import Decoded, decode_windows, score_texts, token_saliency

__all__ = [
    "Decoded",
    "Generation",
    "Sampling",
    "decode_windows",
    "generate",
    "score_matrix",
    "score_texts",
    "token_saliency",
]
