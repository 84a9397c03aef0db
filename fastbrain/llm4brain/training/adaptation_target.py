"""What of a split LLM4Brain may adapt to, who is in it, and its audit."""

from __future__ import annotations

from ..._arguments import checked
from ...data import Audit, FitScope, VoxelStore, audit_store
from ...errors import ConfigError
from .run_config import RunConfig


@checked
def split_target(store: VoxelStore, adapt_runs: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Part the test trials into those for unlabelled adaptation and those that are scored.

    Parameters
    ----------
    store : VoxelStore
    adapt_runs : int
        Number of runs, from the first, that go to adaptation.

    Returns
    -------
    adapt, scored : tuple of str
        Trial ids; no run is in both.

    Raises
    ------
    ConfigError
        No run would be left to score.
    """
    run_of = {trial: store.by_id[trial].run_id for trial in store.split.test}
    runs = sorted(set(run_of.values()))
    if adapt_runs >= len(runs):
        raise ConfigError(
            f"split_target: adapt_runs must leave a run to score, got {adapt_runs} of {len(runs)}."
        )
    chosen = set(runs[:adapt_runs])
    adapt = tuple(t for t, run in run_of.items() if run in chosen)
    return adapt, tuple(t for t, run in run_of.items() if run not in chosen)


@checked
def audit_run(store: VoxelStore, config: RunConfig) -> Audit:
    """Audit the split of a store for what a run is about to do with it.

    Parameters
    ----------
    store : VoxelStore
    config : RunConfig
        Its prompts are given to every sample; its adaptation sees unlabelled test runs, which are
        then not scored.

    Returns
    -------
    Audit
        Call ``check`` to refuse.
    """
    adapt, _ = split_target(store, config.adapt_runs)
    fits = [FitScope("memory of the adaptation", adapt, unlabelled=True)] if adapt else []
    if config.llm is None and config.corpus is None:
        fits.append(FitScope("language model", store.split.train))
    return audit_store(store, fits=fits, prompts=config.prompts, adapt=adapt)


def people_of(store: VoxelStore, config: RunConfig) -> tuple[str, ...]:
    """Who has an entry in the model's table of subjects: all whose windows train or adapt it.

    Parameters
    ----------
    store : VoxelStore
    config : RunConfig

    Returns
    -------
    tuple of str
        Empty for a model without such a table.

    Raises
    ------
    ConfigError
        Validation windows are of somebody else, and the model refuses those.
    """
    if config.model.subjects is None:
        return ()
    adapt, _ = split_target(store, config.adapt_runs)
    people = sorted({store.by_id[t].subject for t in (*store.split.train, *adapt)})
    others = sorted({store.by_id[t].subject for t in store.split.val} - set(people))
    if others and config.model.unknown_subject == "refuse":
        raise ConfigError(
            f"train: validation windows must be of people with an entry, got those of "
            f"{', '.join(others)}. Validate on other runs of training people, or set "
            "unknown_subject='mean'."
        )
    return tuple(people)
