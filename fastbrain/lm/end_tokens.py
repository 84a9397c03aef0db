"""End tokens of a language model."""

from __future__ import annotations

from typing import Any


def end_tokens_of(tokenizer: Any, llm: Any) -> list[int] | None:
    """Collect the end token of a tokenizer and further special end tokens of its language model.

    Chat models end a turn and a document with different tokens and list both in their generation
    config. Only special tokens are taken from it: without its own generation config, a model has
    the defaults of its architecture, which may be the id of a word.
    """
    listed = getattr(getattr(llm, "generation_config", None), "eos_token_id", None)
    listed = listed if isinstance(listed, (list, tuple)) else [listed]
    special = set(tokenizer.all_special_ids)
    found = [tokenizer.eos_token_id, *(one for one in listed if one in special)]
    return [one for one in dict.fromkeys(found) if one is not None] or None
