"""People of a study: their parts, and whether their recordings and sequences have fit lengths."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...data import RestingStudy
from ...errors import InputError, SplitError
from .config import VQLMConfig

_PARTS = ("train", "val", "test")
_LEAST = 3  # people in a part, the minimum for fitting a line


def part_people(study: RestingStudy, config: VQLMConfig) -> dict[str, list[str]]:
    """Split people at random by `config.seed`; a family is always in one part.

    Raises
    ------
    SplitError
        A part would have fewer than three people.
    """
    family = study.families()
    names = sorted(set(family.values()))
    order = np.random.default_rng(config.seed).permutation(len(names))
    tests = round(config.test_part * len(names))
    vals = round(config.val_part * len(names))
    part_of = {
        names[i]: "test" if k < tests else "val" if k < tests + vals else "train"
        for k, i in enumerate(order)
    }
    parts = {part: [p for p in study.series if part_of[family[p]] == part] for part in _PARTS}
    few = {part: len(people) for part, people in parts.items() if len(people) < _LEAST}
    if few:
        raise SplitError(
            f"part_people: every part must have {_LEAST} people or more, got {few} of "
            f"{len(study.series)} in {len(names)} families. Change test_part and val_part."
        )
    return parts


def check_lengths(study: RestingStudy, steps: int, patch: int) -> None:
    """Raise :class:`InputError` if a recording has fewer than `steps` patches of frames."""
    shortest = min(study.series, key=lambda p: study.series[p].shape[1])
    frames = study.series[shortest].shape[1]
    if frames // patch < steps:
        raise InputError(
            f"train_vqlm: recordings must have {steps * patch} frames for {steps} steps of "
            f"{patch}, got {frames} of {shortest}. Use fewer steps (--config), or leave it out."
        )


def check_context(llm: Any, length: int) -> None:
    """Raise :class:`InputError` if a sequence of `length` tokens does not fit a language model."""
    context = getattr(llm.config, "max_position_embeddings", None)
    if context is not None and length > context:
        raise InputError(
            f"train_vqlm: a sequence of codes, question and answer must fit the language model's "
            f"context of {context} tokens, got {length}. Use fewer steps (--config), or another "
            "model (--llm)."
        )
