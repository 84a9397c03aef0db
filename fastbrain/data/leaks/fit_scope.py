"""What was fitted, and on which samples: a fitted thing that saw the test part carries it along."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..store.store import VoxelStore
from .checks import Leak, Tally


@dataclass(frozen=True)
class FitScope:
    """What something was fitted on: a scaler, PCA, codebook, readout or memory.

    Parameters
    ----------
    name : str
        What was fitted, for messages.
    fitted_on : tuple of str
        Ids of all samples it has seen.
    unlabelled : bool
        Whether it has seen no texts, and so may have seen the samples set aside for adaptation.
    """

    name: str
    fitted_on: tuple[str, ...]
    unlabelled: bool = False


def outside_training(
    fits: Iterable[FitScope], part_of: Mapping[str, str], sizes: Mapping[str, int]
) -> list[Leak]:
    """Fitted things that have seen samples of other parts than training."""
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
    """The trials behind a store's voxel mean and standard deviation, as its manifest has it."""
    trained = [store.by_id[t] for t in store.split.train]
    volumes = {(t.run_id, v) for t in trained for v in range(t.start, t.start + t.frames)}
    fit = store.info.fit
    if set(fit["runs"]) == {run for run, _ in volumes} and fit["n_volumes"] == len(volumes):
        seen = store.split.train
    else:  # not the volumes of the training windows: all of these runs then
        seen = tuple(t.trial_id for t in store.trials if t.run_id in set(fit["runs"]))
    return FitScope("voxel mean and standard deviation", seen)
