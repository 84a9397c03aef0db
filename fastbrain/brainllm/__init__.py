"""BrainLLM (arXiv 2311.09889): decode brain volumes into prompt embeddings of a frozen LLM."""

from .config import BrainLLMConfig
from .controls import BrainLLMDecoder, BrainRows
from .decoder import brain_decoder
from .model import BrainLLM
from .saving import BrainLLMCard, SavedBrainLLM, load_brainllm, save_brainllm
from .story import StorySearch, reconstruct, story_search
from .word_rate import WordRate, fit_word_rate

__all__ = [
    "BrainLLM",
    "BrainLLMCard",
    "BrainLLMConfig",
    "BrainLLMDecoder",
    "BrainRows",
    "SavedBrainLLM",
    "StorySearch",
    "WordRate",
    "brain_decoder",
    "fit_word_rate",
    "load_brainllm",
    "reconstruct",
    "save_brainllm",
    "story_search",
]
