"""Train a run of LLM4Brain again without one of its parts, or with another form of it.

fastbrain study ablate runs/first runs/ablation --parts adapter rank

Every variant is trained and scored like the run, on every seed, and compared with it window by
window. The language model is that of the run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ._experiment import ExperimentOptions, run_experiment

Part = Literal["adapter", "rank", "place", "adaptation", "stage1", "tokenizer"]


@dataclass(frozen=True, kw_only=True)
class Config(ExperimentOptions):
    """Options of ``fastbrain study ablate``."""

    parts: tuple[Part, ...] = ("adapter", "rank", "place", "stage1", "tokenizer")
    """Parts to vary: form, rank and place of the adapters, losses of the domain adaptation and of
    stage I, and the tokenizer."""


def run(config: Config) -> None:
    """Train and score the variants."""
    from ..experiments.ablation import ablation_variants

    run_experiment(
        config,
        "ablate",
        lambda base: ablation_variants(base.config, config.parts),
        system="LLM4Brain",
        title="LLM4Brain with one part changed",
    )
