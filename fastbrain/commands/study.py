"""Make a public data set ready: runs, trials, target texts and split. Needs no image.

fastbrain study had ds004488 had-study --test-subjects 27 28 29 30 --closed-set

fastbrain study bold5000 ds001499 b5k --split-by session --train 01 02 --val 03 --test 04
--new-stimuli --categories coco

fastbrain study had ds004488 had-study --test-subjects 30 --video-model models/llava-onevision

fastbrain study urgen urgen-bids urgen-study --split-by subject --train 01 02 --val 03 --test 04
--closed-set

`fastbrain prepare had-study store` then reads the images, from where they are expected.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from .._environment import check_name
from .._progress import say
from ..data import (
    Study,
    audit_trials,
    known_dataset,
    plan_study,
)
from ..data.studies.on_request import RequestedDataset
from ..errors import OutputExistsError
from ._annotation import AnnotationOptions
from ._bids import ImageOptions
from ._splits import SplitOptions


@dataclass(frozen=True, kw_only=True)
class Config(SplitOptions, ImageOptions, AnnotationOptions):
    """Options of ``fastbrain study``."""

    dataset: Annotated[Literal["had", "bold5000", "boldmoments", "urgen"], tyro.conf.Positional]
    """Name of the data set."""
    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE")]
    """BIDS folder of the data set."""
    out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="STUDY")]
    """New folder of the study."""
    images: Path | None = None
    """Folder of preprocessed images (e.g. derivatives/fmriprep); default: the BIDS folder."""
    explained_by: tuple[Path, ...] = ()
    """Folders with captions and class names that are not in the BIDS folder."""
    categories: tuple[str, ...] = ()
    """Keep only these categories."""


def run(config: Config) -> None:
    """Plan the study, print a summary, write it."""
    dataset = known_dataset(config.dataset)
    # a model may run for hours: check now that its results can be written
    if config.out.exists():
        raise OutputExistsError(f"study: {config.out} must not exist. Choose another name.")
    config.check_annotator("study", config.out)
    check_name(config.source.absolute(), function="study")
    instructions = config.asked()
    annotator, cache = config.annotator()
    study = plan_study(
        config.source,
        dataset,
        split=config.splitter("study"),
        images=config.images,
        space=config.space,
        allow_outside=config.allow_outside,
        explained_by=config.explained_by,
        categories=config.categories,
        annotator=annotator,
        instructions=instructions,
        cache=cache,
        seed=config.seed,
        chosen=config.image_entities(),
    )
    audit = audit_trials(study.trials, study.split)
    if isinstance(dataset, RequestedDataset):
        say(f"note: {dataset.note}")
    for name, value in {**_described(study), "audit": audit.summary()}.items():
        print(f"{name:<12} {value}")
    if not audit.clean:
        say(f"note: training refuses this split. {audit.remedy()} See --new-stimuli.")
    if len(study.absent):
        say(f"note: {len(study.absent)} images are absent. {dataset.how_to_fetch()}")
    study.save(config.out)
    say(f"study written to {config.out}; next: fastbrain prepare {config.out} STORE")


def _described(study: Study) -> dict[str, str]:
    """Describe the study for display, one line for each entry."""
    split, trials = study.split, study.trials
    texts = {s.text for s in study.surrogates}
    source = study.surrogates[0]
    absent = study.absent
    return {
        "data set": f"{study.dataset.title}, {study.dataset.page}",
        "runs": f"{len(study.runs)} of {len({r.subject for r in study.runs})} subjects",
        "windows": f"{study.window.window_trs} volumes from {study.window.delay_s:g} s on, onsets "
        f"{study.window.onset_offset_s:+g} s",
        "trials": f"{len(trials)} of {len({t.stimulus for t in trials})} stimuli in "
        f"{len({t.category for t in trials})} categories",
        "split": f"{len(split.train)} train, {len(split.val)} val, {len(split.test)} test, "
        f"{split.unused} unused (guard {split.guard_trs} volumes)",
        "targets": f"{len(texts)} different texts by {source.model} ({source.digest})",
        "images": f"{len(study.runs) - len(absent)} of {len(study.runs)} there",
    }
