"""Audit the trials of a cohort or a voxel store for leaks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import get_args

from ..._arguments import checked
from ...errors import SplitError, some
from ..readers.events import Trial
from ..readers.prompts import last_words
from ..splits.split import PARTS, Key, Split
from ..store.collection import StoreCollection
from ..store.inputs import refuse_without_texts
from ..store.members import members_of
from ..store.store import VoxelStore
from .audit import Audit, audit_records
from .checks import AuditPart, AuditRecord
from .fit_scope import FitScope, statistics_scopes
from .scan_digests import window_digests


@checked
def audit_trials(
    trials: Iterable[Trial],
    split: Split,
    *,
    scans: Mapping[str, Sequence[str]] | None = None,
    fits: Iterable[FitScope] = (),
    prompts: Sequence[str] = (),
    adapt: Iterable[str] = (),
    prompt_length: int | None = None,
) -> Audit:
    """Audit a split of trials.

    Parameters
    ----------
    trials : iterable of Trial
    split : Split
    scans : mapping of str to sequence of str, optional
        Digests of the images of each trial, by trial id.
    fits, prompts
        As in :func:`audit_records`.
    adapt : iterable of str
        Trials of the test part that are used without their texts and never scored.
    prompt_length : int, optional
        Number of words of each trial's prompt that a model is given, the last ones. Default: all.

    Returns
    -------
    Audit
        Windows are checked with the guard of the split or of the trials, whichever is larger.

    Raises
    ------
    SplitError
        The split names a trial that does not exist, or a part is empty.
    """
    known = {trial.trial_id: trial for trial in trials}
    unlabelled = set(adapt)
    if split.train:
        refuse_without_texts(known.values(), function="audit")
    records = []
    for part in PARTS:
        ids = split.part(part)
        unknown = [i for i in ids if i not in known]
        if not ids:
            raise SplitError(
                f"audit: {part} must have trials, got none. A store that was prepared like another "
                "one (prepare --like) is there to be decoded, not to train on."
            )
        if unknown:
            raise SplitError(
                f"audit: {part} must name trials of the cohort, got {some(unknown)}. Is it the "
                "split of another cohort?"
            )
        for i in ids:
            role: AuditPart = "adapt" if part == "test" and i in unlabelled else part
            digests = tuple((scans or {}).get(i, ()))
            records.append(_record(known[i], role, digests, prompt_length))
    return audit_records(
        records,
        fits=fits,
        prompts=prompts,
        guard_trs=max(split.guard_trs, *(t.guard_trs for t in known.values())),
        keys=split.keys,
        val_keys=split.val_keys,
        closed_set=split.closed_set,
    )


@checked
def audit_store(
    store: VoxelStore | StoreCollection,
    *,
    split: Split | None = None,
    fits: Iterable[FitScope] = (),
    prompts: Sequence[str] = (),
    adapt: Iterable[str] = (),
    prompt_length: int | None = None,
) -> Audit:
    """Audit the split of a store, or another split of its trials; reads few of the voxels.

    Parameters
    ----------
    store : VoxelStore or StoreCollection
        Its voxel mean and standard deviation are audited as one of the fits; of a collection, those
        of each grid.
    split : Split, optional
        Default: the split of the store.
    fits, prompts, adapt, prompt_length
        As in :func:`audit_trials`.

    Returns
    -------
    Audit
    """
    split = store.split if split is None else split
    scans: dict[str, tuple[str, ...]] = {}
    for member in members_of(store).values():
        scans |= window_digests(member, member.trials)
    return audit_trials(
        store.trials,
        split,
        scans=scans,
        fits=(*statistics_scopes(store), *fits),
        prompts=prompts,
        adapt=adapt,
        prompt_length=prompt_length,
    )


def _record(
    trial: Trial, part: AuditPart, scans: tuple[str, ...], prompt_length: int | None
) -> AuditRecord:
    fields = {name: getattr(trial, name) for name in ("start", "frames", "text", *get_args(Key))}
    return AuditRecord(
        record_id=trial.trial_id,
        part=part,
        scans=scans,
        prompt=last_words(trial.prompt, prompt_length),
        instruction=trial.instruction,
        **fields,
    )
