"""Split within stories: contiguous blocks of every story, with guard volumes between parts."""

from __future__ import annotations

from collections.abc import Sequence

from ..._arguments import checked
from ...errors import SplitError
from ..readers.events import Trial
from .by_group import finish_split
from .split import Part, Split, values_of


@checked(error=SplitError)
def split_story_blocks(
    trials: Sequence[Trial], *, blocks: int, fold: int = 0, guard_trs: int | None = None
) -> Split:
    """Test on one contiguous block of every story, validate on the next, train on the others.

    Blocks are counted on the segments of each version of a story, in the order of their numbers
    (``STORY-0012``) or, without numbers, of their first onsets, so that all people and
    repetitions have a segment in the same part. Training trials within the guard of another part
    are left out. The test part is new text of stories that training knows: whole stories
    (``split_by(trials, "story", ...)``) are the stricter test.

    Parameters
    ----------
    trials : sequence of Trial
        Each with a story, and a stimulus that names its segment.
    blocks : int
        Blocks of a story, at least 3.
    fold : int
        Block to test on, from 0; the next one (cyclically) validates.
    guard_trs : int, optional
        Volumes between windows of different parts; default window + delay.

    Returns
    -------
    Split
        Its keys are ``("stimulus",)``.

    Raises
    ------
    SplitError
        A trial has no story or stimulus, there are fewer than 3 blocks or no such fold, a story
        has fewer segments than blocks, or the guard leaves nothing to train on.
    """
    if blocks < 3 or not 0 <= fold < blocks:
        raise SplitError(
            f"split_story_blocks: blocks must be >= 3 and fold 0..blocks - 1, got {blocks} and "
            f"{fold}. One block tests, one validates, one trains."
        )
    values_of(trials, "story")
    values_of(trials, "stimulus")
    segments: dict[tuple[str, str], dict[str, float]] = {}
    for t in trials:
        segments.setdefault(_version(t), {}).setdefault(t.stimulus, t.onset)
    block_of: dict[str, int] = {}
    for (story, version), onsets in segments.items():
        if len(onsets) < blocks:
            raise SplitError(
                f"split_story_blocks: {version or story} must have at least {blocks} segments, got "
                f"{len(onsets)}. Take fewer blocks, or leave the story out."
            )
        for i, name in enumerate(sorted(onsets, key=lambda name: (_number(name), onsets[name]))):
            block_of[name] = i * blocks // len(onsets)
    chosen: dict[Part, list[Trial]] = {"train": [], "val": [], "test": []}
    for t in trials:
        block = block_of[t.stimulus]
        part: Part = "test" if block == fold else "val" if block == (fold + 1) % blocks else "train"
        chosen[part].append(t)
    return finish_split(
        trials, chosen, keys=("stimulus",), val_keys=("stimulus",), guard_trs=guard_trs
    )


def _version(trial: Trial) -> tuple[str, str]:
    return trial.story, trial.stimulus.rpartition("-")[0]


def _number(stimulus: str) -> int:
    """Number of a segment in its name, ``STORY-0012``; 0 without one."""
    number = stimulus.rpartition("-")[2]
    return int(number) if number.isdecimal() else 0
