"""BOLD Moments (Lahner et al., Nature Communications 2024; OpenNeuro ds005165).

Ten people saw 1,102 videos of three seconds: 1,000 of a training set three times each (task
``train``) and 102 of a test set ten times each (task ``test``). Every video has five sentences by
different people, in ``derivatives/stimuli_metadata/annotations.json``: an object by number of the
video ("0702") with ``text_descriptions`` and ``actions``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from ..._io import read_json
from ...errors import CohortError
from ..readers.inside import inside
from ..readers.tables import given
from ..readers.trial_windows import WindowSpec
from ..readers.unfetched import refuse_unfetched
from .had import HAD
from .known import KnownDataset, Label, Row

_ANNOTATIONS = ("annotations.json", "derivatives/stimuli_metadata/annotations.json")


def _labeller(folders: Sequence[Path]) -> Callable[[Row], Label]:
    path = _find(folders)
    annotations = {} if path is None else read_json(path)

    def label(row: Row) -> Label:
        video = given(row, "stim_file")
        number = PurePosixPath(video).stem
        if not number.isdecimal():
            raise CohortError(
                f"BOLD Moments: a row must name its video as train/0444.mp4, got '{video}'. Is it "
                "ds005165?"
            )
        if path is None:
            raise CohortError(
                f"BOLD Moments: {_ANNOTATIONS[1]} must be in {', '.join(map(str, folders))}, got "
                "none. Fetch it (it is part of ds005165), or name its folder by --explained-by."
            )
        sentences, action = _of_video(path, annotations, number)
        # the numbers of both sets are their own: 0001..1000 and 1001..1102
        return Label(stimulus=number, category=action, captions=sentences, clip=video)

    return label


def _find(folders: Sequence[Path]) -> Path | None:
    for folder in folders:
        for name in _ANNOTATIONS:
            path = folder / name
            refuse_unfetched(path)
            if path.is_file():
                remedy = "Name its own folder by --explained-by."
                return inside(folder, name, what=f"BOLD Moments: {path}", remedy=remedy)
    return None


def _of_video(path: Path, annotations: Any, number: str) -> tuple[tuple[str, ...], str]:
    """Return the sentences of a video and the action that most people named."""
    try:
        found = annotations[number]
        sentences = tuple(" ".join(text.split()) for text in found["text_descriptions"])
        actions = Counter(action.replace("+", " ") for action in found["actions"])
        (action, _), *_ = actions.most_common(1)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CohortError(
            f"BOLD Moments: {path} must have text_descriptions and actions of the video {number}, "
            f"got {type(error).__name__} {error}. Fetch the file again."
        ) from error
    if not sentences or not all(sentences):
        raise CohortError(f"BOLD Moments: {path} must have sentences of the video {number}.")
    return sentences, action


BOLDMOMENTS = KnownDataset(
    name="boldmoments",
    title="BOLD Moments",
    accession="ds005165",
    task="train",
    tr=1.75,
    n_volumes=0,
    # a video lasts 3 s and the next begins after 4 s; the response peaks 5 s after onset
    window=WindowSpec(delay_s=4.0, window_trs=3),
    templates=("A video of {}.",),
    instructions=HAD.instructions,
    labeller=_labeller,
    note="every person saw the same videos: hold out stimuli, not only people",
    ignore=("oddball",),
)
