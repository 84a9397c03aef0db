"""Make a resting-state study from NIfTI images and an atlas: one series of regions a person.

fastbrain study rest rest-bids rest-study --atlas atlas.nii.gz --task rest

fastbrain study rest rest-bids rest-study --atlas atlas.nii.gz --task rest --tr 2 --high-pass 100
--low-pass 10 --confounds trans_x trans_y trans_z rot_x rot_y rot_z

`fastbrain train vq-lm rest-study RUN` then reads it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from .._environment import check_environment
from .._progress import say
from ..errors import CohortError
from ._bids import ImageOptions


@dataclass(frozen=True, kw_only=True)
class Config(ImageOptions):
    """Options of ``fastbrain study rest``."""

    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE")]
    """BIDS folder, or runs table (TSV), in which events may be n/a."""
    out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="STUDY")]
    """New folder of the study."""
    atlas: Path
    """Label image on the grid of the images; 0 means no region."""
    labels: Path | None = None
    """Table (TSV) with index and name of the regions to use; default: every label of the atlas."""
    participants: Path | None = None
    """Table with participant_id and variables; default: participants.tsv beside the images."""
    task: str | None = None
    """BIDS task, e.g. rest."""
    tr: float | None = None
    """Repetition time to resample to, seconds; default: that of the runs, if it is the same."""
    high_pass: Literal["none"] | float = 128.0
    """Longest period that is kept, seconds; none removes mean and line only."""
    low_pass: Literal["none"] | float = "none"
    """Shortest period that is kept, seconds."""
    confounds: tuple[str, ...] = ()
    """Columns of the confounds tables to regress out."""
    units: Literal["psc", "zscore"] = "psc"
    """Percent signal change, or standard deviations of the region in the run."""
    several: Literal["join", "first"] = "join"
    """Several runs of a person: join them in their order, or use the first."""
    resume: bool = False
    """Go on with the runs that an interrupted extraction has finished."""


def run(config: Config) -> None:
    """Find runs and people, extract the series, write the study."""
    from ..data import read_runs_table, runs_from_bids
    from ..data.studies.rest_from_images import rest_from_images
    from ..data.studies.rest_inputs import RestOptions

    check_environment(config.out, function="study rest")
    if config.source.is_dir():
        runs = runs_from_bids(
            config.source,
            task=config.task,
            space=config.space,
            **config.image_entities(),
            allow_outside=config.allow_outside,
            need_events=False,
        )
        beside = config.source / "participants.tsv"
    else:
        runs = read_runs_table(config.source, allow_outside=config.allow_outside, need_events=False)
        beside = config.source.parent / "participants.tsv"
    participants = config.participants or beside
    if not participants.is_file():
        raise CohortError(
            f"study rest: {participants} must name the people, got no file. Give the table "
            "(--participants)."
        )
    options = RestOptions(
        tr=config.tr,
        high_pass_s=None if config.high_pass == "none" else config.high_pass,
        low_pass_s=None if config.low_pass == "none" else config.low_pass,
        confounds=config.confounds,
        units=config.units,
        several=config.several,
    )
    people = len({r.subject for r in runs})
    print(f"{'runs':<12} {len(runs)} of {people} people")
    rest_from_images(
        runs,
        config.atlas,
        participants,
        config.out,
        options=options,
        labels=config.labels,
        resume=config.resume,
    )
    say(f"study written to {config.out}; next: fastbrain train vq-lm {config.out} RUN")
