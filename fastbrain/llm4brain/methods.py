"""Sentences on LLM4Brain for the methods section of a paper."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..evaluation.report.run_facts import Recipe, counted, parameter_count
from .model import LLM4Brain
from .training.presets import PRESETS, STAGE_NAMES
from .training.run_config import RunConfig

_PURPOSES = {
    "pretrain": "masked autoencoding of the brain tokens [@chen2023mindvis]",
    "video": "captions of the clips from the video branch, through the language model",
    "calibrate": "the projection on out-of-fold predictions of the readout [@wolpert1992stacked]",
    "stage1": "alignment of brain latents with those of the stimuli (stage I)",
    "stage2": "tuning on the answers of the language model (stage II)",
    "adapt": "the parameters of a new participant",
}


def recipe_of(
    model: LLM4Brain, manifest: Mapping[str, Any], config: Mapping[str, Any] | None
) -> Recipe:
    """Describe the model of a run.

    Parameters
    ----------
    model : LLM4Brain
    manifest : mapping
    config : mapping or None
        Configuration of the run; None for a run without a record of it.
    """
    sizes, grid = model.config, model.grid
    encoder, queries = sizes.encoder, sizes.qformer
    patch = grid.patch_words
    if grid.geometry == "volume":
        patch = f"{'×'.join(map(str, reversed(grid.kernel)))} voxels"
    blocks, layers = counted(encoder.depth, "block"), counted(queries.depth, "block")
    kind = f"SC-MBM [@chen2023mindvis]; {blocks} of width {encoder.dim}"
    if sizes.custom_encoder is not None:
        kind = f"`{sizes.custom_encoder.name}`, of the authors"
    found = [
        f"A window was cut into {grid.n_tokens:,} tokens of {patch}. An encoder ({kind}) and a "
        f"query transformer ([@li2023blip2]; {layers} of width {queries.dim}) turned them into "
        f"{queries.n_queries} embeddings for the frozen language model, which read them "
        f"{'after' if sizes.prompt_first else 'before'} the prompt."
    ]
    if sizes.adapter.rank:
        found.append(
            f"Encoder and query transformer had low-rank adapters [@hu2022lora] of rank "
            f"{sizes.adapter.rank} ({sizes.adapter.activation})."
        )
    if joint := manifest.get("joint"):
        found.append(
            f"It was trained on windows of several voxel grids at once, of which {joint['grid']} "
            "is one; each had a map across tokens and a readout of its own, and all other weights "
            "were shared."
        )
    fit = manifest.get("readout")
    if sizes.readout_rank and fit is not None:
        found.append(
            f"A linear readout of rank {fit['rank']} beside the query transformer started as a "
            f"ridge regression on {fit['windows']:,} training windows (cross-validated R² "
            f"{fit['r2']:.3f}{_projected(fit)})."
        )
    if sizes.subjects is not None:
        found.append(
            f"Each of {len(sizes.people)} participants had parameters of the tokenizer "
            f"({sizes.subjects})."
        )
    stimulus = None if config is None else config.get("stimulus")
    if stimulus is not None and config is not None and config.get("stage1") is not None:
        source = "clips" if stimulus == "clips" else "word embeddings of the texts"
        found.append(f"The targets of stage I came from {source}.")
    name = None if config is None else _preset_of(RunConfig.from_dict(config))
    if name is not None:
        found.append(f"Training settings were those of the preset “{name}”.")
    language = parameter_count(model.llm)
    return Recipe(
        "LLM4Brain [@zheng2024llm4brain]",
        found,
        _PURPOSES,
        {"language model": language, "decoder": parameter_count(model) - language},
    )


def _preset_of(config: RunConfig) -> str | None:
    """Return the preset with the stages of a configuration, or None."""
    own = {name: getattr(config, name) for name in STAGE_NAMES}
    for name in PRESETS:
        known = RunConfig.preset(name)
        if own == {stage: getattr(known, stage) for stage in STAGE_NAMES} and (
            known.model.readout_rank,
            known.model.bridge_tokens,
        ) == (config.model.readout_rank, config.model.bridge_tokens):
            # the same stages in other sizes are not the paper's
            if name == "paper" and known.model.encoder != config.model.encoder:
                continue
            return name
    return None


def _projected(fit: Mapping[str, Any]) -> str:
    """Name the random projection that the readout was fitted on, if there was one."""
    if "dimensions" not in fit:
        return ""
    return f"; on a random projection of the tokens to {fit['dimensions']:,} dimensions"
