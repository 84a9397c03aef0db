"""Train a language model on codes of resting recordings, and ask it for a number: age, say.

fastbrain train vq-lm rest-study runs/codes --simulate 60

fastbrain train vq-lm rest-study runs/codes --simulate 60 --dry-run

Autoencoder, shared vocabulary and tuning in one run; then the people who were held out are scored
beside the mean, connectivity ridge and SVR, vision models that are shown the series as a picture,
and a language model that reads the states of the encoder.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from .._environment import is_follower
from .._io import read_json
from .._progress import say
from ..data import (
    RestDesign,
    read_resting,
    resting_study,
    simulate_rest,
    write_resting,
)
from ..data.studies.connectome_study import read_rest
from ..errors import InputError
from ._training import given, print_configuration

if TYPE_CHECKING:
    from ..vqlm.training.config import VQLMConfig


@dataclass(frozen=True)
class Config:
    """Options of ``fastbrain train vq-lm``."""

    study: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="STUDY")]
    """Folder of participants.tsv, series/ or connectomes/, and study.json; see docs/vq.md."""
    out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """New run folder."""
    simulate: int | None = None
    """Number of simulated people to write to STUDY first; their connectivity depends on age."""
    config: Path | None = None
    """JSON file with any part of the configuration; see --print-config."""
    preset: (
        Literal[
            "fastbrain", "fastbrain-small", "poster", "poster-small", "neurolm", "neurolm-small"
        ]
        | None
    ) = None
    """Preset of the autoencoder; default: as configured (fastbrain-small). Those without -small are
    at full size and need --llm."""
    domain: float | None = None
    """Weight of the domain classifier; default: as in the preset."""
    llm: str | None = None
    """Name or folder of a causal language model; default: a small one, trained here."""
    code_start: Literal["aligned", "rotated", "random"] | None = None
    """Initial embeddings of the codes: their images under the map that the domain classifier
    aligns, a random projection of the codebook, or random; default: aligned with --domain."""
    vlm: str | None = None
    """Name or folder of a vision-language model to compare with; default: none."""
    target: str | None = None
    """Column to predict; default: as configured (age)."""
    kind: Literal["scale", "label"] | None = None
    """Whether the target is a number or a label; default: as configured (scale)."""
    question: str | None = None
    """Question to the model; default: as configured (how old is this person ?)."""
    seed: int | None = None
    """Seed of the split and of all random numbers; default: as configured (0)."""
    resume: bool = False
    """Resume an interrupted run."""
    log: tuple[str, ...] = ()
    """Trackers that get the numbers of every epoch: tensorboard, wandb, trackio."""
    dry_run: bool = False
    """Check everything, print shapes, parameters, memory and time, and stop. Without a study in
    STUDY, the numbers are for 1000 people of 424 regions and 490 frames, as in UK Biobank."""
    print_config: bool = False
    """Print the whole configuration as JSON and stop; STUDY and RUN may be left out."""


def run(config: Config) -> None:
    """Assemble the configuration, train and score."""
    from ..integrations.peft import accelerate_peft
    from ..training.processes import together
    from ..training.trackers import check_trackers
    from ..vqlm.evaluate_run import evaluate_vqlm_run
    from ..vqlm.training.coder_stage import coder_settings
    from ..vqlm.training.config import VQLMConfig
    from ..vqlm.training.people import part_people
    from ..vqlm.training.pipeline import train_vqlm

    whole = VQLMConfig.from_dict(read_json(config.config)) if config.config else VQLMConfig()
    names = ("preset", "domain", "llm", "code_start", "vlm", "target", "kind", "question", "seed")
    whole = replace(whole, **given(config, *names))
    if config.print_config:
        print_configuration(whole)
        return
    check_trackers(config.log, function="train vq-lm")
    if config.dry_run:
        _describe(config, whole)
        return
    with together("train vq-lm") as team:
        with team.first_alone() as first:
            kept = config.resume and config.study.exists()
            if first and config.simulate is not None and not kept:
                simulated = resting_study(
                    simulate_rest(RestDesign(people=config.simulate, seed=whole.seed))
                )
                # both raise before anything is written
                coder_settings(whole, regions=len(simulated.regions))
                part_people(simulated, whole)
                write_resting(simulated, config.study)
        study = read_rest(config.study)
        train_vqlm(
            study, config.out, whole, resume=config.resume, fused=accelerate_peft, log=config.log
        )
    if is_follower():
        return
    print(evaluate_vqlm_run(config.out, study).table())
    say(f"people: subjects.md; report: report.html; scores: metrics.json; in {config.out}")


def _describe(config: Config, whole: VQLMConfig) -> None:
    """Print what would be trained."""
    import numpy as np

    from ..vqlm.training.coder_stage import coder_settings
    from ..vqlm.training.footprint import StudySize, footprint
    from ..vqlm.training.language import corpus
    from ..vqlm.training.people import check_lengths, part_people

    labels: tuple[str, ...] = ()
    if config.simulate is None and not config.study.exists():
        count = 1000
        test, val = round(whole.test_part * count), round(whole.val_part * count)
        parts = {"train": count - test - val, "val": val, "test": test}
        size = StudySize(**parts, regions=424, frames=490, tr=0.735)
        say(f"note: there is no study {config.study}: the numbers are for {count} people")
    else:
        if config.simulate is None and (config.study / "connectomes").is_dir():
            raise InputError(
                "train vq-lm: --dry-run must have a study of series, got connectomes, which need "
                "no autoencoder and take minutes. Leave --dry-run out."
            )
        if config.simulate is None:
            study = read_resting(config.study)
        else:
            design = RestDesign(people=config.simulate, seed=whole.seed)
            study = resting_study(simulate_rest(design))
        if whole.kind == "label":
            labels = tuple(sorted(set(study.labels(whole.target).values())))
        else:
            study.numbers(whole.target)
        settings = coder_settings(whole, regions=len(study.regions))
        check_lengths(study, settings.steps, settings.sizes.patch)
        parts = {part: len(people) for part, people in part_people(study, whole).items()}
        frames = int(np.median([values.shape[1] for values in study.series.values()]))
        size = StudySize(**parts, regions=len(study.regions), frames=frames, tr=study.tr)
    texts = corpus(whole, labels) if whole.llm is None else ()
    for name, value in footprint(whole, size, texts=texts).items():
        print(f"{name:<16} {value}")
    say("dry run: nothing was trained")
