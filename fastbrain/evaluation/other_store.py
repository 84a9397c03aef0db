"""Score a run on another data set than that of its training, with an audit of its own."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .._arguments import checked
from .._io import read_json
from .._progress import say
from ..data import Audit, Split, VoxelStore, audit_store, window_faults
from ..data.readers.events import Trial
from ..data.store.preparation import check_like, preparation_of
from ..errors import InputError
from .run_store import scored_windows

FOLDER = "evaluations"


@dataclass(frozen=True)
class OtherStore:
    """Another data set on which a run is evaluated.

    Parameters
    ----------
    store : VoxelStore
        In the form of the training windows, for example from ``fastbrain prepare --like``; all its
        trials are scored.
    name : str
        Name of the data set. It precedes the ids of trials, runs and subjects, because labels of
        two data sets do not mean the same people, and names the folder of the results.
    allow_leak : str, optional
        Reason to accept a leak.
    """

    store: VoxelStore
    name: str
    allow_leak: str | None = None


@dataclass(frozen=True)
class ScoredPart:
    """Windows that a run is scored on.

    Parameters
    ----------
    store : VoxelStore
        Store of training; for another data set, with its trials in place of the test part.
    ids : tuple of str
        Trials to score.
    held : dict of str to str
        Reason for each window that is far from all training windows.
    out : Path
        Folder of the results.
    manifest : mapping
        Manifest of the run; for another data set, with the audit of this evaluation.
    facts : dict
        Entries for ``metrics.json``.
    """

    store: VoxelStore
    ids: tuple[str, ...]
    held: dict[str, str]
    out: Path
    manifest: Mapping[str, Any]
    facts: dict[str, Any] = field(default_factory=dict)


@checked
def scored_part(
    run: str | Path,
    manifest: Mapping[str, Any],
    store: VoxelStore,
    other: OtherStore | None = None,
    *,
    prompts: Sequence[str] = (),
    function: str,
) -> ScoredPart:
    """Choose the windows to score: the test part of a run's store, or another data set.

    Parameters
    ----------
    run : str or Path
    manifest : mapping
    store : VoxelStore
        Store of training.
    other : OtherStore, optional
    prompts : sequence of str
        Prompts that every sample gets.
    function : str
        Name of the calling function, for messages.

    Returns
    -------
    ScoredPart
        Results on another data set go to ``evaluations/NAME`` of the run.

    Raises
    ------
    StoreError
        The other store has another grid, repetition time, window, units or filter.
    LeakError
        A scan, window, text, stimulus, story or prompt of the other store was used in training.
    InputError
        All windows are held, the name is no folder name, or its folder has results on another
        store.
    CheckpointError
        See :func:`fastbrain.evaluation.run_store.scored_windows`.
    """
    run = Path(run)
    if other is None:
        ids, held = scored_windows(run, manifest, store, function=function)
        return ScoredPart(store, ids, held, run, manifest)
    out = _folder(run, other, function)
    like = preparation_of(run, store)
    check_like(other.store, like)
    own = tuple(t.trial_id for t in other.store.trials)
    if blank := [t.trial_id for t in other.store.trials if not t.text.strip()]:
        raise InputError(
            f"{function}: every window of {other.name} must have a text to compare with, got none "
            f"for {len(blank)}, e.g. {blank[0]}. Prepare it with its texts, or use decode."
        )
    faults = window_faults(other.store, own, like)
    if len(faults) == len(own):
        trial, reason = next(iter(faults.items()), ("no window", "the store is empty"))
        raise InputError(
            f"{function}: windows must be like those of training, got none of {len(own)} that is: "
            f"{trial}: {reason}. Was the data set preprocessed otherwise?"
        )
    if faults:
        say(f"{len(faults)} of {len(own)} windows are held: far from all training windows")
    joined, audit = audit_other_store(manifest, store, other, prompts=prompts)
    named = {t: _named(other, t) for t in own}
    facts = {
        "name": other.name,
        "store": str(Path(other.store.path).resolve()),
        "store_fingerprint": other.store.fingerprint(),
        "trained_on": manifest["store_fingerprint"],
    }
    if manifest.get("adapted"):
        facts["unaudited"] = "the store of the training before the adaptation, if it is another"
    return ScoredPart(
        joined,
        tuple(named[t] for t in own if t not in faults),
        {named[t]: reason for t, reason in faults.items()},
        out,
        {**manifest, "audit": audit.to_json(), "cross_data_set": facts},
        {"cross_data_set": facts},
    )


def audit_other_store(
    manifest: Mapping[str, Any],
    store: VoxelStore,
    other: OtherStore,
    *,
    prompts: Sequence[str] = (),
) -> tuple[VoxelStore, Audit]:
    """Compare the trials of another data set with those that a run was trained on.

    Parameters
    ----------
    manifest : mapping
        Manifest of the run.
    store : VoxelStore
        Store of training.
    other : OtherStore
    prompts : sequence of str
        Prompts that every sample gets.

    Returns
    -------
    joined : VoxelStore
        Store of training with the trials of the other data set in place of its test part.
    audit : Audit

    Raises
    ------
    LeakError
        A scan, window, text, stimulus, story or prompt of the other store was used in training.
    """
    used, adapt = _used_in_training(manifest, store)
    joined = _joined(store, other, [*used.train, *used.val, *adapt])
    test = tuple(_named(other, t.trial_id) for t in other.store.trials)
    split = replace(used, test=test, keys=(), val_keys=(), guard_trs=store.split.guard_trs)
    joined = replace(joined, split=split)
    audit = _audit(joined, adapt, prompts).check(allow=other.allow_leak)
    say(f"audit of {other.name} against the training part: {audit.summary()}")
    return joined, audit


def _folder(run: Path, other: OtherStore, function: str) -> Path:
    if not re.fullmatch(r"\w[\w.+-]*", other.name):
        raise InputError(
            f"{function}: name must be letters, digits, '_', '-', '+' and '.', got {other.name!r}. "
            "Choose one: --name NAME."
        )
    out = run / FOLDER / other.name
    if (out / "metrics.json").is_file():
        before = read_json(out / "metrics.json")
        known = before.get("cross_data_set") if isinstance(before, dict) else None
        found = known.get("store_fingerprint") if isinstance(known, dict) else None
        if found != other.store.fingerprint():
            raise InputError(
                f"{function}: {out} must hold scores on the same store, got those on another one. "
                "Choose another name: --name NAME."
            )
    return out


def _used_in_training(
    manifest: Mapping[str, Any], store: VoxelStore
) -> tuple[Split, tuple[str, ...]]:
    """Split that a run was trained with, and its test windows used without their texts."""
    recorded, split = manifest.get("split"), store.split
    if recorded is not None:
        parts = {part: tuple(recorded[part]) for part in ("train", "val", "test")}
        split = replace(split, **parts)
    return split, tuple(manifest.get("adapt_trials") or ())


def _joined(store: VoxelStore, other: OtherStore, kept: Sequence[str]) -> VoxelStore:
    """View of the training store with the trials of another data set in place of its test part."""
    trials: list[Trial] = [store.by_id[t] for t in kept]
    ours = {t.run_id for t in trials}
    runs = {name: facts for name, facts in store.info.runs.items() if name in ours}
    maps = {name: store.volumes(name) for name in runs}
    for trial in other.store.trials:
        run_id = _named(other, trial.run_id)
        if run_id not in maps:
            maps[run_id] = other.store.volumes(trial.run_id)
            runs[run_id] = other.store.info.runs[trial.run_id]
        trials.append(
            replace(
                trial,
                trial_id=_named(other, trial.trial_id),
                run_id=run_id,
                subject=_named(other, trial.subject),
                family=_named(other, trial.family) if trial.family else "",
            )
        )
    return replace(store, trials=trials, info=replace(store.info, runs=runs), _maps=maps)


def _named(other: OtherStore, label: str) -> str:
    return f"{other.name}:{label}"


def _audit(joined: VoxelStore, adapt: Sequence[str], prompts: Sequence[str]) -> Audit:
    split = joined.split
    found = audit_store(
        joined, split=replace(split, test=(*split.test, *adapt)), adapt=adapt, prompts=prompts
    )
    # texts outside the closed set of training are expected of another data set
    return replace(found, findings=tuple(f for f in found.findings if f.kind != "closed"))
