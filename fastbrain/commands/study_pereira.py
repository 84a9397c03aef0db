"""Make the sentences of Pereira et al. 2018 ready for BrainLLM: images, prompts and split.

fastbrain study pereira pereira2018 sentences --split-by story --folds 5 --fold 0

The published .mat files become NIfTI images beside the study (--images), one volume a sentence.
Their order is no time, so that `fastbrain prepare sentences STORE --units zscore --high-pass none`
follows.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from .._environment import check_environment, check_name
from .._progress import say
from ..data import plan_pereira, write_pereira_images
from ..errors import OutputExistsError
from ._splits import SplitOptions
from ._stories import finish


@dataclass(frozen=True, kw_only=True)
class Config(SplitOptions):
    """Options of ``fastbrain study pereira``."""

    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE")]
    """Folder with SUBJECT/examples_384sentences.mat and examples_243sentences.mat."""
    out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="STUDY")]
    """New folder of the study."""
    images: Path | None = None
    """Folder for the images, reused if it exists; default: STUDY-images."""
    subjects: tuple[str, ...] = ()
    """Convert only these people."""
    prompt_sentences: int = 3
    """Sentences before each sentence, in its passage, that are its prompt."""


def run(config: Config) -> None:
    """Convert the images, plan the study, print a summary, write it."""
    if config.out.exists():
        raise OutputExistsError(f"study: {config.out} must not exist. Choose another name.")
    check_environment(config.out, function="study")
    check_name(config.source.absolute(), function="study")
    split = config.splitter("study")
    images = config.images or config.out.with_name(f"{config.out.name}-images")
    if images.is_dir():
        say(f"images: those in {images}")
    else:
        write_pereira_images(config.source, images, subjects=config.subjects)
    study = plan_pereira(images, split=split, prompt_sentences=config.prompt_sentences)
    finish(study, config.out, advice=" --units zscore --high-pass none")
