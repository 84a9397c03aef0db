"""100 actions (Urgen, Nizamoglu, Eroglu and Orban, Brain Sciences 2023, 13(1):61).

Four people saw clips of 100 different actions; LLM4Brain (arXiv 2409.17987) trained on two of them
and tested on the other two. The data are given by the authors on request, so the layout of their
files is not known here: a BIDS folder is read in which the events table of each run names the
action of a clip, in ``trial_type`` or in ``stim_file``, and whatever does not have 100 actions and
4 people is refused. Windows, templates and instructions are ours, not theirs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from ...errors import CohortError
from ..readers.tables import given
from ..readers.trial_windows import WindowSpec
from .had import HAD, action_phrase
from .known import Label, Row
from .on_request import RequestedDataset

# number or letter of an exemplar behind the name of its action: "climbing_2", "climbing-07"
_EXEMPLAR = re.compile(r"[ _-]+\d+$")


def _labeller(folders: Sequence[Path]) -> Callable[[Row], Label]:
    del folders  # the events contain all labels

    def label(row: Row) -> Label:
        kind, clip = given(row, "trial_type", label=True), given(row, "stim_file")
        path = PurePosixPath(clip)
        # a number names a condition of the experiment, not an action
        named = kind if re.search(r"[A-Za-z]", kind) else ""
        folder = path.parent.name if clip else ""
        action = named or folder or _EXEMPLAR.sub("", path.stem if clip else "")
        if not re.search(r"[A-Za-z]", action):
            raise CohortError(
                f"Urgen: a row must name its action in trial_type or stim_file, got '{kind}' and "
                f"'{clip}'. Add the name of the action to the events table."
            )
        action = " ".join(re.split(r"[ _]+", action))
        return Label(
            stimulus=clip or action, category=action, name=action_phrase(action), clip=clip
        )

    return label


URGEN = RequestedDataset(
    name="urgen",
    title="Urgen's 100 actions",
    accession="",
    task="",
    tr=0.0,
    n_volumes=0,
    window=WindowSpec(delay_s=4.0, window_trs=2),
    # one, so that the texts are a closed set even where each person saw an action once
    templates=HAD.templates[:1],
    instructions=HAD.instructions,
    labeller=_labeller,
    note="the file layout of the authors is not known; their clips are probably shared by all "
    "people, so that test texts and stimuli occur in training (--closed-set, or --new-stimuli)",
    article="https://doi.org/10.3390/brainsci13010061",
    people=4,
    categories=100,
)
