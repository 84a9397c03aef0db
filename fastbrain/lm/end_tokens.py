"""Which tokens end what a language model says."""

from __future__ import annotations

from typing import Any


def end_tokens_of(tokenizer: Any, llm: Any) -> list[int] | None:
    """End token of a tokenizer, and the special tokens that its language model also ends with.

    Chat models end a turn with another token than a document; both are listed in their generation
    settings. Only special tokens are taken from there: a model that was never given settings of
    its own has those of its architecture, which may name a word.
    """
    listed = getattr(getattr(llm, "generation_config", None), "eos_token_id", None)
    listed = listed if isinstance(listed, (list, tuple)) else [listed]
    special = set(tokenizer.all_special_ids)
    found = [tokenizer.eos_token_id, *(one for one in listed if one in special)]
    return [one for one in dict.fromkeys(found) if one is not None] or None
