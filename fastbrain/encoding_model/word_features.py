"""Features of words: hidden states of a language model in a short context."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError
from ..lm.tokenization import word_ids


class WordFeatures:
    """Hidden states of words in a short context: the stimulus of an encoding model.

    Parameters
    ----------
    llm : PreTrainedModel
        Frozen.
    tokenizer : PreTrainedTokenizer
    layer : int
        Layer of the hidden states; 0 is the word vectors. Tang et al. use the ninth of twelve.
    context : int
        Number of words before each word (Tang et al.: 5).
    projection : Tensor, (d, D), optional
        Projection of every state, for instance on its leading directions over the training words.

    Raises
    ------
    InputError
        There is no such layer, or the context is negative.
    """

    def __init__(
        self,
        llm: Any,
        tokenizer: Any,
        *,
        layer: int,
        context: int = 5,
        projection: Tensor | None = None,
    ) -> None:
        depth = llm.config.num_hidden_layers
        if not (0 <= layer <= depth and context >= 0):
            raise InputError(
                f"WordFeatures: layer must be in [0, {depth}] and context >= 0, got {layer} and "
                f"{context}."
            )
        self.llm, self.tokenizer, self.layer, self.context = llm, tokenizer, layer, context
        self.projection = None if projection is None else projection.to(self.device)
        self._bos = [] if tokenizer.bos_token_id is None else [int(tokenizer.bos_token_id)]

    @property
    def device(self) -> torch.device:
        """Device of the language model."""
        found: torch.device = self.llm.get_input_embeddings().weight.device
        return found

    @torch.no_grad()
    def of(self, words: Sequence[str], *, batch_size: int = 64) -> Tensor:
        """Compute features (M, D) of consecutive words: the state of the last token of each."""
        ids = word_ids(self.tokenizer, words)
        rows = [
            [*self._bos, *(t for word in ids[max(0, i - self.context) : i + 1] for t in word)]
            for i in range(len(ids))
        ]
        found = []
        for start in range(0, len(rows), batch_size):
            part = [torch.tensor(row) for row in rows[start : start + batch_size]]
            # padding is at the end, where causal attention ignores it
            padded = torch.nn.utils.rnn.pad_sequence(part, batch_first=True).to(self.device)
            last = torch.tensor([len(row) - 1 for row in part], device=self.device)
            states = self._states(input_ids=padded)
            found.append(states[torch.arange(len(part), device=self.device), last])
        return torch.cat(found)

    @torch.no_grad()
    def after(self, contexts: Tensor, words: Tensor, rows: Tensor) -> Tensor:
        """Compute features (C, D) of one-token words, each after one of the given contexts.

        Parameters
        ----------
        contexts : Tensor, (H, c) int64
            Preceding words, one token each, cut to the last `context` words. Each is computed once.
        words : Tensor, (C,) int64
        rows : Tensor, (C,) int64
            Index of the context that each word follows.
        """
        if self.context == 0 and len(contexts) > 1:
            # without context, the features of a word are the same after every path
            unique, which = words.unique(return_inverse=True)
            return self.after(contexts[:1], unique, torch.zeros_like(unique))[which]
        start = max(0, contexts.shape[1] - self.context)
        bos = contexts.new_tensor(self._bos).expand(len(contexts), -1)
        before = torch.cat([bos, contexts[:, start:]], dim=1)
        if not before.shape[1]:
            return self._states(input_ids=words[:, None])[:, -1]
        cache = self.llm.base_model(input_ids=before, use_cache=True).past_key_values
        cache.batch_select_indices(rows)
        return self._states(input_ids=words[:, None], past_key_values=cache, use_cache=True)[:, -1]

    def _states(self, **given: Any) -> Tensor:
        found = self.llm.base_model(**given, output_hidden_states=True)
        states: Tensor = found.hidden_states[self.layer].float()
        return states if self.projection is None else states @ self.projection
