"""The space of the images that a store was prepared from, as their names or runs table state it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ...errors import CohortError, StoreError, some
from ..readers.runs_table import RunRecord
from .store import VoxelStore


@dataclass(frozen=True)
class ImageSpace:
    """Space and resolution of images.

    Parameters
    ----------
    space : str
        Entity ``space`` of their names, ``MNI152NLin2009cAsym``; "" if they do not state it.
    resolution : str
        Entity ``res``, on surfaces ``den``; "" if they do not state it, or if images of several
        ones were brought to one grid.
    """

    space: str = ""
    resolution: str = ""

    def __str__(self) -> str:
        words = [self.space, f"resolution {self.resolution}" if self.resolution else ""]
        return ", ".join(word for word in words if word) or "not stated"


def space_of(runs: Sequence[RunRecord]) -> ImageSpace:
    """Return the space that runs share; not stated if only some state it.

    Raises
    ------
    CohortError
        Runs are in several spaces.
    """
    spaces = {run.space: run.run_id for run in reversed(runs)}
    named = {space: run for space, run in spaces.items() if space}
    if len(named) > 1:
        shown = some([f"{space} ({run})" for space, run in sorted(named.items())])
        raise CohortError(
            f"plan_store: runs must be in one space, got {shown}. Resampling does not register "
            "them: choose one space (--space), or prepare them apart."
        )
    return ImageSpace(_shared(spaces), _shared({run.resolution for run in runs}))


def check_space(runs: Sequence[RunRecord], like: VoxelStore, *, function: str) -> None:
    """Raise for runs in another space than a store, where both are stated.

    Raises
    ------
    CohortError
    """
    wanted = like.info.space
    others = [run for run in runs if wanted and run.space not in ("", wanted)]
    if others:
        raise CohortError(
            f"{function}: {others[0].run_id} ({others[0].bold}) must be in the space of "
            f"{like.path}, {wanted}, got {others[0].space}. Take the images of that space (--space "
            f"{wanted})."
        )


def joined_space(stores: Sequence[VoxelStore], *, function: str) -> ImageSpace:
    """Return the space that stores share; not stated if only some state it.

    Raises
    ------
    StoreError
        Stores are of images in different spaces, or of different resolutions that were not
        resampled.
    """
    for what in ("space", "resolution"):
        known = {getattr(s.info, what): s for s in reversed(stores) if getattr(s.info, what)}
        moved = what == "resolution" and any(store.info.resampled for store in stores)
        if len(known) > 1 and not moved:
            # in the order of the stores, from the last one
            other, *_, wanted = known
            raise StoreError(
                f"{function}: {known[other].path} must be of images of the {what} of "
                f"{known[wanted].path}, {wanted}, got {other}. Prepare both from images of one "
                f"{what}."
            )
    return ImageSpace(
        _shared({store.info.space for store in stores}),
        _shared({store.info.resolution for store in stores}),
    )


def _shared(values: Collection[str]) -> str:
    return next(iter(values)) if len(values) == 1 else ""
