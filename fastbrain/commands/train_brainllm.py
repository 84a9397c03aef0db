"""Train BrainLLM on a store: principal components of volumes as words of a frozen language model.

fastbrain train brainllm store runs/brain --llm meta-llama/Llama-2-7b-hf --features 1000
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from .._io import read_json
from ..data import VoxelStore
from ._training import (
    TrainOptions,
    describe_trials,
    given,
    print_configuration,
    report_dry_run,
    say_done,
)


@dataclass(frozen=True)
class Config(TrainOptions):
    """Options of ``fastbrain train brainllm``."""

    preset: Literal["paper", "published-code", "fastbrain"] | None = None
    """Settings of the training stages; default: as configured (fastbrain)."""
    features: int | None = None
    """Number of principal components of a volume; default: as configured (100)."""


def run(config: Config) -> None:
    """Assemble the configuration, then train."""
    from ..brainllm.training import brainllm_preset
    from ..brainllm.training.pipeline import BrainLLMRunConfig, audit_brainllm, train_brainllm_run
    from ..training.trackers import check_trackers

    whole = BrainLLMRunConfig.from_dict(read_json(config.config) if config.config else {})
    if config.preset is not None:
        whole = replace(whole, training=brainllm_preset(config.preset))
    whole = replace(whole, **given(config, "features", "llm"))
    if config.print_config:
        print_configuration(whole)
        return
    check_trackers(config.log, function="train")
    store = VoxelStore.open(config.store, verify=config.verify)
    describe_trials(store, f"{store.window_spec.window_trs} volumes a window")
    print(f"scored later {len(store.split.test)}")
    if config.dry_run:
        report_dry_run(audit_brainllm(store, whole).check(allow=config.allow_leak))
        return
    train_brainllm_run(store, config.out, whole, **config.how())
    say_done(config.out)
