"""Make the stories of LeBel et al. (ds003020) ready for BrainLLM: words, windows and split.

fastbrain study lebel ds003020 stories --split-by story --folds 5 --fold 0 --subjects UTS01

Words come from derivative/TextGrids/STORY.TextGrid; the sound begins 10 s after the first volume.
`fastbrain prepare stories STORE` then reads the images of the BIDS folder or of --images.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ._stories import StoryOptions, finish


@dataclass(frozen=True, kw_only=True)
class Config(StoryOptions):
    """Options of ``fastbrain study lebel``."""

    words: Path | None = None
    """Folder of the TextGrids; default: derivative/TextGrids or stimuli in the BIDS folder."""


def run(config: Config) -> None:
    """Plan the study, print a summary, write it."""
    finish(config.plan("lebel", words=config.words), config.out)
