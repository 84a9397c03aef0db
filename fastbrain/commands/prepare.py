"""Turn a runs table, a BIDS tree or a study into a voxel store.

fastbrain prepare cohort/runs.tsv store --kernel 4 4 4 --delay 4 --window 4 --test-subjects 06

fastbrain prepare new/runs.tsv new-store --like runs/demo/run

fastbrain prepare cohort/runs.tsv store --test-subjects 06 --confounds standard fd:0.5

fastbrain prepare cohort/runs.tsv store --test-subjects 06 --video-model models/llava-onevision

fastbrain prepare cohort/runs.tsv store --test-subjects 06 --n-jobs 8 --dtype int8

fastbrain prepare cohort/runs.tsv rest-store --no-events --train 01 --val 02 --grid-of store

With --confounds, head motion and other confounds are regressed out together with the drifts, and
volumes above a threshold are censored. Runs on surfaces (.dtseries.nii, .func.gii) take --surfaces
LEFT RIGHT, atlases --parcels. With --video-model, the text of a trial is the model's answer about
its clip (stim_file in the events) to a random instruction. A study (fastbrain study) brings its own
windows, texts and split. With --like a trained run or its store brings everything: the new store is
only decoded, so its events need no text. With --no-events windows follow each other at a fixed
step: recordings at rest, for fastbrain train scmbm alone.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path

from .._progress import say
from ..data import (
    CollectionPlan,
    Study,
    Surrogate,
    audit_trials,
    plan_like,
    plan_rest,
    write_collection,
    write_store,
)
from ..data.store.inputs import check_texts
from ..data.store.plan import StorePlan
from ..data.store.preparation import open_preparation
from ..data.studies.annotation import write_surrogates
from ..data.studies.own_clips import SURROGATES, answered, trials_to_annotate
from ..data.studies.study import is_study
from ..errors import ConfigError
from ._annotation import AnnotationOptions
from ._denoising import DenoisingOptions
from ._grids import NativeGridOptions
from ._native_grids import OF_TRIALS, plan_of_native_grids
from ._preparation import PreparationOptions
from ._splits import SplitOptions
from ._throughput import ThroughputOptions

_SPLIT = tuple(field.name for field in fields(SplitOptions))
_DENOISED = tuple(field.name for field in fields(DenoisingOptions))
_PREPARED = (
    *("kernel", "mask", "units", "high_pass", "smoothing", "resample"),
    *("surfaces", "patch_size", "layout"),
)
_BETAS = ("betas", "beta_divisor")
_LIKE = (*_PREPARED, *_BETAS, *_DENOISED, "delay", "window", "onset_offset", "fir", *_SPLIT)


_OF_ANSWERS = ("instructions", "answers", "device", "seed")
_GRID = (*_PREPARED, "window", "confounds", "censor")


@dataclass(frozen=True, kw_only=True)
class Config(
    NativeGridOptions, SplitOptions, PreparationOptions, AnnotationOptions, ThroughputOptions
):
    """Options of ``fastbrain prepare``."""

    like: Path | None = None
    """Run folder or store that gives grid, filter, windows and statistics; all trials are for
    testing."""
    no_events: bool = False
    """Windows at a fixed step, without texts: the store only pretrains the encoder."""
    every: int | None = None
    """With --no-events: volumes from one window to the next; default: those of a window."""
    grid_of: Path | None = None
    """With --no-events: store (or run) that gives grid, window length, units and filter."""
    resume: bool = False
    """Resume an interrupted preparation."""
    dry_run: bool = False
    """Check all inputs and print what would be written."""


def run(config: Config) -> None:
    """Check the inputs, then write the store."""
    surrogates: tuple[Surrogate, ...] = ()
    if config.annotates:
        plan, surrogates = _annotated(config)
    else:
        config.refuse_set(_OF_ANSWERS, "texts of the events", "as no model or table writes them")
        plan = _plan(config)
        if is_study(config.source):
            surrogates = Study.load(config.source).surrogates
        elif plan.trials and config.like is None and not config.no_events:
            surrogates = config.labelled(plan.runs)[1]
    plan = plan.stored_as(config.dtype)
    for name, value in plan.summary().items():
        print(f"{name:<12} {value}")
    unanswered = config.dry_run and config.annotates
    if plan.split.train and not config.no_events and not unanswered:
        audit = audit_trials(plan.trials, plan.split)
        print(f"{'audit':<12} {audit.summary()}")
        if not audit.clean:
            say(f"note: training refuses this split. {audit.remedy()}")
    if config.dry_run:
        for note in plan.notes():
            say(f"note: {note}")
        say("dry run: nothing was written")
        return
    if isinstance(plan, CollectionPlan):
        kept = write_collection(
            plan, config.out, resume=config.resume, n_jobs=config.n_jobs, dask=config.dask
        )
        for member in kept.stores.values() if surrogates else ():
            own = [answer for answer in surrogates if answer.record_id in member.by_id]
            write_surrogates(member.path / SURROGATES, own)
        say(f"collection {kept.fingerprint()} of {len(kept.stores)} stores written to {config.out}")
        return
    store = write_store(
        plan, config.out, resume=config.resume, n_jobs=config.n_jobs, dask=config.dask
    )
    if surrogates:
        write_surrogates(config.out / SURROGATES, surrogates)
    say(f"store {store.fingerprint()} written to {config.out}")


def _plan(config: Config) -> StorePlan | CollectionPlan:
    if config.native_grids:
        need = not config.no_events
        return plan_of_native_grids(config, lambda: config.splitter("prepare", need_test=need))
    config.refuse_set(("centred",), "one grid", "as people share it. Add --native-grids")
    if config.no_events:
        return _without_events(config)
    config.refuse_set(
        ("every", "grid_of"), "a store with events", "which has its own windows. Add --no-events"
    )
    if config.like is None:
        return config.plan(lambda: config.splitter("prepare"))
    config.refuse_set(_LIKE, f"--like {config.like}")
    if is_study(config.source):
        raise ConfigError(
            f"prepare: --like must be given with a runs table or a BIDS folder, got the study "
            f"{config.source}."
        )
    runs, *_ = config.cohort(texts=False)
    return plan_like(runs, open_preparation(config.like), ignore=config.ignore, late=config.late)


def _without_events(config: Config) -> StorePlan:
    config.refuse_set((*OF_TRIALS, "like"), "--no-events", "as its windows are not those of trials")
    if config.grid_of is not None:
        config.refuse_set(_GRID, f"--grid-of {config.grid_of}")
    if is_study(config.source):
        raise ConfigError(
            f"prepare: --no-events must be given with a runs table or a BIDS folder, got the study "
            f"{config.source}."
        )
    split = config.splitter("prepare", need_test=False)
    runs, *_ = config.cohort(need_events=False)
    return plan_rest(
        runs,
        split=split,
        window_trs=config.window,
        every=config.every,
        kernel=config.kernel,
        mask=config.mask,
        units=config.units,
        high_pass_s=config.high_pass_s,
        smoothing_mm=config.smoothing,
        resample=config.resample,
        denoising=config.denoising(),
        exclude=config.exclusion(),
        grid_of=None if config.grid_of is None else open_preparation(config.grid_of),
        layout=None if config.grid_of is not None else config.layout_spec(runs),
    )


def _annotated(config: Config) -> tuple[StorePlan, tuple[Surrogate, ...]]:
    """Plan a store with texts that an annotator writes; all else is checked before it is asked."""
    config.refuse_set(
        ("like", "no_events", "every", "grid_of", "native_grids", "centred", *_BETAS),
        "--captions, --text-model and --video-model",
        "of which the trials need texts",
    )
    if is_study(config.source):
        raise ConfigError(
            f"prepare: --video-model must be given with a runs table or a BIDS folder, got the "
            f"study {config.source}, which has its texts. Give it to fastbrain study."
        )
    config.check_annotator("prepare", config.out)
    instructions, split = config.asked(), config.splitter("prepare")
    runs, _, window, _ = config.cohort(texts=False)
    dropped: list[str] = []
    trials = trials_to_annotate(
        *(runs, window),
        ignore=config.ignore,
        dropped=dropped if config.late == "drop" else None,
        need_clips=config.video_model is not None,
    )
    plan = config.planned(runs, trials, window, split)
    if config.dry_run:
        return replace(plan, dropped=tuple(dropped)), ()
    annotator, cache = config.annotator()
    assert annotator is not None
    # those of the plan: without excluded runs and censored windows
    answers, surrogates = answered(
        *(plan.trials, plan.runs, annotator),
        instructions=instructions,
        cache=cache,
        seed=config.seed,
    )
    check_texts(plan.runs, answers)
    return replace(plan, trials=answers, dropped=tuple(dropped)), surrogates
