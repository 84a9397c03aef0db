"""Train a run of BrainLLM again with other lengths of the text before each text.

fastbrain study prompt-length runs/brain runs/prompts --lengths 0 5

The paper varies the prompt from 0 to 3 volumes of words. How many volumes' words a store has is
chosen by `--prompt-trs` of `fastbrain study narratives`; here the last words of these are kept.
"""

from __future__ import annotations

from dataclasses import dataclass

from ._experiment import ExperimentOptions, run_experiment


@dataclass(frozen=True, kw_only=True)
class Config(ExperimentOptions):
    """Options of ``fastbrain study prompt-length``."""

    lengths: tuple[int, ...] = (0, 5, 10)
    """Words of the prompt that precede a text, the last ones; 0 for none."""


def run(config: Config) -> None:
    """Train and score the variants."""
    from ..experiments.brainllm_variants import prompt_variants

    run_experiment(
        config,
        "prompt-length",
        lambda base: prompt_variants(base.config, config.lengths, base.store),
        system="BrainLLM",
        title="BrainLLM by the length of the prompt",
        axis="words of the prompt",
        notes=[
            "Scores of text: where texts have prompts of their own, deranged brains write again "
            "after the sample's prompt and p is from sign flips of runs; without prompts it is "
            "from derangements. Compare variants by the differences, not by these p.",
        ],
    )
