"""SC-MBM pretraining on a voxel store, without stimuli or a language model.

::

    config.json     ScmbmConfig and the store's fingerprint
    pretrain/       log and checkpoints
    encoder.safetensors, manifest.json   weights, and the record of their training
    scans.json      volumes of pretraining, which later runs must not test on
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ..._arguments import checked
from ..._environment import check_environment
from ..._io import new_output, sha256, write_json
from ...data import StoreCollection, VoxelStore, WindowLoader, token_centers
from ...data.leaks.pretraining_scans import (
    SCANS,
    joined_scans,
    scans_beside,
    scans_of,
    write_scans,
)
from ...errors import ConfigError, SplitError
from ...nn.config_io import from_dict, require, to_dict
from ...training.data_parallel import check_batch_sizes
from ...training.processes import processes, run_together
from ...training.run import History, Row
from ...training.run_folder import absolute_paths, claim
from ...training.run_log import run_log
from ...training.trackers import check_trackers
from ..config import EncoderConfig
from ..grid_encoders import GridEncoders
from ..published_weights import load_scmbm
from ..standalone_encoder import BrainEncoder
from .mixed_windows import drawn, mixed_store
from .presets import preset
from .pretraining import pretrain_scmbm
from .stage_config import LLM4BrainStage

WEIGHTS = "encoder.safetensors"


@dataclass(frozen=True)
class ScmbmConfig:
    """Configuration of :func:`train_scmbm`.

    Parameters
    ----------
    encoder : EncoderConfig
    stage : LLM4BrainStage
    weights : str or None
        Initial encoder weights, published or from an earlier run
        (:func:`fastbrain.llm4brain.load_scmbm`).
    windows : int or None
        Number of training windows, drawn at random from the stores. None: all.
    seed : int
        Seed of the initial weights and of the drawn windows.
    shares : tuple of float
        Share of each store in `windows`, up to a factor. Empty: equal numbers.
    """

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    stage: LLM4BrainStage = field(default_factory=lambda: preset("pretrain"))
    weights: str | None = None
    windows: int | None = None
    seed: int = 0
    shares: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        known = not self.shares or self.windows is not None
        require(self, "shares", known, "be given with a number of windows")

    def to_dict(self) -> dict[str, Any]:
        """Convert to a plain dict for JSON."""
        return to_dict(self)

    @classmethod
    def from_dict(cls, values: Any) -> ScmbmConfig:
        """Build from a plain dict; an unknown key raises :class:`ConfigError`."""
        return from_dict(cls, values)


@checked
@run_together
def train_scmbm(
    store: VoxelStore | StoreCollection,
    out: str | Path,
    config: ScmbmConfig | None = None,
    *,
    more: Sequence[VoxelStore] = (),
    resume: bool = False,
    device: str = "cpu",
    log: Sequence[str] = (),
    on_epoch: Callable[[Row], None] | None = None,
) -> History:
    """Pretrain tokenizer and encoder on masked voxels of the training part.

    Parameters
    ----------
    store : VoxelStore or StoreCollection
        The training part is trained on; the validation part is for validation. Texts are not
        needed (``prepare --no-events``). One encoder is trained for all grids of a collection; a
        window is standardised with the mean and deviation of its grid.
    out : str or Path
        New run folder.
    config : ScmbmConfig, optional
    more : sequence of VoxelStore
        Further stores on the same grid, for one encoder of all. A window is standardised with the
        mean and deviation of its own store; those of `store` are saved with the weights.
    resume : bool
    device : str
    log : sequence of {"tensorboard", "wandb", "trackio"}
        Trackers that receive the numbers of every epoch, besides ``pretrain/log.jsonl``.
    on_epoch : callable, optional
        Receives the row of every finished epoch; what it raises stops training.

    Returns
    -------
    History

    Raises
    ------
    OutputExistsError
        `out` is not empty and `resume` is false.
    CheckpointError
        A resumed run has another configuration or store, or `weights` does not fit.
    SplitError
        The store has no training trials.
    StoreError
        A store in `more` has another grid, repetition time, window length, units or filter.
    ConfigError
        `weights` is not a file, a store is given twice, a store has fewer windows than its share,
        a name in `log` is unknown, or a collection is given with other stores or a position table.
    MissingPartError
        The package of a tracker is not installed.
    TrainingError
        A tracker cannot be opened, or training cannot continue.
    DiskError
        `out` is not writable.
    """
    trackers = check_trackers(log, function="train_scmbm")
    config = absolute_paths(config or ScmbmConfig(), files=("weights",))
    if more and any(isinstance(each, StoreCollection) for each in (store, *more)):
        raise ConfigError(
            "train_scmbm: more must be empty for a collection of stores, got some. Prepare all "
            "people in one collection."
        )
    if not all(each.split.train for each in (store, *more)):
        raise SplitError(
            "train_scmbm: train must have trials, got none. A store that was prepared like another "
            "one (prepare --like) is there to be decoded, not to train on."
        )
    alone = isinstance(store, VoxelStore)
    whole = mixed_store((store, *more)) if alone else store
    singles = (store, *more) if alone else tuple(store.stores.values())
    chosen = drawn(whole, config.windows, seed=config.seed, shares=config.shares)
    before = None if config.weights is None else scans_beside(config.weights)
    check_environment(out, function="train_scmbm")
    check_batch_sizes(config.stage)
    root, team = Path(out), processes()
    said = {"config": config.to_dict(), "store_fingerprint": store.fingerprint()}
    said |= {"more": [each.fingerprint() for each in more]} if more else {}
    with team.first_alone() as first:
        if first:
            new_output(out, resume=resume)
            claim(root, said, function="train_scmbm")
    torch.manual_seed(config.seed)
    model = _encoder(store, config.encoder).to(device)
    single = model.first if isinstance(model, GridEncoders) else model
    facts: dict[str, Any] = {"store": store.fingerprint(), "trained_on": list(chosen)}
    facts |= {"more": said["more"]} if more else {}
    if isinstance(store, StoreCollection):
        facts["grids"] = {name: each.fingerprint() for name, each in store.stores.items()}
    if config.weights is not None:
        loaded = load_scmbm(single.encoder, config.weights, tokenizer=single.tokenizer)
        facts["weights"] = to_dict(loaded)
    size, seed = config.stage.batch_size, config.stage.seed
    run = root / "pretrain"
    with run_log(
        root, [run], trackers, config=config.to_dict(), on_epoch=on_epoch, function="train_scmbm"
    ) as each_epoch:
        history = pretrain_scmbm(
            model,
            WindowLoader(whole, chosen, batch_size=size, shuffle=True, seed=seed),
            config.stage,
            val_loader=WindowLoader(whole, whole.split.val, batch_size=size, shuffle=False),
            run_dir=run,
            resume=resume and run.exists(),
            on_epoch=each_epoch,
            record=facts,
        )
    with team.first_alone() as first:
        if first:
            model.save(root / WEIGHTS)
            # windows that were not drawn count too: the statistics of their store are from all
            seen = joined_scans([*map(scans_of, singles), *([before] if before else [])])
            write_scans(root, seen)
            files = {name: sha256(root / name) for name in (WEIGHTS, SCANS)}
            write_json(root / "manifest.json", facts | {"files": files})
    return history


def _encoder(
    store: VoxelStore | StoreCollection, config: EncoderConfig
) -> BrainEncoder | GridEncoders:
    if isinstance(store, StoreCollection):
        return GridEncoders.of(store, config)
    return BrainEncoder(
        config,
        grid=store.grid,
        frames=store.window_spec.window_trs,
        centers_mm=token_centers(store),
        mean=store.mean,
        inv_std=store.inv_std,
        scale=store.scale,
    )
