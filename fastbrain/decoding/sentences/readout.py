"""Ridge regression from the brain to the embedding of a sentence, over all layers of an encoder.

Middle layers are predicted better than the last one (Toneva & Wehbe 2019, arXiv 1905.11833;
Caucheteux & King 2022), so all of them are targets, each centred and scaled to length one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from ..._arguments import checked
from ...errors import InputError
from ...lm.sentence_embeddings import SentenceEncoder, TokenGradients
from ...stats.ridge import Ridge, fit_ridge, fold_means
from ...stats.unit_rows import unit_rows

Array = npt.NDArray[np.float64]
# in units of the mean squared length of a centred sample
PENALTIES = tuple(float(p) for p in np.logspace(-1.5, 0.5, 5))


@dataclass(frozen=True, eq=False)
class SentenceReadout:
    """A fitted read-out, returned by :func:`fit_sentence_readout`.

    Parameters
    ----------
    ridge : Ridge
    encoder : SentenceEncoder
    centre : ndarray, (layers, D) float64
        Mean embedding of the training texts.
    texts : tuple of str, (M,)
        Training texts: nothing else was seen.
    vectors : ndarray, (M, F) float64
        Their embeddings, unit vectors.
    out_of_fold : ndarray, (M, F) float64
        Their predictions by regressions fitted without the group of each, unit vectors.
    two_way : float
        Of two training texts, how often the prediction out of fold is nearer to the true one;
        chance 0.5.
    groups : tuple of str, (M,)
        Names of the groups of the training texts.
    """

    ridge: Ridge
    encoder: SentenceEncoder
    centre: Array
    texts: tuple[str, ...]
    vectors: Array
    out_of_fold: Array
    two_way: float
    groups: tuple[str, ...] = ()

    def predict(self, brain: npt.ArrayLike) -> Array:
        """Predict embeddings (N, F), unit vectors, of brain features (N, B).

        Raises
        ------
        InputError
            A feature is not finite.
        """
        features = np.asarray(brain, dtype=np.float64)
        odd = np.flatnonzero(~np.isfinite(features).all(axis=tuple(range(1, features.ndim))))
        if len(odd):
            raise InputError(
                f"SentenceReadout.predict: brain must be finite, got NaN or infinity in row "
                f"{odd[0]}. Leave that brain out."
            )
        return unit_rows(self.ridge.predict(brain) - self.ridge.y_mean)

    def embed(self, texts: Sequence[str]) -> Array:
        """Embed texts in the space of the predictions: unit vectors (N, F)."""
        return unit_rows(_joined(self.encoder.layers(texts), self.centre) - self.ridge.y_mean)

    def gradient(self, text: str, predicted: Array) -> TokenGradients:
        """Differentiate the cosine of a text and a prediction (F,) by the tokens of the text."""
        # tensors made in inference mode cannot be part of a gradient
        with torch.inference_mode(False):
            centre, mean, aim = (
                torch.from_numpy(x).float() for x in (self.centre, self.ridge.y_mean, predicted)
            )

        def cosine(layers: torch.Tensor) -> torch.Tensor:
            rows = torch.nn.functional.normalize(layers[1:] - centre, dim=-1)
            joined = rows.flatten() / len(rows) ** 0.5
            return torch.nn.functional.normalize(joined - mean, dim=0) @ aim

        return self.encoder.gradient(text, cosine)


@checked
def fit_sentence_readout(
    brain: npt.ArrayLike,
    texts: Sequence[str],
    *,
    groups: Sequence[object],
    encoder: SentenceEncoder,
    penalties: Sequence[float] = PENALTIES,
) -> SentenceReadout:
    """Fit the regression with the penalty that identifies left-out training texts best.

    Parameters
    ----------
    brain : array_like, (M, B)
        Features of the training part only.
    texts : sequence of str, (M,)
    groups : sequence, (M,)
        Passage, story or run of each text; whole groups are left out in turn.
    encoder : SentenceEncoder
    penalties : sequence of float
        In units of the mean squared length of a centred sample.

    Returns
    -------
    SentenceReadout

    Raises
    ------
    InputError
        Lengths differ, there are fewer than two texts or groups, or a feature is not finite.
    """
    inputs = np.asarray(brain, dtype=np.float64)
    if inputs.ndim != 2 or not len(inputs) == len(texts) == len(groups) or len(texts) < 2:
        raise InputError(
            "fit_sentence_readout: brain, texts and groups must be of the same 2 samples or more, "
            f"got {inputs.shape}, {len(texts)} and {len(groups)}."
        )
    layers = encoder.layers(texts)
    centre = layers[:, 1:].mean(axis=0)
    targets = _joined(layers, centre)
    mean = targets.mean(axis=0)
    vectors, means = unit_rows(targets - mean), fold_means(targets, groups=groups)
    best: tuple[float, Ridge, Array] | None = None
    for penalty in penalties:
        ridge = fit_ridge(inputs, targets, groups=groups, penalties=[penalty])
        assert ridge.out_of_fold is not None
        held = unit_rows(ridge.out_of_fold - means)
        right = two_way(held @ vectors.T)
        if best is None or right > best[0]:
            best = right, ridge, held
    assert best is not None
    right, ridge, held = best
    names = tuple(map(str, groups))
    return SentenceReadout(ridge, encoder, centre, tuple(texts), vectors, held, right, names)


def two_way(similarity: Array) -> float:
    """Share of other columns that are lower than the diagonal (N, N); ties count a half."""
    own = np.diag(similarity)[:, None]
    wins = (similarity < own) + 0.5 * (similarity == own)
    n = len(wins)
    return float((wins.sum() - 0.5 * n) / (n * (n - 1)))


def _joined(layers: Array, centre: Array) -> Array:
    """Join the layers above the word embeddings, each centred and of equal length, (N, F)."""
    rows = unit_rows(layers[:, 1:] - centre)
    joined: Array = rows.reshape(len(rows), -1) / np.sqrt(rows.shape[1])
    return joined
