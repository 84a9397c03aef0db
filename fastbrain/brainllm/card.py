"""Metadata of a saved BrainLLM."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ..data.readers.events import Trial
from ..data.readers.prompts import texts_before
from ..lm.kept_llm import LLMRecord


@dataclass(frozen=True)
class BrainLLMCard:
    """Metadata needed to use a BrainLLM; saved with the weights.

    Parameters
    ----------
    llm : str
        Name or folder of the frozen language model, which is not part of the saved model.
    tr : float
        Seconds between volumes of the training data.
    split : dict
        Trial ids of ``"train"``, ``"val"`` and ``"test"``.
    store : str
        Fingerprint of the voxel store, which identifies its mask, voxel order and atlas.
    lags : tuple of int
        Lags in volumes from the text to the volumes of its window; empty if the store defines the
        windows.
    whiten : bool
        Whether components are divided by their standard deviation.
    max_prompt_tokens, max_text_tokens : int
    end : bool
        Whether texts ended with an end token in training.
    before : {"prompt", "instruction"}
        Which text of a trial precedes its text.
    prompt_length : int or None
        Number of words of the prompt that are used, the last ones; None for all of them.
    preprocessing : dict
        JSON values such as units, high-pass and region.
    language : LLMRecord, optional
        Digests of the language model's files; its copy, if any, is next to the model's folder.
    adapter : dict of str to str
        Digests of the PEFT adapter of the language model in the folder ``adapter/``; empty without
        one.
    llm_bits : {8, 4} or None
        Precision of the weights of the language model in training; None: not quantised.
    llm_device_map : str, dict or None
        How the layers of the language model were spread over devices; None: on one.
    training : dict
        JSON values: the audit, counts of the cohort and the license of the language model.
    """

    llm: str
    tr: float
    split: dict[str, list[str]] = field(default_factory=dict)
    store: str = ""
    lags: tuple[int, ...] = ()
    whiten: bool = True
    max_prompt_tokens: int = 64
    max_text_tokens: int = 64
    end: bool = True
    preprocessing: dict[str, Any] = field(default_factory=dict)
    language: LLMRecord | None = None
    before: str = "instruction"  # as in runs from before trials had prompts
    prompt_length: int | None = None
    adapter: dict[str, str] = field(default_factory=dict)
    llm_bits: int | None = None
    llm_device_map: str | dict[str, Any] | None = None
    training: dict[str, Any] = field(default_factory=dict)

    def texts_before(self, trials: Sequence[Trial]) -> tuple[str, ...]:
        """Return the text before the text of each trial, as in training."""
        return texts_before(trials, self.before, self.prompt_length)
