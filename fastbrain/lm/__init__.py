"""Causal language models: loading, likelihoods, shared prompts, vocabularies, small models."""

from .code_vocabulary import CodeVocabulary, extend_vocabulary
from .digit_tokens import DigitTokens
from .loading import attention_choice, llm_fingerprint, load_llm, padding_note
from .mixed_sequence import (
    MixedSequence,
    continue_codes,
    interleave,
    mixed_loss,
    mixed_nll,
    stair_step_mask,
)
from .prompt_layout import PromptLayout, prompt_layout
from .shared_prompt import SharedPrompt
from .tokenization import encode_answers, encode_context, encode_continuations, encode_prompts
from .vector_lm import vector_llm
from .word_lm import small_llm

__all__ = [
    "CodeVocabulary",
    "DigitTokens",
    "MixedSequence",
    "PromptLayout",
    "SharedPrompt",
    "attention_choice",
    "continue_codes",
    "encode_answers",
    "encode_context",
    "encode_continuations",
    "encode_prompts",
    "extend_vocabulary",
    "interleave",
    "llm_fingerprint",
    "load_llm",
    "mixed_loss",
    "mixed_nll",
    "padding_note",
    "prompt_layout",
    "small_llm",
    "stair_step_mask",
    "vector_llm",
]
