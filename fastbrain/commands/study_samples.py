"""Train a run of BrainLLM again on shares of its training part: a learning curve.

fastbrain study samples runs/brain runs/samples --shares 0.5

A share is made of whole stories (runs, if the trials name no story), drawn anew for every seed; a
smaller share is part of every larger one. The language model is that of the run.
"""

from __future__ import annotations

from dataclasses import dataclass

from ._experiment import ExperimentOptions, run_experiment


@dataclass(frozen=True, kw_only=True)
class Config(ExperimentOptions):
    """Options of ``fastbrain study samples``."""

    shares: tuple[float, ...] = (0.125, 0.25, 0.5)
    """Shares of the training part besides that of the run."""


def run(config: Config) -> None:
    """Train and score the variants."""
    from ..experiments.brainllm_variants import share_variants

    run_experiment(
        config,
        "samples",
        lambda base: share_variants(base.config, config.shares, base.store),
        system="BrainLLM",
        title="BrainLLM by the size of its training part",
        axis="training part used (%)",
    )
