"""Tokens that end a text or separate documents."""

from __future__ import annotations

from typing import Any

# names of the token between two documents of pretraining, in common vocabularies
_SEPARATORS = ("<|endoftext|>", "<|end_of_text|>", "<eod>")


def document_separator(tokenizer: Any) -> int | None:
    """Return the token between two documents of pretraining; None if the vocabulary has none."""
    find = getattr(tokenizer, "convert_tokens_to_ids", None)
    if find is None:
        return None
    for name in _SEPARATORS:
        token = find(name)
        # a name that is not in the vocabulary may be given the unknown token
        if token is not None and tokenizer.convert_ids_to_tokens(token) == name:
            return int(token)
    return None


def end_tokens_of(tokenizer: Any, llm: Any) -> list[int] | None:
    """Collect the end token of a tokenizer and further special end tokens of its language model.

    Chat models end a turn and a document with different tokens. The generation config may list
    both; the separator of documents is one even where it does not. Only special tokens are taken
    from the generation config: a model without its own has the defaults of its architecture, which
    may be the id of a word.
    """
    listed = getattr(getattr(llm, "generation_config", None), "eos_token_id", None)
    listed = listed if isinstance(listed, (list, tuple)) else [listed]
    special = set(tokenizer.all_special_ids)
    found = [tokenizer.eos_token_id, *(one for one in listed if one in special)]
    found.append(document_separator(tokenizer))
    return [one for one in dict.fromkeys(found) if one is not None] or None
