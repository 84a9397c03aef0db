"""From brain windows to text: generation and scoring through a causal language model."""

from .batch import mean_nll, score_matrix, score_pairs
from .brainfiles import BrainLLMCard, SavedBrainLLM, load_brainllm, save_brainllm
from .encoded import EncodedSearch, reconstruct_encoded
from .engine import Generation, generate
from .sampling import Sampling
from .steered import score_steered
from .story import Story, StorySearch, reconstruct, story_search
from .windows import Decoded, decode_windows, score_texts, token_saliency

__all__ = [
    "BrainLLMCard",
    "Decoded",
    "EncodedSearch",
    "Generation",
    "Sampling",
    "SavedBrainLLM",
    "Story",
    "StorySearch",
    "decode_windows",
    "generate",
    "load_brainllm",
    "mean_nll",
    "reconstruct",
    "reconstruct_encoded",
    "save_brainllm",
    "score_matrix",
    "score_pairs",
    "score_steered",
    "score_texts",
    "story_search",
    "token_saliency",
]
