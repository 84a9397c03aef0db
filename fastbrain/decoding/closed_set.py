r"""Evidence of a read-out on a closed set of sentences, added to that of a language model.

.. math:: p(y \mid b) = p_{LM}(y \mid b)^{a} \, e^{w \, r(y, b)} / Z(b)

r(y, b) is the score of sentence y by a regression on the same brain. Z(b) is the sum over the set,
so this is a multinomial logistic regression with two weights (logarithmic opinion pool: Heskes
1998, "Selecting weighting factors in logarithmic opinion pools").

With few brains it is uncertain whether a language model adds anything to a good regression. Where
the runs of the brains are known, this is tested: its weight is 0 unless left-out runs are likelier
with it than by the regression alone, by more than one standard error (the rule of one standard
error: Breiman et al. 1984, "Classification and regression trees").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .._arguments import checked
from ..errors import InputError
from ..stats.folds import require_names

Array = npt.NDArray[np.float64]
Columns = npt.NDArray[np.int64]
# standard deviation of the Gaussian prior on the weights of scores of unit spread; it keeps them
# finite where no brain is misread
_PRIOR_STD = 2.0
Bounds = tuple[tuple[int, int | None], tuple[int, int | None]]
# of the weights of language model and read-out
_BOTH: Bounds = ((0, None), (0, None))
_LM: Bounds = ((0, None), (0, 0))
_READOUT: Bounds = ((0, 0), (0, None))


@dataclass(frozen=True)
class ClosedSetEvidence:
    """Weights of a language model and of a read-out; returned by :func:`fit_closed_set`.

    Parameters
    ----------
    lm_weight : float
        Exponent of the likelihood of the language model; 0: it adds nothing to the read-out.
    weight : float
        Nats for a read-out score of one; 0: the read-out adds nothing.
    nll : float
        Negative log posterior of the true sentences of the left-out training brains, nats a brain.
    lm_nll : float
        The same by the language model alone, with the best exponent.
    brains : int
        Number of left-out training brains.
    groups : int
        Number of their groups; 0: they are not known.
    gain, gain_error : float
        What the language model adds to the read-out alone in left-out groups, nats a brain, as
        mean over the groups, and its standard error; 0 without groups.
    """

    lm_weight: float
    weight: float
    nll: float
    lm_nll: float
    brains: int
    groups: int = 0
    gain: float = 0.0
    gain_error: float = 0.0

    def log_posterior(self, log_likelihood: Array, readout: Array) -> Array:
        """Log p(y | b) over the set, nats: (N, M) of N brains and M sentences."""
        return _log_posterior(np.array([self.lm_weight, self.weight]), log_likelihood, readout)


@checked
def fit_closed_set(
    log_likelihood: npt.NDArray[np.float64],
    readout: npt.NDArray[np.float64],
    truth: npt.NDArray[np.int64],
    *,
    groups: Sequence[object] = (),
) -> ClosedSetEvidence:
    """Fit both weights, not negative, to training brains that neither model has seen.

    Parameters
    ----------
    log_likelihood : ndarray, (K, M) float64
        Of M sentences after the brains of K left-out training samples, by language models that were
        not trained on them. Nats a sentence or nats a token, but the same where it is used.
    readout : ndarray, (K, M) float64
        Scores of the sentences by regressions that were not fitted on these samples.
    truth : ndarray, (K,) int64
        Column of the true sentence.
    groups : sequence, (K,), optional
        Run of each brain, two or more. The language model then has a weight only if left-out runs
        are likelier with it by more than one standard error; else the read-out decides alone.

    Returns
    -------
    ClosedSetEvidence

    Raises
    ------
    InputError
        Shapes differ, there is no sample or a single sentence, a value is not finite, a column
        is no integer or does not exist, or the groups are not those of all samples or have no name.
    """
    if (
        log_likelihood.ndim != 2
        or log_likelihood.shape != readout.shape
        or truth.shape != log_likelihood.shape[:1]
        or not len(truth)
        or log_likelihood.shape[1] < 2
    ):
        raise InputError(
            "fit_closed_set: log_likelihood and readout must be (K >= 1, M >= 2) and truth (K,), "
            f"got {log_likelihood.shape}, {readout.shape} and {truth.shape}."
        )
    if not np.issubdtype(truth.dtype, np.integer):
        raise InputError(f"fit_closed_set: truth must be columns, as integers, got {truth.dtype}.")
    if not (np.isfinite(log_likelihood).all() and np.isfinite(readout).all()):
        raise InputError(
            "fit_closed_set: log_likelihood and readout must be finite, got NaN or infinity."
        )
    sentences = log_likelihood.shape[1]
    if truth.min() < 0 or truth.max() >= sentences:
        raise InputError(
            f"fit_closed_set: truth must be columns of 0 to {sentences - 1}, got {truth.min()} to "
            f"{truth.max()}."
        )
    require_names("fit_closed_set", groups)
    if len(groups) and (len(groups) != len(truth) or len(set(groups)) < 2):
        raise InputError(
            f"fit_closed_set: groups must be those of all {len(truth)} samples, two or more, got "
            f"{len(groups)} names of {len(set(groups))} groups."
        )
    scales = np.array([_spread(log_likelihood), _spread(readout)])
    both = [part / scale for part, scale in zip((log_likelihood, readout), scales, strict=True)]
    gains = _gains(both, truth, groups)
    error = float(gains.std(ddof=1) / np.sqrt(len(gains))) if len(gains) else 0.0
    gain = float(gains.mean()) if len(gains) else 0.0
    found = _fit(both, truth, _READOUT if len(gains) and gain <= error else _BOTH)
    lm_weight, weight = (found / scales).tolist()
    return ClosedSetEvidence(
        lm_weight,
        weight,
        _nll(found, both, truth),
        _nll(_fit(both, truth, _LM), both, truth),
        len(truth),
        len(gains),
        gain,
        error,
    )


def _gains(both: list[Array], truth: Columns, groups: Sequence[object]) -> Array:
    """Mean gain of both parts over the read-out alone in each group, fitted on the others, nats."""
    gains = []
    for name in dict.fromkeys(groups):
        out = np.array([group == name for group in groups])
        rest, held = ([part[rows] for part in both] for rows in (~out, out))
        alone, joint = (
            _nll(_fit(rest, truth[~out], bounds), held, truth[out]) for bounds in (_READOUT, _BOTH)
        )
        gains.append(alone - joint)
    return np.array(gains)


def _fit(both: list[Array], truth: Columns, bounds: Bounds) -> Array:
    from scipy.optimize import minimize

    def loss(weights: Array) -> tuple[float, Array]:
        posterior = np.exp(_log_posterior(weights, *both))
        rows = np.arange(len(truth))
        # the gradient of a log posterior is the true score minus the expected one
        slope = [(part[rows, truth] - (posterior * part).sum(axis=1)).mean() for part in both]
        prior = weights / (_PRIOR_STD**2 * len(truth))
        return _nll(weights, both, truth) + 0.5 * float(prior @ weights), prior - slope

    found: Array = minimize(loss, np.zeros(2), jac=True, bounds=bounds, method="L-BFGS-B").x
    return found


def _nll(weights: Array, both: list[Array], truth: Columns) -> float:
    return -float(_log_posterior(weights, *both)[np.arange(len(truth)), truth].mean())


def _log_posterior(weights: Array, log_likelihood: Array, readout: Array) -> Array:
    total = weights[0] * log_likelihood + weights[1] * readout
    found: Array = total - np.logaddexp.reduce(total, axis=1, keepdims=True)
    return found


def _spread(scores: Array) -> float:
    """Root mean variance within a brain; 1 if the scores say nothing."""
    spread = float(np.sqrt(scores.var(axis=1).mean()))
    return spread if spread > 0 else 1.0
