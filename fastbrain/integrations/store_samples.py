"""Windows of a store with what belongs to them, one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .._progress import track
from ..data import VoxelStore
from ..data.splits.split import Part

_FIELDS = (
    *("trial_id", "subject", "session", "run_id", "start", "frames", "stimulus", "category"),
    *("instruction", "prompt", "story"),
)


@dataclass(frozen=True, eq=False)
class Sample:
    """A window with what belongs to it.

    Parameters
    ----------
    voxels : ndarray, (F, n_tokens, P) int16
        Multiply by the scale in ``store.json`` for units of the store.
    text : str
    facts : dict
        Part, trial, subject, run, first volume, stimulus.
    """

    voxels: npt.NDArray[np.int16]
    text: str
    facts: dict[str, Any]


def samples(store: VoxelStore, part: Part) -> Iterator[Sample]:
    """Read the windows of a part, in the order of its split."""
    for trial_id in track(store.split.part(part), f"exporting {part}"):
        trial = store.by_id[trial_id]
        facts = {"part": part, **{name: getattr(trial, name) for name in _FIELDS}}
        yield Sample(store.window(trial_id), trial.text, facts)
