"""Linear baseline of a decoder: ridge regression from the same windows to vectors of the texts.

The regression sees what the language model sees, the voxels of a window, and is fitted on the
training windows alone. Its prediction for a test window is compared with the true texts of all test
windows, which asks the question of retrieval and of pairwise accuracy without a language model.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ..._arguments import checked
from ...data import VoxelStore
from ...data.store.window_products import window_products
from ...errors import InputError
from ...stats.inference import bootstrap_interval
from ...stats.ridge import Ridge, fit_ridge
from ...stats.unit_rows import unit_rows
from ..controls.conditions import DERANGED, paired_p, pairwise_score
from ..metrics.bertscore import default_bert
from ..metrics.text_similarity import EMBEDDING, embedded
from ..scores import Score
from .semantic_retrieval import retrieval_scores_of

Matrix = npt.NDArray[np.float64]

# score of the language model, score of the regression on the same question
PAIRS = (
    ("meaning_top1", "linear_top1"),
    ("meaning_top5", "linear_top5"),
    ("meaning_two_way", "linear_two_way"),
    ("pairwise", "linear_pairwise"),
)
_MOST_WINDOWS = 8192  # the Gram matrix is windows × windows
_MOST_WORDS = 512
_FOLDS = 5
# eigenvalues below this share of their mean are lost in float32 sums; the smallest penalty of
# fit_ridge is ten times larger
_ROUNDING = 1e-4


@checked
@dataclass(frozen=True, eq=False)
class LinearBaseline:
    """Ridge regression on training windows, and what it predicts for the test windows.

    Parameters
    ----------
    similarity : ndarray, (N, N) float64
        Row i: cosine of the prediction from test window i with the true text of each test window,
        both minus the mean training text.
    target : str
        The vectors of the texts.
    penalty : float
        In units of the mean squared length of a centred training window.
    folds : str
        How the penalty was chosen, on training windows only.
    r2 : float
        Variance of the training texts' vectors that is explained in left-out folds.
    n_train : int
        Number of training windows of the fit.
    train : str
        Which training windows these are.
    """

    similarity: Matrix
    target: str
    penalty: float
    folds: str
    r2: float
    n_train: int
    train: str

    @property
    def signature(self) -> str:
        """Target, training windows and penalty."""
        return (
            f"cosine of {self.target} with their ridge regression on {self.train}, penalty "
            f"{self.penalty:.3g} by {self.folds}"
        )

    def scores(
        self,
        partners: npt.NDArray[np.int64],
        blocks: Sequence[object],
        *,
        seed: int = 0,
        groups: Sequence[object] = (),
    ) -> tuple[list[Score], dict[str, Matrix]]:
        """Scores beside their chance level under given derangements, and values per sample.

        Parameters
        ----------
        partners : ndarray, (R, N) int64
        blocks : sequence, (N,)
            The unit of the intervals.
        seed : int
        groups : sequence, (N,), optional
            Question of each sample; see :func:`fastbrain.evaluation.retrieval`.

        Returns
        -------
        scores : list of Score
            ``linear_pairwise``: share of (sample, derangement) pairs in which the true text is
            more similar to the prediction from its own window than to that from the partner's;
            ``linear_two_way``, ``linear_top1`` and, from five samples on, ``linear_top5``:
            retrieval of the true text among those of all samples.
        per_sample : dict of str to ndarray, (N,) float64
        """
        found, each = retrieval_scores_of(
            "linear", self.similarity, blocks, self.signature, partners=partners, seed=seed,
            groups=groups,
        )  # fmt: skip
        own = np.diag(self.similarity)
        other = self.similarity[partners, np.arange(len(own))]
        # likelihoods are compared as negative logarithms: less is better
        pairwise = pairwise_score(-own, -other, blocks=blocks, seed=seed, partners=partners)
        each["linear_pairwise"] = ((own > other) + 0.5 * (own == other)).mean(axis=0)
        signature = f"{self.signature}; true vs {DERANGED}, ties 0.5, {len(other)} derangements"
        pairwise = replace(
            pairwise, metric="linear_pairwise", mode="retrieval", signature=signature
        )
        return [pairwise, *found], each

    def facts(
        self, per_sample: Mapping[str, Matrix], blocks: Sequence[object], *, seed: int = 0
    ) -> dict[str, Any]:
        """Describe the fit and compare it with the language model, as JSON values.

        Parameters
        ----------
        per_sample : mapping of str to ndarray, (N,)
            Values of the scores of both; pairs of which one is missing are left out.
        blocks : sequence, (N,)
            Resampled for the interval and flipped for p.
        seed : int

        Returns
        -------
        dict
            With the rows of :func:`linear_comparison` under ``"comparison"``.
        """
        return {
            "target": self.target,
            "penalty": self.penalty,
            "folds": self.folds,
            "r2": self.r2,
            "n_train": self.n_train,
            "train": self.train,
            "comparison": linear_comparison(per_sample, blocks, seed=seed),
        }


def linear_comparison(
    per_sample: Mapping[str, Matrix], blocks: Sequence[object], *, seed: int = 0
) -> list[dict[str, Any]]:
    """Compare the language model with the regression sample by sample, as JSON values.

    Returns
    -------
    list of dict
        One for each pair of scores that ask the same question: metric, model, linear, difference
        (linear minus model), its interval over blocks, p, two-sided, by sign flips of blocks, and
        the number of blocks: of B blocks no p is below 2 / 2^B.
    """
    count = len({str(block) for block in blocks})
    rows = []
    for metric, linear in PAIRS:
        if metric in per_sample and linear in per_sample:
            model, ridge = per_sample[metric], per_sample[linear]
            interval = bootstrap_interval(ridge - model, blocks=blocks, seed=seed)
            rows.append(
                {
                    "metric": metric,
                    "model": float(model.mean()),
                    "linear": float(ridge.mean()),
                    "difference": float((ridge - model).mean()),
                    "interval": None if interval is None else interval.as_list(),
                    "p": paired_p(ridge - model, blocks, seed=seed),
                    "blocks": count,
                }
            )
    return rows


@checked(least={"most": 2})
def fit_linear_baseline(
    store: VoxelStore,
    trial_ids: Sequence[str],
    *,
    bert: bool = True,
    most: int = _MOST_WINDOWS,
    seed: int = 0,
) -> LinearBaseline:
    """Fit a ridge regression from the store's training windows to their texts, and apply it.

    A window is all voxels of all its volumes, normalised as a model normalises them. Only training
    trials are fitted on; the penalty is chosen on whole left-out training runs, or, if there is one
    training run, on contiguous parts of it.

    Parameters
    ----------
    store : VoxelStore
    trial_ids : sequence of str, (N >= 2,)
        Trials to predict, none of the training or validation part.
    bert : bool
        Whether the target is the sentence embedding of a text (needs the ``demo`` extra). If not,
        it is the frequency of each word of the training texts (tf-idf).
    most : int
        Number of training windows from which on a random subset of this size is fitted.
    seed : int
        Seed of that subset.

    Raises
    ------
    MissingPartError
        The sentence model is not installed.
    InputError
        A trial is not a test trial, there are fewer than two training or test trials, the windows
        differ in length, or no training window differs from another.
    """
    train = store.split.train
    apart = set(train) | set(store.split.val)
    wrong = [t for t in trial_ids if t in apart or t not in store.by_id]
    if wrong or len(trial_ids) < 2 or len(train) < 2:
        raise InputError(
            "fit_linear_baseline: trial_ids must be two test trials or more, beside two training "
            f"trials or more, got {len(trial_ids)} beside {len(train)}, of which {len(wrong)} are "
            f"of another part or unknown {wrong[:1]}."
        )
    which = f"{len(train)} training windows"
    if len(train) > most:
        chosen = np.sort(np.random.default_rng(seed).permutation(len(train))[:most])
        which = f"{most} of {len(train)} training windows, drawn with seed {seed}"
        train = tuple(train[i] for i in chosen)
    fitted, tested = ([store.by_id[t] for t in part] for part in (train, trial_ids))
    texts = [[t.text for t in part] for part in (fitted, tested)]
    vectors, place, target = _embedding(*texts) if bert else _word_frequencies(*texts)
    learnt, true = vectors[place[: len(train)]], place[len(train) :]
    runs: list[object] = [t.run_id for t in fitted]
    folds = "folds of whole training runs"
    if len(set(runs)) < 2:
        runs = [i * _FOLDS // len(train) for i in range(len(train))]
        folds = "contiguous folds of the one training run"
    known, new = _coordinates(*window_products(store, train, trial_ids))
    ridge = fit_ridge(known, learnt, groups=runs, folds=_FOLDS)
    similarity = _cosine(ridge, new, vectors)[:, true]
    return LinearBaseline(similarity, target, ridge.penalty, folds, ridge.r2, len(train), which)


def _embedding(
    train: Sequence[str], test: Sequence[str]
) -> tuple[Matrix, npt.NDArray[np.int64], str]:
    vectors, place = embedded([*train, *test], default_bert()[0])
    return vectors, place, f"sentence embeddings ({EMBEDDING})"


def _word_frequencies(
    train: Sequence[str], test: Sequence[str]
) -> tuple[Matrix, npt.NDArray[np.int64], str]:
    """Unit vectors of tf-idf; words and their weights are those of the training texts."""
    unique, place = np.unique(np.asarray([*train, *test], dtype=object), return_inverse=True)
    words = [Counter(re.findall(r"\w+", text.lower())) for text in unique]
    place = place.reshape(-1)
    known = Counter(word for i in place[: len(train)] for word in words[i])
    kept = sorted(known, key=lambda word: (-known[word], word))[:_MOST_WORDS]
    # (U, W): a word of every training text has weight zero
    weight = np.array([np.log(len(train) / known[word]) for word in kept])
    vectors = np.array([[count[word] for word in kept] for count in words], dtype=float) * weight
    name = f"word frequencies (tf-idf, {len(kept)} of {len(known)} words of the training texts)"
    return unit_rows(vectors.reshape(len(unique), -1)), place, name


def _coordinates(own: Matrix, across: Matrix) -> tuple[Matrix, Matrix]:
    """Coordinates (N, K) and (M, K) with the products of the centred windows, K < N.

    Ridge regression depends on windows only through their products, so it can be fitted on these.
    """
    mean = own.mean(axis=0)
    centred = own - mean - mean[:, None] + mean.mean()
    outside = across - across.mean(axis=1, keepdims=True) - mean + mean.mean()
    values, vectors = np.linalg.eigh(centred)
    kept = values > _ROUNDING * max(float(values.mean()), 0.0)
    length = np.sqrt(values[kept])
    return vectors[:, kept] * length, outside @ (vectors[:, kept] / length)


def _cosine(ridge: Ridge, windows: Matrix, vectors: Matrix) -> Matrix:
    """Cosine (N, U) of predictions and texts, both minus the mean training text."""
    predicted = unit_rows(ridge.predict(windows) - ridge.y_mean)
    return predicted @ unit_rows(vectors - ridge.y_mean).T
