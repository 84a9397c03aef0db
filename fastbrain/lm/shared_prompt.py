"""Keys and values of a prompt shared by many rows, computed once."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError
from ..ops.module_checks import untouched


class SharedPrompt:
    """Cached keys and values of a prefix that is the same in all rows: [BOS | prompt].

    The cache is computed without gradients: it depends on words only, and the LLM is frozen.

    Parameters
    ----------
    llm : PreTrainedModel
    ids : Tensor, (P >= 1,) int64

    Raises
    ------
    InputError
        `ids` is not one-dimensional or is empty.
    """

    @torch.no_grad()
    def __init__(self, llm: Any, ids: Tensor) -> None:
        if ids.ndim != 1 or not len(ids):
            raise InputError(f"SharedPrompt: ids must be (P >= 1,), got {tuple(ids.shape)}.")
        self.ids = ids
        # skip the output layer if possible; models with hooks or without a separate body run it
        # for one position
        body = llm.base_model if untouched(llm) else llm
        only = {"logits_to_keep": 1} if body is llm else {}
        self._cache = body(input_ids=ids[None], use_cache=True, **only).past_key_values

    def __len__(self) -> int:
        return len(self.ids)

    def rows(self, count: int) -> Any:
        """Copy the cache for `count` rows; the copy may be modified."""
        cache = copy.deepcopy(self._cache)
        cache.batch_repeat_interleave(count)
        return cache

    def mask(self, count: int) -> Tensor:
        """Attention mask of ones (count, P) int64, because the prompt has no padding."""
        return self.ids.new_ones(count, len(self.ids))
