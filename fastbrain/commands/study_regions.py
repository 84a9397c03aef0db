"""Train a run of BrainLLM again with single regions of an atlas as input.

fastbrain study regions runs/brain runs/regions --atlas atlas.nii.gz

The atlas is a label image on the grid of the store. A region at chance may still contribute in
combination with others.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ._experiment import ExperimentOptions, run_experiment


@dataclass(frozen=True, kw_only=True)
class Config(ExperimentOptions):
    """Options of ``fastbrain study regions``."""

    atlas: Path
    """Label image (NIfTI) on the grid of the store; 0 is background."""
    labels: Path | None = None
    """Table (TSV) with the columns index and name, of the labels to use; default: all labels."""


def run(config: Config) -> None:
    """Train and score the variants."""
    from ..data.readers.masks import read_label_names
    from ..experiments.brainllm_variants import region_variants

    names = None if config.labels is None else read_label_names(config.labels)
    run_experiment(
        config,
        "regions",
        lambda base: region_variants(base.config, config.atlas, base.store, names),
        system="BrainLLM",
        title="BrainLLM on single regions",
    )
