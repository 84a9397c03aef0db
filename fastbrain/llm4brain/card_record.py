"""Record of the data, language model and training of a saved model."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from ..lm.kept_llm import LLMRecord


@dataclass(frozen=True)
class ModelCard:
    """Record of the data, LLM and training of a model; saved with the weights.

    Parameters
    ----------
    llm : str
        Name or folder of the frozen LLM, which is not part of the saved model.
    tr : float
        Repetition time of the training data, seconds.
    fingerprint : str
        Fingerprint of the voxel store of training.
    affine : tuple of tuple of float, optional
        Transform from voxel indices to world mm, (4, 4).
    prompt : str
        Prompt for decoding.
    preprocessing : dict
        JSON values from the manifest of the store: units, window and the like.
    split : dict
        JSON values of the split: trials for training, validation and test.
    training : dict
        JSON values: adaptation, stages, audit, and digests of published weights.
    language : LLMRecord, optional
        Digests and location of the LLM; a copy may be in the parent folder of the model.
    adapter : dict of str to str
        Digests of the PEFT adapter of the LLM in the folder ``adapter/``; empty without one.
    llm_bits, llm_device_map : optional
        How the LLM was loaded for training, as in :func:`load_llm`.
    """

    llm: str
    tr: float
    fingerprint: str = ""
    affine: tuple[tuple[float, ...], ...] | None = None
    prompt: str = ""
    preprocessing: dict[str, Any] = field(default_factory=dict)
    split: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    language: LLMRecord | None = None
    adapter: dict[str, str] = field(default_factory=dict)
    llm_bits: int | None = None
    llm_device_map: str | dict[str, Any] | None = None


def card_of_grid(card: ModelCard, grid: str) -> ModelCard:
    """Return the card of a model of several grids for one of them, without the others."""
    known = card.preprocessing.get("grids", {})
    if grid not in known:
        return card
    own = known[grid]
    rest = {k: v for k, v in card.preprocessing.items() if k != "grids"}
    affine = tuple(tuple(row) for row in own["affine"])
    found = replace(card, fingerprint=own["store"], affine=affine)
    return replace(found, preprocessing=rest | {"limits": own["limits"]})
