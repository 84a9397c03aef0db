"""From brain windows to text: generation and scoring through a causal language model."""

from .batch import mean_nll, score_matrix, score_pairs
from .encoded import EncodedSearch, reconstruct_encoded
from .engine import Generation, generate
from .sampling import Sampling
from .steered import score_steered
from .story import Story, StorySearch, reconstruct, story_search
from .windows import Decoded, decode_windows, score_texts, token_saliency

__all__ = [
    "Decoded",
    "EncodedSearch",
    "Generation",
    "Sampling",
    "Story",
    "StorySearch",
    "decode_windows",
    "generate",
    "mean_nll",
    "reconstruct",
    "reconstruct_encoded",
    "score_matrix",
    "score_pairs",
    "score_steered",
    "score_texts",
    "story_search",
    "token_saliency",
]
