"""Hold out every subject, run, session or story once with BrainLLM; see leave-out.

fastbrain leave-out brainllm cohort/runs.tsv runs/brain-folds --by run --features 100

Components, steering and decoder of a fold are fitted on its training windows alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from .._io import read_json
from ..errors import ConfigError
from . import leave_out
from ._kinds import refuse_options
from ._training import given

_OTHERS = ("unknown_subject", "native_grids", "centred")


@dataclass(frozen=True, kw_only=True)
class Config(leave_out.Config):
    """Options of ``fastbrain leave-out brainllm``."""

    features: int | None = None
    """Number of principal components of a volume; default: as configured (100)."""


def run(config: Config) -> None:
    """Run all folds, then print the pooled scores in one table."""
    from ..brainllm.evaluate import evaluate_brainllm_run
    from ..brainllm.training import brainllm_preset
    from ..brainllm.training.pipeline import BrainLLMRunConfig, train_brainllm_run
    from ..brainllm.training.presets import PAPER_FEATURES
    from ..llm4brain.cross_validation import FoldSystem

    refuse_options(config, _OTHERS, function="leave-out", kind="brainllm")
    if config.config and config.preset:
        raise ConfigError("leave-out: --config and --preset must not both be given. Use one.")
    recipe = BrainLLMRunConfig.from_dict(read_json(config.config) if config.config else {})
    if config.preset is not None:
        recipe = replace(recipe, training=brainllm_preset(config.preset))
    if config.preset == "paper":
        recipe = replace(recipe, features=PAPER_FEATURES)
    recipe = replace(recipe, **given(config, "features", "llm"))
    leave_out.run_folds(config, recipe, FoldSystem(train_brainllm_run, evaluate_brainllm_run))
