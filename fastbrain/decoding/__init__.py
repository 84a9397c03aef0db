"""Text generation and scoring with a causal language model, given brain prefixes."""

from .bias_scoring import score_steered
from .constrained import NumberGuess, answer_odds, guess_number
from .engine import (
    Constraint,
    DecodeEngine,
    EngineResult,
    Grammar,
    PhraseList,
    Prefix,
    TokenEvent,
)
from .generation import Generation, generate
from .sampling import Sampling
from .scoring import mean_nll, score_matrix, score_pairs
from .story import Story

__all__ = [
    "Constraint",
    "DecodeEngine",
    "EngineResult",
    "Generation",
    "Grammar",
    "NumberGuess",
    "PhraseList",
    "Prefix",
    "Sampling",
    "Story",
    "TokenEvent",
    "answer_odds",
    "generate",
    "guess_number",
    "mean_nll",
    "score_matrix",
    "score_pairs",
    "score_steered",
]
