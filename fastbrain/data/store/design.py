"""Predict BOLD responses from events, and the variance that a nuisance basis removes from them.

A response is the boxcar of an event convolved with the canonical haemodynamic response of SPM: the
difference of two gamma densities, with shapes 6 and 16 (s) and weights 1 and 1/6. The variance of a
design is the sum of squares of its responses around the mean of each run, added up over runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..._arguments import checked
from ...errors import InputError
from ..readers.events import Trial
from ..readers.timing import volume_during, volumes_to_cover
from ..splits.split import by_run

Array = npt.NDArray[np.float64]
_LENGTH_S = 32.0  # a response is over after this time
_BRIEF_S = 0.1  # shortest duration of an event
# a smaller share of the sum of squares before the mean is removed is rounding error
_NOTHING = 1e-12


@dataclass(frozen=True, eq=False)
class RunDesign:
    """Predicted responses to the events of one run.

    Parameters
    ----------
    run_id : str
    names : tuple of str, (G,)
        Groups of events: categories or stimuli.
    responses : ndarray, (T, G) float64
        Predicted response of each group, in arbitrary units.
    """

    run_id: str
    names: tuple[str, ...]
    responses: Array


def haemodynamic_response(times: npt.NDArray[np.floating], onset: float, duration: float) -> Array:
    """Predict the response to one event.

    Parameters
    ----------
    times : ndarray, (N,)
        Seconds.
    onset, duration : float
        Seconds; durations below 0.1 s are taken as 0.1 s.

    Returns
    -------
    ndarray, (N,) float64
        Boxcar of height 1, convolved with the canonical response.
    """
    since = np.asarray(times - onset, dtype=np.float64)
    return _step(since) - _step(since - max(duration, _BRIEF_S))


def _step(since: Array) -> Array:
    """Compute the response to a stimulus that begins at 0 and does not end."""
    t = np.maximum(since, 0.0)
    return _erlang(t, 6) - _erlang(t, 16) / 6


def _erlang(t: Array, shape: int) -> Array:
    """Cumulative distribution of the gamma density with integer shape and scale 1 s."""
    term = np.exp(-t)
    total = term.copy()
    for k in range(1, shape):
        term = term * t / k
        total += term
    return np.asarray(1 - total)


@checked(least={"n_volumes": 1})
def run_design(
    trials: Sequence[Trial],
    *,
    n_volumes: int,
    tr: float,
    key: Callable[[Trial], str],
    onset_offset_s: float = 0.0,
) -> RunDesign:
    """Predict the responses to the events of one run.

    Parameters
    ----------
    trials : sequence of Trial
        Trials of one run, at least one.
    n_volumes : int
    tr : float
        Seconds.
    key : callable
        Returns the group of a trial; the responses of a group are added up.
    onset_offset_s : float
        Added to every onset, as in :class:`fastbrain.data.WindowSpec`.

    Raises
    ------
    InputError
        No trials, or trials of several runs.
    """
    if len({t.run_id for t in trials}) != 1:
        raise InputError(
            f"run_design: trials must be of one run, got {len(trials)} trials of "
            f"{len({t.run_id for t in trials})} runs."
        )
    column = {name: i for i, name in enumerate(dict.fromkeys(map(key, trials)))}
    responses = np.zeros((n_volumes, len(column)))
    for t in trials:
        onset = t.onset + onset_offset_s
        begin = max(0, volume_during(onset, tr))
        end = min(n_volumes, volumes_to_cover(onset + t.duration + _LENGTH_S, tr) + 1)
        if begin < end:
            part = haemodynamic_response(np.arange(begin, end) * tr, onset, t.duration)
            responses[begin:end, column[key(t)]] += part
    return RunDesign(trials[0].run_id, tuple(column), responses)


@checked
def run_designs(
    trials: Sequence[Trial],
    *,
    lengths: Mapping[str, int],
    tr: float,
    key: Callable[[Trial], str],
    onset_offset_s: float = 0.0,
    starts: Mapping[str, float] | None = None,
) -> list[RunDesign]:
    """Predict the responses of several runs; arguments as in :func:`run_design`.

    Parameters
    ----------
    lengths : mapping of str to int
        Volumes of each run, by run id.
    starts : mapping of str to float, optional
        Seconds of the first volume on the clock of the events, by run id. Default: 0.

    Raises
    ------
    InputError
        A run has no length.
    """
    runs = by_run(trials)
    absent = sorted(set(runs) - set(lengths))
    if absent:
        raise InputError(f"run_designs: lengths must name every run, got none of {absent}.")
    return [
        run_design(
            members,
            n_volumes=lengths[run_id],
            tr=tr,
            key=key,
            onset_offset_s=onset_offset_s - (starts or {}).get(run_id, 0.0),
        )
        for run_id, members in runs.items()
    ]


def removed_variance(responses: Array, basis: npt.NDArray[np.floating]) -> tuple[Array, Array]:
    """Compute the variance of responses and the part of it that lies in a nuisance basis.

    The basis contains the regressors that are removed from a run: drifts, confounds, or both. The
    mean of the run is always removed first and is not part of the variance.

    Parameters
    ----------
    responses : ndarray, (T, G)
    basis : ndarray, (T, K)
        Need not be centred or orthogonal; columns may be linearly dependent.

    Returns
    -------
    removed, total : ndarray, (G,) float64
        Sums of squares.

    Raises
    ------
    InputError
        The basis is not finite or has another number of volumes.
    """
    basis = np.asarray(basis, dtype=np.float64)
    if basis.ndim != 2 or len(basis) != len(responses) or not np.isfinite(basis).all():
        raise InputError(
            f"removed_variance: basis must be finite and ({len(responses)}, K), got "
            f"{basis.shape}{'' if np.isfinite(basis).all() else ' with NaN or infinity'}."
        )
    centred, total = _centred(responses)
    columns = basis - basis.mean(axis=0)
    # a centred constant column is rounding error and must not be normalised to a direction
    size = np.linalg.norm(columns, axis=0)
    columns = columns[:, size > 1e-6 * np.linalg.norm(basis, axis=0)]
    if not columns.size:
        return np.zeros_like(total), total
    directions, strength, _ = np.linalg.svd(
        columns / np.linalg.norm(columns, axis=0), full_matrices=False
    )
    directions = directions[:, strength > 1e-6 * strength[0]]
    return ((directions.T @ centred) ** 2).sum(axis=0), total


def _centred(responses: Array) -> tuple[Array, Array]:
    """Centre responses and return their sums of squares; both are 0 for a constant response."""
    centred = responses - responses.mean(axis=0)
    total = (centred**2).sum(axis=0)
    constant = total <= _NOTHING * (responses**2).sum(axis=0)
    return np.where(constant, 0, centred), np.where(constant, 0, total)
