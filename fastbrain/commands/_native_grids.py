"""Plan of a collection of stores, from the options of a command."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..data import WindowSpec, plan_native_grids
from ..data.store.collection_plan import CollectionPlan
from ..data.studies.study import is_study
from ..errors import ConfigError
from ._preparation import Splitter

_ONE_GRID = ("resample", "mask", "like", "grid_of", "betas", "beta_divisor")
# options that say where a window lies in a trial, or what a test part on texts needs
OF_TRIALS = (
    *("delay", "onset_offset", "fir", "ignore", "late", "betas", "beta_divisor"),
    *("test_subjects", "new_stimuli", "closed_set", "val_fraction"),
)


def plan_of_native_grids(config: Any, splitter: Callable[[], Splitter]) -> CollectionPlan:
    """Plan a store for each person's own grid.

    Parameters
    ----------
    config : PreparationOptions and NativeGridOptions
    splitter : callable
        Makes the function from trials to their split; called before the source is read.

    Raises
    ------
    ConfigError
        An option is given that has no meaning for several grids.
    """
    config.refuse_set(
        _ONE_GRID,
        "--native-grids",
        "as each person keeps the own grid, with the masks of its runs",
    )
    if is_study(config.source):
        raise ConfigError(
            "prepare: --native-grids must be given with a runs table or a BIDS folder, got the "
            f"study {config.source}."
        )
    events = not getattr(config, "no_events", False)
    if events:
        config.refuse_set(("every",), "a store with events", "which has its own windows")
        config.refuse_set(("dataset",), "--native-grids", "as its texts are not in the events")
    else:
        config.refuse_set(OF_TRIALS, "--no-events", "as its windows are not those of trials")
    split = splitter()
    runs, trials, window, _ = config.cohort(need_events=events)
    config.layout_spec(runs)  # raises for options of surfaces
    return plan_native_grids(
        runs,
        window=window if events else WindowSpec(0.0, config.window),
        kernel=config.kernel,
        split=split,
        units=config.units,
        high_pass_s=config.high_pass_s,
        smoothing_mm=config.smoothing,
        ignore=config.ignore,
        late=config.late,
        trials=trials,
        centred=config.centred,
        events=events,
        every=getattr(config, "every", None),
        denoising=config.denoising(),
        exclude=config.exclusion(),
    )
