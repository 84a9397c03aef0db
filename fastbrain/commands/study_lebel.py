"""Make the stories of LeBel et al. (ds003020) ready for BrainLLM: words, windows and split.

fastbrain study lebel ds003020 stories --split-by story --folds 5 --fold 0 --subjects UTS01

Words come from derivative/TextGrids/STORY.TextGrid; the sound begins 10 s after the first volume.
`fastbrain prepare stories STORE` then reads the images of the BIDS folder or of --images.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..data import plan_stories
from ._stories import StoryOptions, finish


@dataclass(frozen=True, kw_only=True)
class Config(StoryOptions):
    """Options of ``fastbrain study lebel``."""

    words: Path | None = None
    """Folder of the TextGrids; default: derivative/TextGrids or stimuli in the BIDS folder."""


def run(config: Config) -> None:
    """Plan the study, print a summary, write it."""
    config.check_places()
    study = plan_stories(
        config.source,
        "lebel",
        split=config.story_splitter(),
        segment_trs=config.segment_trs,
        prompt_trs=config.prompt_trs,
        window_trs=config.window_trs,
        delay_s=config.delay,
        stories=config.stories,
        subjects=config.subjects,
        words=config.words,
        images=config.images,
        space=config.space,
        allow_outside=config.allow_outside,
        chosen=config.image_entities(),
    )
    finish(study, config.out)
