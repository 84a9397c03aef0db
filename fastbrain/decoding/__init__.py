"""From prefix embeddings to text: generation and scoring through a causal language model."""

from .engine import Generation, generate
from .sampling import Sampling
from .batch import score_matrix

__all__ = ["Generation", "Sampling", "generate", "score_matrix"]
