"""Human Action Dataset (Zhou et al., Scientific Data 2023; OpenNeuro ds004488).

30 people saw 21,600 clips of two seconds, 180 actions with 120 clips each; no two people saw the
same clip. The onsets of its events count from the first trial, which came 12 s after the first
volume: the authors' own model adds these 12 s, and so does the window here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ...errors import CohortError
from ..readers.tables import number_of
from ..readers.trial_windows import WindowSpec
from .known import KnownDataset, Label, Row

N_CLASSES = 180


def action_phrase(name: str) -> str:
    """Convert an action name to a verb phrase: "baking cookies", "doing archery", "doing BMX"."""
    first, _, rest = name.partition(" ")
    plain = name if first.isupper() else f"{first.lower()}{' ' if rest else ''}{rest}"
    return plain if first.endswith("ing") else f"doing {plain}"


def _labeller(folders: Sequence[Path]) -> Callable[[Row], Label]:
    del folders  # the events contain all labels

    def label(row: Row) -> Label:
        clip = row.get("stim_file", "")
        action, slash, _ = clip.partition("/")
        try:
            number = number_of(row.get("trial_type", ""), where="HAD: trial_type") or 0.0
        except CohortError:
            number = 0.0
        if not slash or number not in range(1, N_CLASSES + 1):
            raise CohortError(
                f"HAD: a row must have trial_type 1..{N_CLASSES} and stim_file ACTION/CLIP, got "
                f"'{row.get('trial_type', '')}' and '{clip}'. Is it ds004488?"
            )
        return Label(stimulus=clip, category=action, name=action_phrase(action), clip=clip)

    return label


HAD = KnownDataset(
    name="had",
    title="HAD",
    accession="ds004488",
    task="action",
    tr=2.0,
    n_volumes=156,
    # a clip lasts 2 s and the next begins after 4 s: two volumes per clip
    window=WindowSpec(delay_s=4.0, window_trs=2, onset_offset_s=12.0),
    templates=(
        "A person is {}.",
        "Someone is {}.",
        "The clip shows a person {}.",
        "There is a person {}.",
    ),
    instructions=(
        "What is the person in the video doing?",
        "Which action does the video show?",
        "Describe what happens in the video.",
        "What can be seen in the clip?",
    ),
    labeller=_labeller,
    note="texts from class names are a closed set of 180 actions, which every person saw",
)
