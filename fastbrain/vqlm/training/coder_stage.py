"""First stage of a run of :func:`train_vqlm`: settings, training and scores of the autoencoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..._runfiles import read_log
from ...data import Autoregression, RestingStudy, SeriesScaler
from ...errors import ConfigError
from ...training.processes import processes
from ...training.run import Row
from ..autoencoder import VQAutoencoder
from ..config import VQAutoencoderConfig
from ..saving import CoderCard, load_vq, save_vq
from .autoencoder import TextSide, train_vq
from .autoencoder_config import SMALL, VQStageConfig, vq_preset
from .code_images import code_images, probe_alignment
from .code_scores import coding_scores
from .config import VQLMConfig
from .series_loader import SeriesLoader

Runs = Mapping[str, Mapping[str, Any]]
_SMALL_STEPS = 24  # three windows


@dataclass(frozen=True)
class CoderSettings:
    """Settings of the autoencoder of a run, and what of the configuration follows from them.

    Parameters
    ----------
    sizes : VQAutoencoderConfig
    stage : VQStageConfig
    steps : int
        Time steps of codes in a sequence of the language model.
    code_start : {"aligned", "rotated", "random"}
    """

    sizes: VQAutoencoderConfig
    stage: VQStageConfig
    steps: int
    code_start: str


def coder_settings(config: VQLMConfig, *, regions: int) -> CoderSettings:
    """Resolve the preset and the options that override it.

    Raises
    ------
    ConfigError
        The preset is unknown or needs a language model by name, or aligned codes are asked for
        without a domain classifier.
    """
    sizes, stage = vq_preset(config.preset, regions=regions)
    small = config.preset.endswith(SMALL)
    if config.llm is None and not small:
        raise ConfigError(
            f"train_vqlm: the preset {config.preset} must have a language model by name, got none. "
            f"Name one (--llm Qwen/Qwen2.5-0.5B, say), or use {config.preset}{SMALL}."
        )
    domain = stage.weights.domain if config.domain is None else config.domain
    stage = replace(stage, seed=config.seed, weights=replace(stage.weights, domain=domain))
    stage = replace(stage, epochs=config.coder_epochs or stage.epochs)
    if config.code_start == "aligned" and not domain:
        raise ConfigError(
            "train_vqlm: code_start must be 'rotated' or 'random' without a domain classifier, got "
            "'aligned'. Give the domain classifier a weight (--domain 1)."
        )
    steps = config.steps or (_SMALL_STEPS if small else stage.frames // sizes.patch)
    return CoderSettings(
        sizes, stage, steps, config.code_start or ("aligned" if domain else "rotated")
    )


def trained_coder(
    study: RestingStudy,
    runs: Runs,
    settings: CoderSettings,
    side: TextSide,
    out: Path,
    *,
    seed: int,
    resume: bool,
    on_epoch: Callable[[Row], None],
) -> VQAutoencoder:
    """Train the autoencoder, or load it if an interrupted run has finished it."""
    team = processes()
    if team.from_first((out / "coder").exists()):
        return load_vq(out / "coder", regions=study.regions)[0]
    scaler = SeriesScaler.fit(runs["train"])
    torch.manual_seed(seed)
    coder = VQAutoencoder(settings.sizes, center=scaler.center, spread=scaler.spread)
    train_vq(
        coder,
        runs["train"],
        settings.stage,
        run_dir=out / "vq",
        val_runs=runs["val"],
        text=side if settings.stage.weights.domain else None,
        resume=resume,
        on_epoch=on_epoch,
    )
    card = CoderCard(study.regions, study.tr, tuple(runs["train"]))
    with team.first_alone() as first:
        if first:
            save_vq(coder, out / "coder", card)
    return coder


def scored_coding(
    coder: VQAutoencoder, runs: Runs, settings: CoderSettings, side: TextSide, out: Path
) -> dict[str, Any]:
    """Score the codes on the test people, and probe how far their features are from text."""
    loader = _windows(runs["test"], coder, settings.stage)
    scores = coding_scores(coder, loader, Autoregression.fit(runs["train"]))
    words = side.embeddings[side.token_ids.unique()]
    last = read_log(out / "vq" / "log.jsonl", function="train_vqlm")[-1]
    return {
        "adversary": last.get("val_domain_accuracy"),
        "domain": settings.stage.weights.domain,
        **scores.to_json(),
        "probe": probe_alignment(coder, loader, words, seed=settings.stage.seed),
        "code_start": settings.code_start,
    }


def code_vectors(
    coder: VQAutoencoder, runs: Runs, settings: CoderSettings
) -> dict[str, Tensor | None]:
    """Starting vectors of the codes for :func:`extend_vocabulary`, from training people only."""
    if settings.code_start == "random":
        return {}
    everything = torch.arange(coder.quantiser.config.size, device=coder.center.device)
    codebook = coder.quantiser.values_of(everything)
    if settings.code_start == "rotated":
        return {"codebook": codebook}
    images = code_images(coder, _windows(runs["train"], coder, settings.stage))
    return {"codebook": codebook, "images": images.vectors}


def _windows(runs: Mapping[str, Any], coder: VQAutoencoder, stage: VQStageConfig) -> SeriesLoader:
    return SeriesLoader(
        runs,
        frames=stage.frames,
        patch=coder.config.patch,
        batch_size=stage.batch_size,
        shuffle=False,
    )
