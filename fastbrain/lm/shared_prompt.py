"""Keys and values of a prompt shared by many rows, computed once."""

from __future__ import annotations

import copy
from collections.abc import Sequence
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


class KeptPrompt:
    """The last prompt that a model read, for calls that follow each other with the same one.

    Parameters
    ----------
    llm : PreTrainedModel
    """

    def __init__(self, llm: Any) -> None:
        self._llm = llm
        self._kept: tuple[Any, SharedPrompt] | None = None

    def rows(self, ids: Sequence[int], count: int) -> Any:
        """Keys and values of a prompt for `count` rows; the copy may be modified.

        They are computed anew for another prompt, and after a change of the model's weights,
        precision, device or adapters.

        Parameters
        ----------
        ids : sequence of int
        count : int

        Returns
        -------
        Cache, or None without a token
        """
        if not ids:
            return None
        key = tuple(ids), _state(self._llm)
        if self._kept is None or self._kept[0] != key:
            device = self._llm.get_input_embeddings().weight.device
            # later calls may need more digits than this one
            with torch.autocast(device.type, enabled=False):
                self._kept = key, SharedPrompt(self._llm, torch.tensor(ids, device=device))
        return self._kept[1].rows(count)


def _state(llm: Any) -> list[Any]:
    """State that changes with every change of weights or adapters; no weight is read."""
    found: list[Any] = []
    for module in llm.modules():
        # the attributes themselves, for each call of `getattr` of a module takes microseconds
        own = module.__dict__
        for weight in own["_parameters"].values():
            if weight is not None:
                # a tensor that was made in inference mode counts no changes
                version = 0 if weight.is_inference() else weight._version
                found.append((weight.data_ptr(), version, weight.dtype, weight.device))
        if "_disable_adapters" in own:
            found.append(repr([own.get(name) for name in _ADAPTER]))
    return found


# attributes of the layers of PEFT
_ADAPTER = ("_disable_adapters", "_active_adapter", "merged_adapters", "scaling")
