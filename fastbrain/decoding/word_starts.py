"""Tokens that begin a word, for counting words during generation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..errors import InputError

_MARKERS = ("Ġ", "▁")  # word-start markers of byte-level and SentencePiece tokenizers


class WordStarts:
    """Divides the vocabulary of a tokenizer into tokens that begin and tokens that continue a word.

    Parameters
    ----------
    tokenizer : PreTrainedTokenizer
    llm : PreTrainedModel
        Its output layer may have more rows than the tokenizer has tokens.
    device : torch.device

    Raises
    ------
    InputError
        No token begins a word.
    """

    def __init__(self, tokenizer: Any, llm: Any, device: torch.device) -> None:
        size = len(llm.get_output_embeddings().weight)
        names = tokenizer.convert_ids_to_tokens(list(range(min(size, len(tokenizer)))))
        special = set(tokenizer.all_special_ids)
        marked = next((m for m in _MARKERS if any(str(n).startswith(m) for n in names)), None)
        begins, allowed = [False] * size, [False] * size
        for token, name in enumerate(names):
            if name is None or token in special:
                continue
            allowed[token] = True
            spoken = any(c.isalnum() for c in name.lstrip("".join(_MARKERS)))
            first = name.startswith(marked) if marked else not name.startswith("##")
            begins[token] = spoken and first
        self._begins = begins
        self._start = torch.tensor(begins, device=device)
        self._goes_on = torch.tensor(allowed, device=device) & ~self._start
        self._never = ~torch.tensor(allowed, device=device)
        if not any(begins):
            raise InputError("WordStarts: a token must begin a word, got a tokenizer without any.")

    def begins(self, token: int) -> bool:
        """Return whether a token begins a word."""
        return self._begins[token]

    def beginnings(self, logits: Tensor) -> Tensor:
        """Softmax (R, V) over the tokens that begin a word; all others have probability 0."""
        return torch.softmax(logits.float().masked_fill(~self._start, -torch.inf), dim=-1)

    def proposals(
        self, logits: Tensor, last: Tensor, fresh: Tensor, count: int
    ) -> tuple[list[float], list[list[float]], list[list[int]]]:
        """Propose next tokens, in order of decreasing probability.

        Parameters
        ----------
        logits : Tensor, (R, V)
        last : Tensor, (R,) bool
            Whether the current word is the last one, so that no new word may begin.
        fresh : Tensor, (R,) bool
            Whether the next token must begin a word.
        count : int

        Returns
        -------
        ends : list of float, (R,)
            Log probability that the current word is complete.
        values : list of list of float, (R, count)
            Log probabilities; minus infinity if there are fewer proposals.
        ids : list of list of int, (R, count)
        """
        log_p = torch.log_softmax(logits, dim=-1)
        ends = log_p.new_zeros(len(log_p))
        if bool(last.any()):
            # a token that neither begins nor continues a word (an end token) also ends the word
            ends = log_p.masked_fill(self._goes_on, -torch.inf).logsumexp(dim=-1)
            ends[fresh & last] = 0.0
        barred = (fresh[:, None] & self._goes_on) | (last[:, None] & self._start)
        allowed = log_p.masked_fill(barred | self._never, -torch.inf)
        values, ids = allowed.topk(min(count, log_p.shape[1]), dim=-1)
        return ends.tolist(), values.tolist(), ids.tolist()
