"""Linear readouts of a model: one a grid, each a ridge regression on the windows of its grid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from ..._progress import say
from ...data import FitScope, StoreCollection
from ...data.store.members import AnyStore
from ..grid_models import AnyModel, GridModels
from .fit_readout import ReadoutFit, TrialLoader, fit_readout
from .latent_targets import VideoLatents


@dataclass(frozen=True)
class GridReadouts:
    """Fits of the readouts.

    Parameters
    ----------
    fits : dict of str to ReadoutFit
        By name of the grid; ``""`` for a model of one grid.
    """

    fits: dict[str, ReadoutFit]

    @property
    def scopes(self) -> tuple[FitScope, ...]:
        """Windows of each fit, for the leak auditor."""
        return tuple(
            replace(fit.scope, name=f"readout of {name}") if name else fit.scope
            for name, fit in self.fits.items()
        )

    @property
    def latents(self) -> VideoLatents | None:
        """Out-of-fold predictions of all windows; None if they were not asked for."""
        found = [fit.latents for fit in self.fits.values()]
        known = [each for each in found if each is not None]
        if len(known) < len(found):
            return None
        if len(known) == 1:
            return known[0]
        rows: dict[str, int] = {}
        for each in known:
            before = len(rows)
            rows |= {trial: before + row for trial, row in each.rows.items()}
        return VideoLatents(rows, torch.cat([each.latents for each in known]))

    def facts(self) -> dict[str, Any]:
        """Describe the fits as JSON values; R² of several is the mean over their windows."""
        single = {name: _facts(fit) for name, fit in self.fits.items()}
        if len(single) == 1:
            return next(iter(single.values()))
        windows = sum(fit.windows for fit in self.fits.values())
        r2 = sum(fit.r2 * fit.windows for fit in self.fits.values()) / windows
        rank = max(fit.rank for fit in self.fits.values())
        return {"r2": r2, "rank": rank, "windows": windows, "grids": single}


def fit_grid_readouts(
    model: AnyModel,
    store: AnyStore,
    targets: VideoLatents,
    *,
    load: Callable[[tuple[str, ...]], TrialLoader],
    memory_gb: float,
    predictions: bool,
) -> GridReadouts:
    """Fit the readout of each grid to its training windows.

    Parameters
    ----------
    model : LLM4Brain or GridModels
    store : VoxelStore or StoreCollection
    targets : VideoLatents
    load : callable
        Makes a loader of trials, in order.
    memory_gb, predictions
        As in :func:`fit_readout`; the memory is that of one fit.

    Returns
    -------
    GridReadouts
        Grids that share a readout have one fit, under the name of the first.

    Raises
    ------
    ConfigError, InputError
        As :func:`fit_readout`.
    """
    groups = list(model.alike()) if isinstance(model, GridModels) else [("",)]
    fits = {}
    for names in groups:
        trials = store.split.train
        if isinstance(store, StoreCollection):
            trials = tuple(t for t in trials if store.grid_of(t) in names)
        fits[names[0]] = fit = fit_readout(
            model,
            load(trials),
            targets,
            grid=names[0],
            memory_gb=memory_gb,
            predictions=predictions,
        )
        which = f" of {', '.join(names)}" if names[0] else ""
        say(f"readout{which}: cross-validated R² {fit.r2:.3f} at penalty {fit.alpha:g}")
    return GridReadouts(fits)


def _facts(fit: ReadoutFit) -> dict[str, Any]:
    facts: dict[str, Any] = {k: getattr(fit, k) for k in ("alpha", "r2", "rank", "windows")}
    facts["method"] = fit.plan.method
    if fit.plan.method == "projected":
        facts["dimensions"] = fit.plan.size
    return facts
