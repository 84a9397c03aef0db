"""Evaluations with the likelihood of their texts under a second language model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from .._arguments import checked
from ..lm import load_llm
from ..lm.sources import find_model
from .analyses.written_texts import fluency_facts
from .protocol import Evaluation


def check_fluency_model(model: str | None, *, function: str) -> None:
    """Raise :class:`InputError` unless the model can be found; call it before the long work."""
    if model is not None:
        find_model(model, function=function)


@checked
def with_fluency(
    evaluation: Evaluation, model: str | None = None, *, device: str = "cpu"
) -> Evaluation:
    """Add the surprise of all texts under a second language model to ``facts["fluency"]``.

    Parameters
    ----------
    evaluation : Evaluation
        Of two or more samples.
    model : str, optional
        Folder, or name on the hub; see :func:`fastbrain.lm.load_llm`. Without one, the evaluation
        is returned unchanged.
    device : str

    Raises
    ------
    InputError
        The model cannot be loaded.
    """
    if model is None or "fluency" not in evaluation.facts:
        return evaluation
    judge = load_llm(model, device=device)
    found = fluency_facts(evaluation.conditions, judge=judge, name=Path(model).name)
    known: dict[str, Any] = evaluation.facts["fluency"]
    facts = {
        key: {**known[key], "nll": row["nll"], "signature": row["signature"]}
        for key, row in found.items()
    }
    return replace(evaluation, facts={**evaluation.facts, "fluency": facts})
