"""Choose the period of the high-pass filter from the training events."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt

from ..._arguments import checked
from ...errors import CohortError, InputError
from ..readers.events import Trial
from ..readers.trial_windows import WindowSpec
from .denoising.drifts import drift_basis
from .denoising.projection import projection_of
from .denoising.table import RunConfounds
from .design import RunDesign, removed_variance, run_designs
from .highpass import KEPT, MAX_REMOVED, USUAL_S, DriftFilter, HighPass

_RARE = 4  # categories with fewer trials are pooled, or left out
_MANY = 256  # with more categories than this, all are pooled


@checked
def choose_filter(
    asked: HighPass,
    trials: Sequence[Trial],
    *,
    lengths: Mapping[str, int],
    tr: float,
    window: WindowSpec,
    confounds: Mapping[str, RunConfounds] | None = None,
    starts: Mapping[str, float] | None = None,
) -> DriftFilter:
    """Choose a high-pass filter from training events, or evaluate a requested one.

    ``"auto"`` gives 128 s, unless that removes more than 20 % of the predicted variance of a
    category. Then it gives the shortest period that keeps 95 % of every category, or constant and
    line only if no period does. It also gives 128 s for fewer than four trials and for events that
    predict no response.

    Parameters
    ----------
    asked : float, "auto" or None
        Period in seconds; None removes constant and line only.
    trials : sequence of Trial
        Trials of the training part only.
    lengths : mapping of str to int
        Volumes by run id.
    tr : float
        Seconds.
    window : WindowSpec
        Its offset is added to every onset.
    confounds : mapping of str to RunConfounds, optional
        Confounds and censored volumes by run. They do not change the choice; what they remove
        together with the drifts is computed.
    starts : mapping of str to float, optional
        Seconds of the first volume on the clock of the events, by run id. Default: 0.

    Returns
    -------
    DriftFilter

    Raises
    ------
    InputError
        `asked` is neither "auto", None nor a positive number of seconds; a run is too short for
        the filter.
    """
    period = check_high_pass(asked)
    groups = _grouped(trials)
    clock: dict[str, Any] = {"tr": tr, "onset_offset_s": window.onset_offset_s, "starts": starts}

    judged = run_designs(groups.trials, lengths=lengths, key=groups.key, **clock)
    stimuli = run_designs(trials, lengths=lengths, key=_stimulus, **clock)

    @cache
    def drifts(n_volumes: int, seconds: float | None) -> npt.NDArray[np.float32]:
        return drift_basis(n_volumes, tr, seconds)

    def removed(seconds: float | None) -> dict[str, float]:
        return removed_shares(
            judged, lambda run: drifts(len(run.responses), seconds), label=groups.label
        )

    def most(seconds: float | None) -> float:
        try:
            return max(removed(seconds).values(), default=0.0)
        except InputError:
            return 1.0  # the run is too short for this filter: count all as removed

    usual = most(USUAL_S)
    spares = _shortest(most, _periods({lengths[d.run_id] for d in judged}, tr))
    if asked == "auto":
        # with few trials the result depends on their random positions in the run
        few = len(groups.trials) < _RARE
        period = USUAL_S if few or usual <= MAX_REMOVED else spares
    single = removed_shares(stimuli, lambda run: drifts(len(run.responses), period))
    together: dict[str, Any] = {}
    if confounds and any(c.values.shape[1] for c in confounds.values()):
        together = _together(judged, stimuli, confounds, period, tr=tr, label=groups.label)
    return DriftFilter(
        high_pass_s=period,
        asked="auto" if asked == "auto" else period,
        runs=tuple(d.run_id for d in stimuli),
        trials=len(trials),
        removed=_rounded(removed(period)),
        stimuli=_summary(single),
        worst_stimulus=max(single, key=single.__getitem__, default=""),
        usual=round(usual, 4),
        line=round(most(None), 4),
        spares=spares,
        **together,
    )


def _together(
    judged: Sequence[RunDesign],
    stimuli: Sequence[RunDesign],
    confounds: Mapping[str, RunConfounds],
    period: float | None,
    *,
    tr: float,
    label: Callable[[str], str],
) -> dict[str, Any]:
    """Compute what drifts and confounds remove together, over volumes that are not censored."""
    shares = []

    def basis(run: RunDesign) -> npt.NDArray[np.float32]:
        own = confounds[run.run_id]
        try:
            found = projection_of(len(own.censored), tr, period, own.values, own.censored)
        except InputError as error:
            raise CohortError(f"denoising: {run.run_id}: {error}") from error
        kept = found.basis[~own.censored]
        drifts = found.basis.shape[1] - found.confounds
        shares.append(found.confounds / max(1, len(kept) - drifts))
        return kept

    def shown(designs: Sequence[RunDesign]) -> list[RunDesign]:
        return [
            RunDesign(d.run_id, d.names, d.responses[~confounds[d.run_id].censored])
            for d in designs
        ]

    removed = removed_shares(shown(judged), basis, label=label)
    noise = float(np.mean(shares)) if shares else 0.0
    return {
        "with_confounds": _rounded(removed),
        "stimuli_with_confounds": _summary(removed_shares(shown(stimuli), basis)),
        "noise": round(noise, 4),
    }


def _summary(single: Mapping[str, float]) -> dict[str, float]:
    shares = np.array(list(single.values()))
    if not len(shares):
        return {"n": 0, "median": 0.0, "worst": 0.0}
    return _rounded(
        {"n": len(shares), "median": float(np.median(shares)), "worst": float(shares.max())}
    )


def check_high_pass(asked: HighPass) -> float | None:
    """Check the requested period and return it in seconds; None for None and ``"auto"``.

    Raises
    ------
    InputError
        Neither "auto", None nor a positive number of seconds.
    """
    if asked is None or asked == "auto":
        return None
    if isinstance(asked, bool) or not isinstance(asked, Real) or not 0 < float(asked) < 1e9:
        raise InputError(
            f"choose_filter: high_pass_s must be 'auto', None or a number of seconds > 0, got "
            f"{asked!r}."
        )
    return float(asked)


@checked
def removed_shares(
    designs: Iterable[RunDesign],
    nuisance: Callable[[RunDesign], npt.NDArray[np.floating]],
    *,
    label: Callable[[str], str] = lambda name: name,
) -> dict[str, float]:
    """Compute the share of the predicted variance that a nuisance regression removes in all runs.

    Parameters
    ----------
    designs : iterable of RunDesign
    nuisance : callable
        Returns the (T, K) basis that is regressed out of a run: drifts, confounds, or both.
    label : callable
        Maps a name to its group; variances are added up over the names of a group.

    Returns
    -------
    dict of str to float
        Share by group, 0..1; groups without predicted variance are left out.
    """
    lost: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    for run in designs:
        removed, total = removed_variance(run.responses, nuisance(run))
        for name, part, all_of_it in zip(run.names, removed, total, strict=True):
            lost[label(name)] += part
            whole[label(name)] += all_of_it
    return {name: float(lost[name] / whole[name]) for name in whole if whole[name] > 0}


@dataclass(frozen=True)
class _Groups:
    """Trials to evaluate: responses are added up by `key`, then variances by `label`."""

    trials: Sequence[Trial]
    key: Callable[[Trial], str]
    label: Callable[[str], str]


def _grouped(trials: Sequence[Trial]) -> _Groups:
    counts = Counter(t.category for t in trials)
    if len(counts) < 2:
        # with a single category only the stimuli differ
        return _Groups(trials, _stimulus, lambda _: "all stimuli")
    if len(counts) > _MANY:
        together = f"all {len(counts)} categories"
        return _Groups(trials, lambda t: t.category, lambda _: together)
    rare = {name for name, n in counts.items() if n < _RARE}
    if rare != set(counts) and sum(counts[name] for name in rare) < _RARE:
        # so few trials lie at random positions in their runs and must not determine the filter
        trials = [t for t in trials if t.category not in rare]
    together = f"{len(rare)} rare categories"
    return _Groups(
        trials, lambda t: t.category, lambda c: together if c in rare else c or "no category"
    )


def _stimulus(trial: Trial) -> str:
    # if the events do not name the stimulus, every trial is its own group
    return trial.stimulus or trial.trial_id


def _periods(lengths: set[int], tr: float) -> list[float]:
    """List the periods from 128 s on, in whole seconds, that remove different bases; ascending."""
    found = {USUAL_S}
    for n in lengths:
        twice = 2 * n * tr
        # periods above twice / k keep the k-th cosine
        found |= {float(twice // k + 1) for k in range(2, int(twice / USUAL_S) + 1)}
        found.add(float(twice // 2 + 1))
    longest = 2 * max(lengths, default=0) * tr
    return sorted(p for p in found if USUAL_S <= p <= longest)


def _shortest(most: Callable[[float | None], float], periods: list[float]) -> float | None:
    """Find the shortest period that keeps enough by bisection: longer ones never remove more."""
    low, high = 0, len(periods)
    while low < high:
        middle = (low + high) // 2
        if most(periods[middle]) <= 1 - KEPT:
            high = middle
        else:
            low = middle + 1
    return periods[low] if low < len(periods) else None


def _rounded(shares: Mapping[str, float]) -> dict[str, float]:
    # the last digits depend on the order of summation, the manifest must not
    return {name: round(share, 4) for name, share in shares.items()}
