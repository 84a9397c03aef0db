"""Text generation and scoring with a causal language model, given brain prefixes."""

from .bias_scoring import score_steered
from .closed_set import ClosedSetEvidence, fit_closed_set
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
from .mixture import MixtureDecoder
from .mixture_fit import fit_mixture
from .mixture_parts import MixtureBrains, MixtureWeights
from .sampling import Sampling
from .scoring import mean_nll, score_matrix, score_pairs
from .sentences import (
    Candidates,
    LineWriter,
    SentenceDecoder,
    SentenceEvidence,
    SentenceReadout,
    SentenceWriting,
    fit_evidence,
    fit_sentence_decoder,
    fit_sentence_readout,
    load_sentence_decoder,
)
from .story import Story

__all__ = [
    "Candidates",
    "ClosedSetEvidence",
    "Constraint",
    "DecodeEngine",
    "EngineResult",
    "Generation",
    "Grammar",
    "LineWriter",
    "MixtureBrains",
    "MixtureDecoder",
    "MixtureWeights",
    "NumberGuess",
    "PhraseList",
    "Prefix",
    "Sampling",
    "SentenceDecoder",
    "SentenceEvidence",
    "SentenceReadout",
    "SentenceWriting",
    "Story",
    "TokenEvent",
    "answer_odds",
    "fit_closed_set",
    "fit_evidence",
    "fit_mixture",
    "fit_sentence_decoder",
    "fit_sentence_readout",
    "generate",
    "guess_number",
    "load_sentence_decoder",
    "mean_nll",
    "score_matrix",
    "score_pairs",
    "score_steered",
]
