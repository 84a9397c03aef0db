"""Sentences of the methods section on filter, confounds, censored volumes and excluded runs."""

from __future__ import annotations

from ...data import VoxelStore
from .run_facts import counted


def cleaning_sentences(store: VoxelStore) -> list[str]:
    """Describe what was removed from the voxels of a run, and which runs were left out."""
    drift = store.filter
    slow = (
        " and a linear trend"
        if drift.high_pass_s is None
        else f", a linear trend and cosines slower than {drift.high_pass_s:g} s"
    )
    found = [f"From every voxel of a run its mean{slow} were removed."]
    if drift.removed:
        worst = max(drift.removed, key=drift.removed.__getitem__)
        chosen = (
            "The cut-off was chosen from the events of the training runs; it"
            if (drift.asked == "auto")
            else "This filter"
        )
        found.append(
            f"{chosen} removes at most {drift.removed[worst]:.1%} of the variance that the "
            f"training events predict for a group of them ({worst})."
        )
    return [*found, *_denoising(store)]


def _denoising(store: VoxelStore) -> list[str]:
    """Describe confounds, censored volumes and excluded runs."""
    strategy, runs = store.denoising, store.info.runs.values()
    found = []
    if strategy is not None and strategy.regresses:
        found.append(
            f"In the same projection, fitted to each run, {strategy.regressors()} were regressed "
            "out [@lindquist2019modular]."
        )
        together = store.filter.with_confounds
        if together:
            worst = max(together, key=together.__getitem__)
            found.append(
                f"Filter and confounds remove at most {together[worst]:.1%} of that variance "
                f"({worst}); as many confounds remove {store.filter.noise:.1%} of white noise."
            )
    if strategy is not None and strategy.censors:
        censored = sum(len(run["censored"]) for run in runs)
        found.append(
            f"{counted(censored, 'volume')} of {sum(run['n_volumes'] for run in runs):,} were "
            f"censored ({strategy.censoring()}); fits and statistics left them out."
        )
    if store.info.excluded:
        count = len(store.info.excluded)
        were = "was" if count == 1 else "were"
        found.append(f"{counted(count, 'run')} of the cohort {were} left out.")
    return found
