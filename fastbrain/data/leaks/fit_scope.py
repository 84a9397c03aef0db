"""Record which samples each estimator was fitted on; fitting on the test part is a leak."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..store.members import AnyStore, members_of
from ..store.store import VoxelStore
from .checks import Leak, Tally


@dataclass(frozen=True)
class FitScope:
    """Samples that an estimator (scaler, PCA, codebook, readout or memory) was fitted on.

    Parameters
    ----------
    name : str
        Name of the estimator, for messages.
    fitted_on : tuple of str
        Ids of all samples used in the fit.
    unlabelled : bool
        Whether the fit used no texts; it may then include the samples set aside for adaptation.
    """

    name: str
    fitted_on: tuple[str, ...]
    unlabelled: bool = False


def outside_training(
    fits: Iterable[FitScope], part_of: Mapping[str, str], sizes: Mapping[str, int]
) -> list[Leak]:
    """Find estimators that were fitted on samples outside the training part."""
    tally = Tally("fit", sizes)
    for scope in fits:
        parts: dict[str, list[str]] = {}
        for i in dict.fromkeys(scope.fitted_on):
            parts.setdefault(part_of.get(i, "unused"), []).append(i)
        fair = ("train", "adapt") if scope.unlabelled else ("train",)
        for part in [p for p in parts if p not in fair]:
            tally.add(("train", part), [scope.name], parts[part])
    return tally.leaks()


def statistics_scope(store: VoxelStore) -> FitScope:
    """Return the trials behind the voxel mean and standard deviation, from the store's manifest."""
    trained = [store.by_id[t] for t in store.split.train]
    volumes = {(t.run_id, v) for t in trained for v in range(t.start, t.start + t.frames)}
    fit = store.info.fit
    if set(fit["runs"]) == {run for run, _ in volumes} and fit["n_volumes"] == len(volumes):
        seen = store.split.train
    else:  # not exactly the volumes of the training windows: count all trials of these runs
        seen = tuple(t.trial_id for t in store.trials if t.run_id in set(fit["runs"]))
    return FitScope("voxel mean and standard deviation", seen)


def statistics_scopes(store: AnyStore) -> tuple[FitScope, ...]:
    """Return the trials behind the voxel statistics of a store, or of each grid of a collection."""
    scopes = {name: statistics_scope(each) for name, each in members_of(store).items()}
    return tuple(
        FitScope(f"{scope.name} of {name}" if name else scope.name, scope.fitted_on)
        for name, scope in scopes.items()
    )
