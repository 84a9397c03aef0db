"""Pretrain SC-MBM, the fMRI encoder, on the voxels of a store: no stimuli, texts or language model.

fastbrain train scmbm store runs/encoder

fastbrain train scmbm store runs/encoder --also rest-store

fastbrain train scmbm collection runs/encoder

`runs/encoder/encoder.safetensors` is then --encoder-weights of fastbrain train. fastbrain prepare
--no-events makes a store of recordings at rest, --native-grids a collection of stores with a grid
for each person, of which one encoder is trained.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from .._io import read_json
from .._progress import say
from ..data import VoxelStore, open_store
from ._training import StoreOptions, print_configuration


@dataclass(frozen=True)
class Config(StoreOptions):
    """Options of ``fastbrain train scmbm``."""

    epochs: int | None = None
    """Number of passes over the training windows; default: as configured."""
    also: tuple[Path, ...] = ()
    """More stores on the same grid, to pretrain one encoder on all; each keeps its own mean and
    standard deviation."""
    windows: int | None = None
    """Number of training windows, drawn from the stores; default: all."""
    shares: tuple[float, ...] = ()
    """Share of each store in --windows, in the order of STORE and --also; default: equal."""
    weights: Path | None = None
    """Encoder to start from (safetensors), published or from an earlier run."""


def run(config: Config) -> None:
    """Assemble the configuration, then train."""
    from ..llm4brain.training.pretrain_encoder import WEIGHTS, ScmbmConfig, train_scmbm
    from ..training.trackers import check_trackers

    whole = ScmbmConfig.from_dict(read_json(config.config)) if config.config else ScmbmConfig()
    if config.epochs is not None:
        whole = replace(whole, stage=replace(whole.stage, epochs=config.epochs))
    if config.windows is not None:
        whole = replace(whole, windows=config.windows)
    if config.shares:
        whole = replace(whole, shares=config.shares)
    if config.weights is not None:
        whole = replace(whole, weights=str(config.weights))
    if config.print_config:
        print_configuration(whole)
        return
    check_trackers(config.log, function="train_scmbm")
    store = open_store(config.store, verify=config.verify)
    history = train_scmbm(
        store,
        config.out,
        whole,
        more=[VoxelStore.open(path, verify=config.verify) for path in config.also],
        resume=config.resume,
        device=config.device,
        log=config.log,
    )
    if history.best_value is not None:
        print(f"masked voxels restored: error {history.best_value:.4f} of variance 1, epoch "
              f"{history.best_epoch}")  # fmt: skip
    say(f"encoder written to {config.out / WEIGHTS}")
