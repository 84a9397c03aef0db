r"""Evidence of the brain on whole sentences: a residual energy on top of a language model.

.. math:: p(y \mid b) = p_{LM}(y) \, e^{w \cos(f(b), e(y))} / Z(b)

f(b) is the predicted embedding, e(y) that of the text. Z(b) is the mean of the exponential over
texts that the language model wrote without a brain, so the likelihood is normalised over texts and
not word by word (residual energy-based models: Deng et al. 2020, arXiv 2004.11714).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..._arguments import checked
from ...errors import InputError

Array = npt.NDArray[np.float64]
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

    def log_ratio(self, predicted: Array, vectors: Array) -> Array:
        """Log p(y | b) - log p(y), nats a text: (N, M) of brains (N, F) and texts (M, F)."""
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
        Passage, story or run of each text. Default: every text is its own.

    Returns
    -------
    SentenceEvidence

    Raises
    ------
    InputError
        Shapes or lengths differ, or there is no text.
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
    names = list(range(len(vectors)) if groups is None else groups)
    if len(names) != len(vectors):
        raise InputError(f"fit_evidence: groups must be of {len(vectors)} texts, got {len(names)}.")
    own, others = (predicted * vectors).sum(axis=1), predicted @ written.T
    gains = [w * own - _log_z(others, w) for w in WEIGHTS]
    best = int(np.argmax([gain.mean() for gain in gains]))
    if gains[best].mean() <= _standard_error(gains[best], names):
        best = 0
    scaled = WEIGHTS[best] * others
    shares = np.exp(scaled - np.logaddexp.reduce(scaled, axis=1, keepdims=True))
    effective = float(np.median(1 / (shares**2).sum(axis=1)))
    return SentenceEvidence(WEIGHTS[best], written, float(gains[best].mean()), effective)


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
