"""Report and methods section of a run that was evaluated with another decoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..decoder_choice import DecoderChoice
from .html import ReportParts
from .run_facts import Recipe

FOLDER, SAVED = "decoders", "model"
_READOUT = (
    "A ridge regression from principal components of the windows to sentence embeddings, fitted on "
    "training windows with whole runs left out to choose its penalty,"
)


def place_of(out: Path, choice: DecoderChoice) -> Path:
    """Folder of the results: that of the run as it was trained stays as it is."""
    return out if choice.name == "soft-prompt" else out / FOLDER / choice.name


def kept_in(choice: DecoderChoice, out: Path) -> DecoderChoice:
    """Keep the decoder and what it writes in the folder of the results."""
    if not choice.own:
        return choice
    return replace(choice, kept=choice.kept or out / "written", saved=choice.saved or out / SAVED)


def manifest_with(manifest: Mapping[str, Any], choice: DecoderChoice) -> dict[str, Any]:
    """Manifest of a run with the language model that writes."""
    if choice.llm is None:
        return dict(manifest)
    return {**manifest, "llm": choice.llm, "language_model": {}}


def parts_with(parts: ReportParts, choice: DecoderChoice) -> ReportParts:
    """Name the decoder among the facts of a report."""
    said = choice.describe() or "soft-prompt: the run as it was trained"
    history = {} if choice.own else parts.history
    return replace(parts, data={**parts.data, "decoder": said}, history=history)


def recipe_with(recipe: Recipe, choice: DecoderChoice) -> Recipe:
    """Describe the decoder for a methods section."""
    if choice.name == "soft-prompt":
        return recipe
    if choice.name == "mixture":
        more = (
            f"{_READOUT} gave evidence on whole texts, by which the likelihood of the model was "
            "multiplied [@hinton2002poe]; both weights were fitted on validation windows."
        )
        return replace(recipe, model=[*recipe.model, more])
    more = (
        f"{_READOUT} predicted the embedding of each text. The language model, which was not "
        "tuned, wrote lines after the training texts nearest to the prediction, and the line "
        "nearest to it was kept."
    )
    edited = (
        "Words of the best lines were replaced, proposed by the gradient of the sentence encoder "
        "[@ebrahimi2018hotflip; @horikawa2025captioning]."
    )
    return replace(
        recipe,
        system="a sentence read-out and a frozen language model",
        model=[more, edited] if choice.name == "edit" else [more],
        parameters={},
    )
