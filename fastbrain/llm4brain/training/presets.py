"""Presets of the training stages: fastbrain, paper and published code."""

from __future__ import annotations

from dataclasses import replace

from ..._arguments import checked
from ...errors import ConfigError
from ...nn.config_io import suggest
from ...training.config import OptimConfig
from .stage_config import LLM4BrainStage, LossConfig

# default settings of each stage
STAGES = {
    "pretrain": LLM4BrainStage("pretrain", groups=("tokenizer", "encoder")),
    "video": LLM4BrainStage("video", groups=("video", "qformer", "projection")),
    "calibrate": LLM4BrainStage(
        "calibrate",
        epochs=30,
        batch_size=32,
        groups=("projection",),
        optim=OptimConfig(lr=1e-3, weight_decay=0.1),
    ),
    "stage1": LLM4BrainStage(
        "stage1",
        groups=(
            "tokenizer",
            "encoder",
            "encoder_adapters",
            "bridge",
            "readout",
            "qformer_adapters",
            "temperature",
        ),
    ),
    "stage2": LLM4BrainStage(
        "stage2",
        groups=(
            "tokenizer",
            "encoder_adapters",
            "bridge",
            "readout",
            "qformer_adapters",
            "prototypes",
        ),
    ),
}

# in the order of training
STAGE_NAMES = tuple(STAGES)

PRESETS = ("fastbrain", "paper", "paper-small", "published-code")


@checked
def preset(stage: str, name: str = "fastbrain") -> LLM4BrainStage:
    """Return the settings of a stage for a preset: fastbrain, the paper, or published code.

    Parameters
    ----------
    stage : {"pretrain", "video", "calibrate", "stage1", "stage2"}
    name : {"fastbrain", "paper", "paper-small", "published-code"}
        "paper" and "paper-small": LLM4Brain as in the paper (τ = 0.5, only the bridge and the
        prototypes train, answers summed over tokens, no source class loss). "published-code":
        domain adaptation as in the code of DANCE. "fastbrain": the corrected default.

    Returns
    -------
    LLM4BrainStage

    Raises
    ------
    ConfigError
        The stage or preset is unknown.
    """
    if stage not in STAGES:
        raise ConfigError(f"preset: stage must not be '{stage}'.{suggest(stage, STAGES)}")
    if name not in PRESETS:
        raise ConfigError(f"preset: name must not be '{name}'.{suggest(name, PRESETS)}")
    config = STAGES[stage]
    if name != "fastbrain":
        # the paper has no readout, and its encoder is pretrained and frozen
        groups = tuple(
            g for g in config.groups if g != "readout" and (stage == "pretrain" or g != "encoder")
        )
        config = replace(config, groups=groups)
    if stage == "stage2" and name in ("paper", "paper-small"):
        losses = LossConfig(
            lambda_ce=0.5,
            eta=1.0,
            tau_nc=0.5,
            tau_cls=0.5,
            nc_variant="paper",
            source_ce_weight=0.0,
            reduction="sequence",
        )
        return replace(config, groups=("bridge", "prototypes"), losses=losses)
    if stage == "stage2" and name == "published-code":
        # DANCE adds class loss and adaptation loss unweighted; 0.5 for each keeps their ratio
        return replace(config, losses=LossConfig(lambda_ce=0.5, source_ce_weight=0.5))
    return config
