"""Options and summary of the commands that make a study of stories."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from .._environment import check_environment, check_name
from .._progress import say
from ..data import Split, Study, audit_trials, plan_stories, split_story_blocks
from ..data.readers.events import Trial
from ..errors import ConfigError, OutputExistsError
from ._bids import ImageOptions
from ._splits import SplitOptions


@dataclass(frozen=True, kw_only=True)
class StoryOptions(SplitOptions, ImageOptions):
    """Options of ``fastbrain study lebel`` and ``fastbrain study narratives``."""

    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE")]
    """BIDS folder of the data set."""
    out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="STUDY")]
    """New folder of the study."""
    images: Path | None = None
    """Folder of preprocessed images (e.g. derivatives/fmriprep); default: the BIDS folder."""
    stories: tuple[str, ...] = ()
    """Keep only these stories."""
    subjects: tuple[str, ...] = ()
    """Keep only these people."""
    segment_trs: int = 4
    """Volumes per text: the words of these volumes."""
    prompt_trs: int = 3
    """Volumes before a segment: their words are its prompt (the paper: 0 to 3)."""
    window_trs: int = 4
    """Volumes that are decoded."""
    delay: float | None = None
    """Seconds from the start of a segment to its window; default: the length of the segment."""
    blocks: int | None = None
    """In place of other splits: contiguous blocks of each story; the block of --fold tests."""

    def story_splitter(self) -> Callable[[list[Trial]], Split]:
        """Return the function from trials to the requested split.

        Raises
        ------
        ConfigError
            No way to split was given, or several were.
        """
        if self.blocks is None:
            return self.splitter("study")
        if self.test_subjects or self.train or self.val or self.test or self.folds is not None:
            raise ConfigError(
                "study: a split must be given in one way. Use --blocks, or --test-subjects, or "
                "--train, --val and --test, or --folds."
            )
        blocks, fold = self.blocks, self.fold
        return lambda trials: split_story_blocks(trials, blocks=blocks, fold=fold)

    def plan(self, dataset: str, **options: Any) -> Study:
        """Plan the study of a data set; `options` are those of its own command."""
        self.check_places()
        return plan_stories(
            self.source,
            dataset,
            split=self.story_splitter(),
            segment_trs=self.segment_trs,
            prompt_trs=self.prompt_trs,
            window_trs=self.window_trs,
            delay_s=self.delay,
            stories=self.stories,
            subjects=self.subjects,
            images=self.images,
            space=self.space,
            allow_outside=self.allow_outside,
            chosen=self.image_entities(),
            **options,
        )

    def check_places(self) -> None:
        """Raise if the study cannot be written or the source has an invalid name."""
        if self.out.exists():
            raise OutputExistsError(f"study: {self.out} must not exist. Choose another name.")
        check_environment(self.out, function="study")
        check_name(self.source.absolute(), function="study")


def finish(study: Study, out: Path, *, advice: str = "") -> None:
    """Print a summary of a study and its audit, and write it.

    Parameters
    ----------
    study : Study
    out : Path
    advice : str
        Options of ``fastbrain prepare`` for this study.
    """
    audit = audit_trials(study.trials, study.split)
    for name, value in {**_described(study), "audit": audit.summary()}.items():
        print(f"{name:<12} {value}")
    if not audit.clean:
        say(f"note: training refuses this split. {audit.remedy()} See --split-by story.")
    if len(study.absent):
        say(f"note: {len(study.absent)} images are absent. {study.dataset.how_to_fetch()}")
    study.save(out)
    say(f"study written to {out}; next: fastbrain prepare {out} STORE{advice}")


def _described(study: Study) -> dict[str, str]:
    """Describe the study for display, one line for each entry."""
    split, trials = study.split, study.trials
    words = sorted(len(t.text.split()) for t in trials)
    prompted = sum(bool(t.prompt) for t in trials)
    stories = sorted({t.story for t in trials})
    first = f"{study.window.delay_s:g} s after the start of a segment"
    return {
        "data set": f"{study.dataset.title}, {study.dataset.page}",
        "runs": f"{len(study.runs)} of {len({r.subject for r in study.runs})} subjects",
        "stories": f"{len(stories)}: {', '.join(stories[:6])}{', ...' if stories[6:] else ''}",
        "windows": f"{study.window.window_trs} volumes, the first {first}",
        "trials": f"{len(trials)} of {words[0]} to {words[-1]} words (median "
        f"{words[len(words) // 2]}), {prompted} with a prompt",
        "split": f"{len(split.train)} train, {len(split.val)} val, {len(split.test)} test, "
        f"{split.unused} unused (guard {split.guard_trs} volumes)",
        "images": f"{len(study.runs) - len(study.absent)} of {len(study.runs)} there",
    }
