"""Study of pretraining: the encoder pretrained on rest, on the task, on both, or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .._arguments import checked
from .._progress import say
from ..data import VoxelStore, audit_store
from ..data.leaks.pretraining_scans import pretraining_scope, scans_of
from ..errors import ConfigError
from ..llm4brain.evaluate import evaluate_run
from ..llm4brain.training.mixed_windows import mixed_store
from ..llm4brain.training.pipeline import train_llm4brain
from ..llm4brain.training.presets import preset
from ..llm4brain.training.pretrain_encoder import WEIGHTS, ScmbmConfig, train_scmbm
from ..llm4brain.training.run_config import RunConfig
from ..stats.derangements import check_count
from .grid import Variant, run_variants
from .results import Results

# name of a variant -> its title, and the stores that its encoder is pretrained on
PRETRAINED_ON: dict[str, tuple[str, tuple[str, ...]]] = {
    "none": ("no pretraining", ()),
    "task": ("pretrained on the task", ("task",)),
    "rest": ("pretrained on rest", ("rest",)),
    "rest-task": ("pretrained on both", ("task", "rest")),
}


@dataclass(frozen=True)
class _Pretrained:
    """A recipe, and the pretraining of its encoder."""

    recipe: RunConfig
    pretraining: ScmbmConfig | None
    stores: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        pretraining = None if self.pretraining is None else self.pretraining.to_dict()
        return {
            "recipe": self.recipe.to_dict(),
            "pretraining": pretraining,
            "stores": list(self.stores),
        }


@checked
def rest_against_task(
    rest: VoxelStore,
    task: VoxelStore,
    out: str | Path,
    config: RunConfig | None = None,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    windows: int | None = None,
    epochs: int | None = None,
    derangements: int = 100,
    bert: bool = True,
    allow_leak: str | None = None,
    device: str = "cpu",
) -> Results:
    """Compare pretraining on rest, on the task, on both and none, in one recipe on the task.

    Every encoder is pretrained on as many windows for as many steps. All that differs between
    variants with the same seed are these windows. Each run is then trained and scored on the task
    store as by :func:`train_llm4brain` and :func:`evaluate_run`.

    Parameters
    ----------
    rest : VoxelStore
        From ``prepare --no-events --grid-of``, on the grid of `task`.
    task : VoxelStore
        Its training part alone is pretrained on.
    out : str or Path
        Folder of ``encoders``, and of the runs of :func:`run_variants`; finished parts are kept,
        and the same call goes on.
    config : RunConfig, optional
        Its stage `pretrain` pretrains the encoders (default ``preset("pretrain")``), and its
        encoder must not have weights.
    seeds : sequence of int
        Seeds of windows, initial weights, and order of all stages.
    windows : int, optional
        Windows of pretraining; default: all of the smaller training part.
    epochs : int, optional
        Passes over these windows; default: as configured.
    derangements, bert
        See :func:`evaluate_run`.
    allow_leak, device
        See :func:`train_llm4brain`.

    Returns
    -------
    Results
        The reference is "none".

    Raises
    ------
    LeakError
        `rest` has scans or people of the test part of `task`, and `allow_leak` is None.
    StoreError
        The stores differ in grid, repetition time, window length, units or filter.
    ConfigError
        There are fewer windows than `windows`, or `config` has encoder weights.
    """
    check_count(derangements, function="rest_against_task")
    config = config or RunConfig()
    if config.encoder_weights is not None:
        raise ConfigError(
            "rest_against_task: encoder_weights must be None, as the study makes them, got "
            f"'{config.encoder_weights}'."
        )
    stores = {"task": task, "rest": rest}
    mixed_store([*stores.values()])  # raises for stores that do not fit together
    least = min(len(store.split.train) for store in stores.values())
    windows = least if windows is None else windows
    if not 2 <= windows <= least:
        raise ConfigError(
            f"rest_against_task: windows must be 2..{least}, the smaller training part, got "
            f"{windows}."
        )
    audit = audit_store(task, fits=[pretraining_scope(task, scans_of(rest))])
    say(f"audit: {audit.check(allow=allow_leak).summary()}")
    stage = config.pretrain or preset("pretrain")
    stage = stage if epochs is None else replace(stage, epochs=epochs)
    pretraining = ScmbmConfig(encoder=config.model.encoder, stage=stage, windows=windows)
    recipe = replace(config, pretrain=None)
    out = Path(out)

    def train(variant: Variant, seed: int, run: Path, resume: bool) -> None:
        chosen: _Pretrained = variant.config
        given = chosen.recipe.with_seed(seed)
        if chosen.pretraining is not None:
            encoder = out / "encoders" / variant.name / f"seed-{seed}"
            first, *more = (stores[kind] for kind in chosen.stores)
            if not (encoder / "manifest.json").is_file():
                scmbm = replace(
                    chosen.pretraining,
                    seed=seed,
                    stage=replace(chosen.pretraining.stage, seed=seed),
                )
                train_scmbm(
                    *(first, encoder, scmbm), more=more, resume=encoder.exists(), device=device
                )
            given = replace(given, encoder_weights=str(encoder / WEIGHTS))
        train_llm4brain(task, run, given, resume=resume, device=device, allow_leak=allow_leak)

    def evaluate(run: Path) -> None:
        evaluate_run(run, count=derangements, bert=bert, device=device)

    return run_variants(
        [
            Variant(name, title, _Pretrained(recipe, pretraining if kinds else None, kinds))
            for name, (title, kinds) in PRETRAINED_ON.items()
        ],
        out,
        seeds=seeds,
        train=train,
        evaluate=evaluate,
        about={
            **{kind: store.fingerprint() for kind, store in stores.items()},
            "derangements": derangements,
            "bert": bert,
        },
    )
