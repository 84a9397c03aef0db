"""Train a run of BrainLLM again with other brain decoders.

fastbrain study capacity runs/brain runs/capacity --decoders linear
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ._experiment import ExperimentOptions, run_experiment

Decoder = Literal["mlp", "linear", "rnn", "big_mlp", "multi_mlp"]


@dataclass(frozen=True, kw_only=True)
class Config(ExperimentOptions):
    """Options of ``fastbrain study capacity``."""

    decoders: tuple[Decoder, ...] = ("linear", "mlp", "big_mlp")
    """Brain decoders to compare with that of the run."""
    depths: tuple[int, ...] = ()
    """Numbers of hidden layers of an mlp."""
    widths: tuple[int, ...] = ()
    """Widths of the hidden layers of an mlp."""


def run(config: Config) -> None:
    """Train and score the variants."""
    from ..experiments.brainllm_variants import capacity_variants

    run_experiment(
        config,
        "capacity",
        lambda base: capacity_variants(
            base.config, config.decoders, depths=config.depths, widths=config.widths
        ),
        system="BrainLLM",
        title="BrainLLM with other brain decoders",
    )
