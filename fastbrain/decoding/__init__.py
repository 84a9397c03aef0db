"""From brain windows to text: generation and scoring through a causal language model."""

from .answers import NumberGuess, answer_odds, guess_number
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
    "NumberGuess",
    "Sampling",
    "SavedBrainLLM",
    "Story",
    "StorySearch",
    "answer_odds",
    "decode_windows",
    "generate",
    "guess_number",
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
