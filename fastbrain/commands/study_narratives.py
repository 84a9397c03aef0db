"""Make Narratives (ds002345) ready for BrainLLM: words of stories, prompts, windows and split.

fastbrain study narratives ds002345 narratives --split-by story --folds 5 --fold 0

Words come from stimuli/gentle/STORY/align.csv, onsets from the events files; scans listed in
code/scan_exclude.json are left out. `fastbrain prepare narratives STORE` then reads the images.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ._stories import StoryOptions, finish


@dataclass(frozen=True, kw_only=True)
class Config(StoryOptions):
    """Options of ``fastbrain study narratives``."""

    clock: Literal["story", "audio"] = "story"
    """Where the times of the words start: at the story, or at the first row of the events."""


def run(config: Config) -> None:
    """Plan the study, print a summary, write it."""
    finish(config.plan("narratives", clock=config.clock), config.out)
