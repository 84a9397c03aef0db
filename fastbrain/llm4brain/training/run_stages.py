"""Stages of a run of LLM4Brain, in order; all have one signature and share one state."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ...data import Audit, FitScope, WindowLoader
from ...data.store.members import AnyStore
from ...training.run import Row
from ..config import LLM4BrainConfig
from ..grid_models import AnyModel
from .adaptation_target import people_of
from .grid_readouts import GridReadouts, fit_grid_readouts
from .latent_targets import VideoLatents, text_targets, video_targets
from .pretraining import pretrain_scmbm, pretrain_video
from .run_config import RunConfig
from .stage_config import LLM4BrainStage
from .stages import calibrate, stage_one, stage_two
from .stimuli import clip_frames


@dataclass
class RunState:
    """State that the stages of a run share.

    Parameters
    ----------
    store : VoxelStore or StoreCollection
    config : RunConfig
    model : LLM4Brain or GridModels
    out : Path
    resume : bool
    adapt : tuple of str
        Unlabelled trials for domain adaptation.
    prompts : tuple of str
    instructions : mapping of str to str
        Instruction by trial id.
    audit : Audit
    allow_leak : str or None
    facts : dict
        Entries of the manifest.
    on_epoch : callable or None
        Receives the row of every epoch.
    targets : VideoLatents or None
        Target latents of stage I, once :func:`target_latents` has run.
    readouts : GridReadouts or None
        Fits of the linear readouts, once :func:`readout` has run.
    """

    store: AnyStore
    config: RunConfig
    model: AnyModel
    out: Path
    resume: bool
    adapt: tuple[str, ...]
    prompts: tuple[str, ...]
    instructions: Mapping[str, str]
    audit: Audit
    allow_leak: str | None
    facts: dict[str, Any] = field(default_factory=dict)
    on_epoch: Callable[[Row], None] | None = None
    targets: VideoLatents | None = None
    readouts: GridReadouts | None = None

    def loader(self, trials: tuple[str, ...], stage: LLM4BrainStage | None) -> WindowLoader:
        """Make a loader of windows, shuffled as the stage says; in order without a stage."""
        given = stage or LLM4BrainStage()
        return WindowLoader(
            self.store,
            trials,
            batch_size=given.batch_size,
            shuffle=stage is not None,
            seed=given.seed,
        )

    @cached_property
    def val_loader(self) -> WindowLoader:
        """Loader of the validation windows, in batches of stage I."""
        stage = self.config.stage1 or LLM4BrainStage()
        return WindowLoader(
            self.store, self.store.split.val, batch_size=stage.batch_size, shuffle=False
        )

    @property
    def asked(self) -> dict[str, Any]:
        """Prompts and instructions, as the functions of the stages take them."""
        return {"prompts": self.prompts, "instructions": self.instructions}

    def texts(self, part: Any) -> dict[str, str]:
        """Return the texts of a part of the split by trial id."""
        return texts_of(self.store, part)

    def options(self, name: str) -> dict[str, Any]:
        """Return the folder of a stage, whether it resumes, its record and the epoch hook."""
        folder = self.out / "stages" / name
        record = {"store": self.store.fingerprint()}
        resume = self.resume and folder.exists()
        return {
            "run_dir": folder,
            "resume": resume,
            "record": record,
            "on_epoch": self.on_epoch,
        }

    def fitted(self, scopes: Iterable[FitScope]) -> None:
        """Audit what was fitted during the run; raise :class:`LeakError` for a leak."""
        self.audit = self.audit.with_fits(tuple(scopes)).check(allow=self.allow_leak)


def pretraining(run: RunState) -> None:
    """Pretrain tokenizer and encoder by masked autoencoding."""
    stage = run.config.pretrain
    if stage is not None:
        loader = run.loader(run.store.split.train, stage)
        options = run.options("pretrain")
        pretrain_scmbm(run.model, loader, stage, val_loader=run.val_loader, **options)


def target_latents(run: RunState) -> None:
    """Train the video branch on clips if configured, and compute the targets of stage I."""
    split = run.store.split
    if run.config.stimulus == "text":
        texts = run.texts("train") | run.texts("val")
        run.targets = text_targets(run.model.first, texts, fit=split.train)
        run.fitted(run.targets.scopes)
        return
    shown = (*split.train, *split.val)
    frames = clip_frames(run.store, run.model.first, shown)
    if run.config.video is not None:
        options = run.asked | run.options("video")
        texts, val_texts = run.texts("train"), run.texts("val")
        pretrain_video(run.model, texts, frames, run.config.video, val_texts=val_texts, **options)
    run.targets = video_targets(run.model.first, shown, frames)


def readout(run: RunState) -> None:
    """Fit the linear readout of each grid by ridge regression."""
    if run.model.first.readout is None:
        return
    assert run.targets is not None
    run.readouts = found = fit_grid_readouts(
        run.model,
        run.store,
        run.targets,
        load=lambda ids: run.loader(ids, None),
        memory_gb=run.config.readout_memory_gb,
        predictions=run.config.calibrate is not None,
    )
    run.facts["readout"] = found.facts()
    run.fitted(found.scopes)


def calibration(run: RunState) -> None:
    """Tune the projection on out-of-fold predictions of the readout."""
    stage = run.config.calibrate
    latents = None if run.readouts is None else run.readouts.latents
    if stage is not None and latents is not None:
        options = run.asked | run.options("calibrate")
        calibrate(run.model, latents, run.texts("train"), stage, **options)


def alignment(run: RunState) -> None:
    """Align fMRI latents with the targets (stage I)."""
    stage = run.config.stage1
    if stage is not None:
        assert run.targets is not None
        loader = run.loader(run.store.split.train, stage)
        options = run.options("stage1")
        stage_one(run.model, loader, run.targets, stage, val_loader=run.val_loader, **options)


def tuning(run: RunState) -> None:
    """Tune on answers and adapt to unlabelled target subjects (stage II)."""
    stage, store = run.config.stage2, run.store
    if stage is None:
        return
    classes = {name: i for i, name in enumerate(categories(store))}
    options = run.asked | run.options("stage2")
    stage_two(
        run.model,
        run.loader(store.split.train, stage),
        stage,
        labels={t: classes[store.by_id[t].category] for t in store.split.train},
        target_loader=run.loader(run.adapt, stage) if run.adapt else None,
        val_loader=run.val_loader,
        **options,
    )


STAGES: tuple[Callable[[RunState], None], ...] = (
    pretraining,
    target_latents,
    readout,
    calibration,
    alignment,
    tuning,
)


def sizes_for(store: AnyStore, config: RunConfig) -> LLM4BrainConfig:
    """Set window length, classes and people of a model's sizes to those of a store."""
    return replace(
        config.model,
        frames=store.window_spec.window_trs,
        n_classes=len(categories(store)) if config.stage2 is not None else 0,
        people=people_of(store, config),
    )


def texts_of(store: AnyStore, part: Any) -> dict[str, str]:
    """Return the texts of a part of the split by trial id."""
    return {t: store.by_id[t].text for t in store.split.part(part)}


def categories(store: AnyStore) -> list[str]:
    """List the categories of the training trials, sorted."""
    return sorted({store.by_id[t].category for t in store.split.train})
