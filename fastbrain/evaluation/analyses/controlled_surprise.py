"""Whether the brain helps more with surprising texts, at equal length and word frequency.

Surprising texts are often long and have rare words. The accuracy in bins of surprise
(:mod:`fastbrain.evaluation.analyses.surprise`) does not separate these properties.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ..._arguments import checked
from ...stats.derangements import distinct_rows
from ...stats.inference import permutation_p
from ..controls.conditions import DERANGED, TRUE, Conditions
from ..scores import Score

Values = npt.NDArray[np.float64]
_DIGITS = 9
_LEAST = 6  # samples: more than the constant and two covariates explain


@checked
def surprise_effect(conditions: Conditions, train_texts: Sequence[str]) -> Score | None:
    """Correlate the gain by the true brain with surprise, at equal length and word frequency.

    Ranks of gain and surprise are correlated after the ranks of the number of words and of their
    mean log frequency are regressed out of both (partial Spearman correlation). The gain of a text
    is its log likelihood given a brain minus the mean of that given all brains, nats a token.

    Parameters
    ----------
    conditions : Conditions
        With likelihoods of the true brain, of deranged brains and of the untuned model; the
        last is the surprise.
    train_texts : sequence of str
        Texts of the training part; word frequencies are counted in them.

    Returns
    -------
    Score or None
        p compares the correlation with those of the derangements, each in the place of the true
        brain; their mean is the chance level. None without likelihoods, for fewer than six
        samples, or if nothing of the surprise is left.
    """
    from scipy.stats import rankdata

    n = len(conditions.truth)
    needed = (conditions.controls.get(name) for name in ("untuned model", TRUE, DERANGED))
    level, true, deranged = (control.nll if control else None for control in needed)
    if level is None or true is None or deranged is None or n < _LEAST:
        return None
    covariates = _covariates(conditions.truth, train_texts)
    design = np.column_stack([np.ones(n), *(rankdata(v.round(_DIGITS)) for v in covariates)])
    basis, sizes, _ = np.linalg.svd(design, full_matrices=False)
    basis = basis[:, sizes > 1e-9 * sizes[0]]  # texts of one length have one column twice

    def rest(values: Values) -> Values:
        # sums of equal numbers differ by rounding: without this, ties would get ranks
        ranks = rankdata(values.round(_DIGITS), axis=-1)
        left = ranks - (ranks @ basis) @ basis.T
        norm = np.linalg.norm(left, axis=-1, keepdims=True)
        # ranks of order N: what rounding leaves of a linear function of the covariates is far less
        return np.where(norm > 1e-6 * n, left / np.maximum(norm, 1e-300), 0.0)

    surprise = rest(level)
    if not surprise.any():
        return None
    likelihoods = np.vstack([true[None], deranged[distinct_rows(conditions.partners)]])
    found = rest(likelihoods.mean(axis=0) - likelihoods) @ surprise
    return Score(
        metric="surprise_effect",
        mode="teacher-forced",
        value=float(found[0]),
        n=n,
        chance=float(found[1:].mean()),
        control=DERANGED,
        p=permutation_p(float(found[0]), found[1:]),
        signature="partial Spearman correlation of gain and surprise, given words and frequency",
    )


def _covariates(texts: Sequence[str], train_texts: Sequence[str]) -> list[Values]:
    """Number of words of each text, and the mean log frequency of its words in training."""
    counts = Counter(word for text in train_texts for word in text.lower().split())
    # one more than counted: a word of the text may be new
    total = sum(counts.values()) + len(counts) + 1
    words = [text.lower().split() for text in texts]
    logs = [[np.log((counts[w] + 1) / total) for w in own] or [0.0] for own in words]
    return [np.array([float(len(own)) for own in words]), np.array([np.mean(v) for v in logs])]
