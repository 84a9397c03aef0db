r"""Evidence of the brain on whole sentences: a residual energy on top of a language model.

.. math:: p(y \mid b) = p_{LM}(y) \, e^{w \cos(f(b), e(y))} / Z(b)

f(b) is the predicted embedding, e(y) that of the text. Z(b) is the mean of the exponential over
texts that the language model wrote without a brain, so the likelihood is normalised over texts and
not word by word (residual energy-based models: Deng et al. 2020, arXiv 2004.11714).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..._arguments import checked
from ...errors import InputError
from ...stats.folds import require_names

Array = npt.NDArray[np.float64]
_FEWEST = 5.0  # effective texts; with fewer, one text more or less moves Z by a fifth
WEIGHTS = tuple(float(w) for w in np.arange(0, 65))


@dataclass(frozen=True, eq=False)
class SentenceEvidence:
    """Weight of the brain, and what normalises it; returned by :func:`fit_evidence`.

    Parameters
    ----------
    weight : float
        Nats for a cosine of one. 0: the predictions say nothing about left-out training texts.
    written : ndarray, (S, F) float64
        Unit embeddings of texts that the language model wrote without a brain.
    gain : float
        Mean log ratio of the training texts given predictions out of fold, nats a text.
    effective : float
        Median effective number of those texts in Z(b); of few, the normaliser is uncertain.
    texts : tuple of str, (S,)
        Those texts; () where only their embeddings were given.
    """

    weight: float
    written: Array
    gain: float
    effective: float
    texts: tuple[str, ...] = ()

    @property
    def at_bound(self) -> bool:
        """Whether the weight is the largest that is tried, so that a larger one may be likelier."""
        return self.weight >= WEIGHTS[-1]

    @checked
    def log_ratio(self, predicted: Array, vectors: Array) -> Array:
        """Log p(y | b) - log p(y), nats a text: (N, M) of brains (N, F) and texts (M, F).

        Raises
        ------
        InputError
            Brains or texts are not rows as wide as the written texts.
        """
        width = self.written.shape[1]
        if not all(rows.ndim == 2 and rows.shape[1] == width for rows in (predicted, vectors)):
            raise InputError(
                f"SentenceEvidence.log_ratio: predicted and vectors must be (N, {width}) and "
                f"(M, {width}), got {predicted.shape} and {vectors.shape}. Pass what "
                "SentenceReadout.predict and embed return."
            )
        found: Array = self.weight * predicted @ vectors.T
        return found - _log_z(predicted @ self.written.T, self.weight)[:, None]


@checked
def fit_evidence(
    predicted: npt.NDArray[np.float64],
    vectors: npt.NDArray[np.float64],
    written: npt.NDArray[np.float64],
    *,
    groups: Sequence[object] | None = None,
) -> SentenceEvidence:
    """Fit the weight that makes left-out training texts likeliest.

    It is 0 unless they gain more than one standard error over the groups, since some weight fits
    any noise a little.

    Parameters
    ----------
    predicted : ndarray, (M, F) float64
        Unit predictions of training texts by regressions that have not seen them.
    vectors : ndarray, (M, F) float64
        Unit embeddings of these texts.
    written : ndarray, (S, F) float64
        Unit embeddings of texts that the language model wrote without a brain.
    groups : sequence, (M,), optional
        Those that were left out together, ``SentenceReadout.groups``. Default: every text is its
        own, which is right if no text recurs.

    Returns
    -------
    SentenceEvidence

    Raises
    ------
    InputError
        Shapes or lengths differ, there is no text, a vector is not finite, or a group has no name.

    Warns
    -----
    UserWarning
        Likelihoods with this evidence mean little; see :func:`doubt`.
    """
    if predicted.shape != vectors.shape or predicted.ndim != 2 or not len(predicted):
        raise InputError(
            "fit_evidence: predicted and vectors must be (M >= 1, F), got "
            f"{predicted.shape} and {vectors.shape}."
        )
    if written.ndim != 2 or not len(written) or written.shape[1] != predicted.shape[1]:
        raise InputError(
            f"fit_evidence: written must be (S >= 1, {predicted.shape[1]}), got {written.shape}."
        )
    if not all(np.isfinite(rows).all() for rows in (predicted, vectors, written)):
        raise InputError(
            "fit_evidence: predicted, vectors and written must be finite, got NaN or infinity. "
            "Leave those texts out."
        )
    names = list(range(len(vectors)) if groups is None else groups)
    if len(names) != len(vectors):
        raise InputError(f"fit_evidence: groups must be of {len(vectors)} texts, got {len(names)}.")
    require_names("fit_evidence", names)
    own, others = (predicted * vectors).sum(axis=1), predicted @ written.T
    gains = [w * own - _log_z(others, w) for w in WEIGHTS]
    best = int(np.argmax([gain.mean() for gain in gains]))
    if gains[best].mean() <= _standard_error(gains[best], names):
        best = 0
    scaled = WEIGHTS[best] * others
    shares = np.exp(scaled - np.logaddexp.reduce(scaled, axis=1, keepdims=True))
    effective = float(np.median(1 / (shares**2).sum(axis=1)))
    found = SentenceEvidence(WEIGHTS[best], written, float(gains[best].mean()), effective)
    if reason := doubt(found.weight, found.effective, len(written)):
        warnings.warn(f"fit_evidence: {reason}", stacklevel=3)  # the caller of the checked function
    return found


def doubt(weight: float, effective: float, count: int) -> str | None:
    """Say why likelihoods with evidence of this weight mean little, None if they do not.

    Parameters
    ----------
    weight : float
        Nats for a cosine of one.
    effective : float
        Effective number of texts in the normaliser.
    count : int
        Number of texts in it.
    """
    if weight >= WEIGHTS[-1]:
        return (
            f"the weight of the brain is {weight:g} nats for a cosine of one, the largest that is "
            "tried: predictions are nearer to left-out texts than to nearly all written ones. "
            "Check that these texts and their like are in no other group, and that the language "
            "model writes like them; if not, likelihoods are no evidence."
        )
    if weight and effective < _FEWEST:
        return (
            f"likelihoods are uncertain, as {effective:.1f} effective texts of {count} normalise "
            "them. Draw more texts, or compare brains by what is written."
        )
    return None


def _standard_error(values: Array, groups: Sequence[object]) -> float:
    """Standard error of the mean over groups; infinite for a single one."""
    rows: dict[object, list[float]] = {}
    for name, value in zip(groups, values.tolist(), strict=True):
        rows.setdefault(name, []).append(value)
    means = [np.mean(row) for row in rows.values()]
    return float(np.std(means, ddof=1) / np.sqrt(len(means))) if len(means) > 1 else np.inf


def _log_z(similarity: Array, weight: float) -> Array:
    found: Array = np.logaddexp.reduce(weight * similarity, axis=1) - np.log(similarity.shape[1])
    return found
