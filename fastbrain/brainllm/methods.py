"""Sentences on BrainLLM for the methods section of a paper."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..evaluation.report.run_facts import Recipe, parameter_count
from .saving import SavedBrainLLM
from .training.presets import BRAINLLM_PRESETS, BrainLLMTraining, brainllm_preset

_PURPOSES = {
    "warmup": "brain embeddings towards the mean word vector of the text",
    "tune": "likelihood of the text after brain and prompt",
}


def recipe_of(
    saved: SavedBrainLLM, manifest: Mapping[str, Any], config: Mapping[str, Any] | None
) -> Recipe:
    """Describe the model of a run.

    Parameters
    ----------
    saved : SavedBrainLLM
    manifest : mapping
    config : mapping or None
        Configuration of the run; None for a run without a record of it.
    """
    sizes, found = saved.model.config, []
    if saved.pca is not None:
        share = manifest.get("explained")
        region = "" if saved.region is None else f" of {int(saved.region.sum()):,} selected voxels"
        found.append(
            f"Every volume was reduced to {sizes.features:,} principal components{region}, fitted "
            f"on the training windows{'' if share is None else f' ({share:.1%} of their variance)'}"
            f"{' and scaled to unit variance' if saved.card.whiten else ''}."
        )
    if sizes.decoder != "none":
        place = "before" if sizes.position == "before-prompt" else "after"
        found.append(
            f"A network ({sizes.decoder.replace('_', ' ')}) turned each volume of a window into "
            f"one embedding for the frozen language model, {place} the prompt."
        )
    if saved.card.before == "prompt" and saved.card.prompt_length != 0:
        length = saved.card.prompt_length
        words = "" if length is None else f" (its last {length} words)"
        found.append(f"The text continued the text that preceded it{words}.")
    if sizes.steering:
        found.append(
            "A linear map of the mean of the window was added to the last hidden state of the "
            "language model."
        )
    training = None if config is None else config.get("training")
    if training is not None:
        own = BrainLLMTraining.from_dict(training)
        names = [name for name in BRAINLLM_PRESETS if brainllm_preset(name) == own]
        found += [f"Training settings were those of the preset “{name}”." for name in names]
    language = parameter_count(saved.model.llm)
    return Recipe(
        "BrainLLM [@ye2025brainllm]",
        found,
        _PURPOSES,
        {"language model": language, "decoder": parameter_count(saved.model) - language},
    )
