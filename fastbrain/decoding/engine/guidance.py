"""Constraints by a regular expression or a grammar, computed by llguidance."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..._arguments import checked
from ...errors import InputError, MissingPartError


class Grammar:
    """The text must match a regular expression or a context-free grammar.

    Parameters
    ----------
    tokenizer : PreTrainedTokenizerFast
    regex : str, optional
        Regular expression of the whole text, in the syntax of Rust's ``regex`` without look-around.
    lark : str, optional
        Grammar in the syntax of Lark, with the rule ``start``.
    vocabulary : int, optional
        Number of logits of the model; default: that of the tokenizer. Tokens that the model lacks
        are not allowed.

    Raises
    ------
    MissingPartError
        llguidance is not installed.
    InputError
        Not exactly one of `regex` and `lark` is given, it cannot be read, or the tokenizer is not a
        fast one.
    """

    @checked
    def __init__(
        self,
        tokenizer: Any,
        *,
        regex: str | None = None,
        lark: str | None = None,
        vocabulary: int | None = None,
    ) -> None:
        if (regex is None) == (lark is None):
            raise InputError(
                "Grammar: exactly one of regex and lark must be given, got both or none."
            )
        self._known = torch.iinfo(torch.int64).max if vocabulary is None else vocabulary
        try:
            import llguidance
            import llguidance.hf
        except ImportError as error:
            raise MissingPartError(
                "Grammar: llguidance must be installed. "
                "Run: pip install 'fastbrain-fmri[constrained]'."
            ) from error
        try:
            # llguidance reads no fewer tokens than the tokenizer has
            size = None if vocabulary is None else max(vocabulary, len(tokenizer))
            self._vocabulary = llguidance.hf.from_tokenizer(tokenizer, n_vocab=size)
        except Exception as error:
            raise InputError(
                "Grammar: tokenizer must be a fast tokenizer of transformers that llguidance "
                f"reads, got {type(tokenizer).__name__} ({error})."
            ) from error
        if regex is not None:
            self._grammar = llguidance.LLMatcher.grammar_from_regex(regex)
        else:
            self._grammar = llguidance.LLMatcher.grammar_from_lark(lark or "")
        self._root = llguidance.LLMatcher(self._vocabulary, self._grammar)
        if self._root.is_error():
            raise InputError(
                f"Grammar: {'regex' if regex is not None else 'lark'} must be readable, got: "
                f"{self._root.get_error()}"
            )

    def start(self) -> Any:
        """State of the empty text."""
        return self._root.deep_copy()

    def allowed(self, state: Any) -> Tensor:
        """Tokens (n,) int64 that may follow, without end tokens."""
        if state.is_stopped():
            return torch.empty(0, dtype=torch.int64, device="cpu")
        mask = torch.frombuffer(bytearray(state.compute_bitmask()), dtype=torch.uint8)
        bits = (mask[:, None] >> torch.arange(8, device="cpu")) & 1
        ids = bits.flatten().nonzero()[:, 0]
        return ids[(ids != self._vocabulary.eos_token) & (ids < self._known)]

    def advance(self, state: Any, token: int) -> Any:
        """State after one allowed token."""
        after = state.deep_copy()
        after.consume_token(token)
        return after

    def complete(self, state: Any) -> bool:
        """Whether the text may end here."""
        return bool(state.is_accepting())
