"""Plan of a store on which nothing is fitted: all its trials are for testing."""

from __future__ import annotations

from collections.abc import Sequence

from ..readers.events import Trial
from ..readers.runs_table import RunRecord
from ..readers.volumes import Volumes
from ..splits.split import Split
from .inputs import check_texts
from .plan import StorePlan
from .store import VoxelStore
from .target_grid import grid_of_store
from .token_centers import origin_of


def decoded_plan(
    runs: Sequence[RunRecord], headers: Sequence[Volumes], trials: list[Trial], like: VoxelStore
) -> StorePlan:
    """Plan a store of test trials with grid, filter, windows and statistics of another one.

    Parameters
    ----------
    runs : sequence of RunRecord
    headers : sequence of Volumes
        On the grid of `like`.
    trials : list of Trial
    like : VoxelStore

    Raises
    ------
    FastbrainError
        As in :func:`fastbrain.data.plan_store`.
    """
    check_texts(runs, trials)
    split = Split((), (), tuple(t.trial_id for t in trials), guard_trs=0, keys=())
    split.check(trials)
    return StorePlan(
        runs=tuple(runs),
        headers=tuple(headers),
        trials=trials,
        split=split,
        grid=like.grid,
        affine=like.affine,
        tr=like.tr,
        window=like.window_spec,
        units=like.units,
        filter=like.filter,
        reference=like,
        resampled=grid_of_store(like).name_for(headers),
        smoothing_mm=like.info.smoothing_mm,
        origin_mm=origin_of(like),
        beta_divisor=like.info.beta_divisor,
    )
