"""Keys and values of a text that many rows stand behind, computed once."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError
from ..ops.module_checks import untouched


class SharedPrompt:
    """What stands first in every row and is the same in all: [BOS | prompt].

    No gradient reaches it: it holds words alone, and the language model is frozen.

    Parameters
    ----------
    llm : PreTrainedModel
    ids : Tensor, (P >= 1,) int64

    Raises
    ------
    InputError
        There is no token.
    """

    @torch.no_grad()
    def __init__(self, llm: Any, ids: Tensor) -> None:
        if ids.ndim != 1 or not len(ids):
            raise InputError(f"SharedPrompt: ids must be (P >= 1,), got {tuple(ids.shape)}.")
        self.ids = ids
        # the head has nothing to say yet; models without a body of their own say it once, as do
        # those with hooks
        body = llm.base_model if untouched(llm) else llm
        only = {"logits_to_keep": 1} if body is llm else {}
        self._cache = body(input_ids=ids[None], use_cache=True, **only).past_key_values

    def __len__(self) -> int:
        return len(self.ids)

    def rows(self, count: int) -> Any:
        """A cache of its own for `count` rows, to be written on."""
        cache = copy.deepcopy(self._cache)
        cache.batch_repeat_interleave(count)
        return cache

    def mask(self, count: int) -> Tensor:
        """Ones (count, P) int64: nothing here is padded."""
        return self.ids.new_ones(count, len(self.ids))
