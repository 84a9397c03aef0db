"""Pretrain SC-MBM, the fMRI encoder, on the voxels of a store: no stimuli, texts or language model.

fastbrain train scmbm store runs/encoder

`encoder.safetensors` in the run folder is then "encoder_weights" of fastbrain train llm4brain.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro

from .._io import read_json
from .._progress import say
from ..data import VoxelStore
from ..llm4brain.training.pretrain_encoder import WEIGHTS, ScmbmConfig, train_scmbm
from ._training import print_configuration


@dataclass(frozen=True)
class Config:
    """Options of ``fastbrain train scmbm``."""

    store: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="STORE")]
    """Voxel store from `fastbrain prepare`."""
    out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """New run folder."""
    config: Path | None = None
    """JSON file with any part of the configuration; see --print-config."""
    epochs: int | None = None
    """Number of passes over the training windows; default: as configured."""
    weights: Path | None = None
    """Encoder to start from (safetensors), published or from an earlier run."""
    device: str = "cpu"
    """Device for training, e.g. cuda."""
    verify: bool = False
    """Compare every byte of the store with its digests first."""
    resume: bool = False
    """Resume an interrupted run."""
    print_config: bool = False
    """Print the whole configuration as JSON and stop."""


def run(config: Config) -> None:
    """Assemble the configuration, then train."""
    whole = ScmbmConfig.from_dict(read_json(config.config)) if config.config else ScmbmConfig()
    if config.epochs is not None:
        whole = replace(whole, stage=replace(whole.stage, epochs=config.epochs))
    if config.weights is not None:
        whole = replace(whole, weights=str(config.weights))
    if config.print_config:
        print_configuration(whole)
        return
    store = VoxelStore.open(config.store, verify=config.verify)
    history = train_scmbm(store, config.out, whole, resume=config.resume, device=config.device)
    if history.best_value is not None:
        print(f"masked voxels restored: error {history.best_value:.4f} of variance 1, epoch "
              f"{history.best_epoch}")  # fmt: skip
    say(f"encoder written to {config.out / WEIGHTS}")
