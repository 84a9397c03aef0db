"""Trials for domain adaptation, subjects of the subject table, and the audit of a run."""

from __future__ import annotations

from ..._arguments import checked
from ...data import Audit, FitScope, StoreCollection, VoxelStore, audit_store
from ...data.leaks.pretraining_scans import pretraining_scope, scans_beside
from ...data.store.inputs import refuse_without_texts
from ...data.store.members import AnyStore
from ...errors import ConfigError
from .run_config import RunConfig


@checked
def split_target(
    store: VoxelStore | StoreCollection, adapt_runs: int | float
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Split the test trials into trials for unlabelled adaptation and trials to score.

    Parameters
    ----------
    store : VoxelStore or StoreCollection
    adapt_runs : int or float
        Number of test runs for adaptation, the first ones in sorted order; or, below 1, the share
        of the runs of every test person, rounded, at least one and never all.

    Returns
    -------
    adapt, scored : tuple of str
        Trial ids. No run is in both.

    Raises
    ------
    CohortError
        The trials have no texts.
    ConfigError
        No run would be left to score, or a share is given and no test person has two runs.
    """
    if store.split.train:
        refuse_without_texts(store.trials, function="train")
    run_of = {trial: store.by_id[trial].run_id for trial in store.split.test}
    runs = sorted(set(run_of.values()))
    if 0 < adapt_runs < 1:
        chosen = _share(store, adapt_runs)
        adapt = tuple(t for t, run in run_of.items() if run in chosen)
        return adapt, tuple(t for t, run in run_of.items() if run not in chosen)
    if adapt_runs >= len(runs):
        raise ConfigError(
            f"split_target: adapt_runs must leave a run to score, got {adapt_runs} of {len(runs)}."
        )
    chosen = set(runs[: int(adapt_runs)])
    adapt = tuple(t for t, run in run_of.items() if run in chosen)
    return adapt, tuple(t for t, run in run_of.items() if run not in chosen)


def _share(store: AnyStore, share: float) -> set[str]:
    runs: dict[str, set[str]] = {}
    for trial in (store.by_id[t] for t in store.split.test):
        runs.setdefault(trial.subject, set()).add(trial.run_id)
    chosen: set[str] = set()
    for own in runs.values():
        count = min(max(1, round(share * len(own))), len(own) - 1)
        chosen.update(sorted(own)[:count])
    if not chosen:
        raise ConfigError(
            f"split_target: adapt_runs={share:g} must find a test person with two runs or more, "
            "got none. Train without adaptation: --adapt-runs 0."
        )
    return chosen


@checked
def audit_run(store: VoxelStore | StoreCollection, config: RunConfig) -> Audit:
    """Audit the split of a store for a planned run.

    Parameters
    ----------
    store : VoxelStore or StoreCollection
    config : RunConfig
        Its prompts and its adaptation runs are audited. Adaptation runs are unlabelled test runs
        and are not scored. So are the scans of pretrained encoder weights, where they are recorded.

    Returns
    -------
    Audit
        Call ``check`` to raise an error on findings.
    """
    adapt, _ = split_target(store, config.adapt_runs)
    fits = [FitScope("memory of the adaptation", adapt, unlabelled=True)] if adapt else []
    if config.llm is None and config.corpus is None:
        fits.append(FitScope("language model", store.split.train))
    if config.encoder_weights is not None:
        scans = scans_beside(config.encoder_weights)
        fits += [] if scans is None else [pretraining_scope(store, scans)]
    return audit_store(store, fits=fits, prompts=config.prompts, adapt=adapt)


def people_of(store: AnyStore, config: RunConfig) -> tuple[str, ...]:
    """List the subjects of the subject table: those with training or adaptation windows.

    Parameters
    ----------
    store : VoxelStore or StoreCollection
    config : RunConfig

    Returns
    -------
    tuple of str
        Empty for a model without a subject table.

    Raises
    ------
    ConfigError
        Validation windows are from other subjects, and `unknown_subject` is "refuse".
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
