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
from ...stats.folds import require_names
from ...stats.ridge import Ridge, fit_ridge, fold_means
from ...stats.text_groups import text_groups
from ...stats.unit_rows import unit_rows

Array = npt.NDArray[np.float64]
# in units of the mean squared length of a centred sample
PENALTIES = tuple(float(p) for p in np.logspace(-1.5, 0.5, 5))
_ROUNDING = 1e-9  # of the length of a typical prediction: what is shorter has no direction


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
        Names of the groups that were left out in turn; no text is in two of them. They are those of
        the fit, joined or replaced as :func:`fit_sentence_readout` says.
    """

    ridge: Ridge
    encoder: SentenceEncoder
    centre: Array
    texts: tuple[str, ...]
    vectors: Array
    out_of_fold: Array
    two_way: float
    groups: tuple[str, ...] = ()

    @checked
    def predict(self, brain: npt.ArrayLike) -> Array:
        """Predict embeddings (N, F), unit vectors, of brain features (N, B).

        The prediction of the mean training brain has no direction and is zero.

        Raises
        ------
        InputError
            The features are not (N, B) real numbers, or one is not finite.
        """
        features = np.asarray(brain, dtype=np.float64)
        inputs = len(self.ridge.x_mean)
        if features.ndim != 2 or features.shape[1] != inputs:
            raise InputError(
                f"SentenceReadout.predict: brain must be (N, {inputs}), got {features.shape}. Pass "
                "the features of the fit, a row for each brain."
            )
        _require_finite("SentenceReadout.predict", features)
        found = self.ridge.predict(features) - self.ridge.y_mean
        # targets have length one, so their mean says how far they are from it; penalties shrink
        spread = np.sqrt(max(0.0, 1 - float((self.ridge.y_mean**2).sum())))
        typical = spread / (1 + self.ridge.penalty)
        found[np.linalg.norm(found, axis=1) < _ROUNDING * typical] = 0
        return unit_rows(found)

    @checked
    def embed(self, texts: Sequence[str]) -> Array:
        """Embed texts in the space of the predictions: unit vectors (N, F).

        Raises
        ------
        InputError
            There is no text, or one that is no Unicode text or has no token.
        """
        return unit_rows(_joined(self.encoder.layers(texts), self.centre) - self.ridge.y_mean)

    @checked
    def gradient(self, text: str, predicted: Array) -> TokenGradients:
        """Differentiate the cosine of a text and a prediction (F,) by the tokens of the text.

        Raises
        ------
        InputError
            The prediction is not (F,), or the encoder's tokenizer is a slow one.
        """
        if predicted.shape != self.ridge.y_mean.shape:
            raise InputError(
                f"SentenceReadout.gradient: predicted must be {self.ridge.y_mean.shape}, got "
                f"{predicted.shape}. Pass one row of a prediction."
            )
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
        Passage, story or run of each text; whole groups are left out in turn. Groups that share a
        text, case and spaces apart, are left out together. If that joins all of them, for instance
        runs of the same texts, stretches of consecutive texts, up to five, are left out instead,
        each text with all its repeats.
    encoder : SentenceEncoder
    penalties : sequence of float
        In units of the mean squared length of a centred sample.

    Returns
    -------
    SentenceReadout

    Raises
    ------
    InputError
        Lengths differ, there are fewer than two different texts or two groups, a text is empty, a
        group has no name, a feature is not finite, or a penalty is not positive.
    """
    inputs = np.asarray(brain, dtype=np.float64)
    if inputs.ndim != 2 or not len(inputs) == len(texts) == len(groups) or len(texts) < 2:
        raise InputError(
            "fit_sentence_readout: brain, texts and groups must be of the same 2 samples or more, "
            f"got {inputs.shape}, {len(texts)} and {len(groups)}."
        )
    blank = [i for i, text in enumerate(texts) if not text.split()]
    if blank:
        raise InputError(
            f"fit_sentence_readout: texts must hold words, got an empty one in row {blank[0]}. "
            "Leave that sample out."
        )
    if not len(penalties) or min(penalties) <= 0:
        raise InputError(
            f"fit_sentence_readout: penalties must be one or more above 0, got {tuple(penalties)}."
        )
    _require_finite("fit_sentence_readout", inputs)
    require_names("fit_sentence_readout", groups)
    names = text_groups(texts, groups)
    if len(set(names)) < 2:
        raise InputError(
            "fit_sentence_readout: texts and groups must be two different ones or more, got "
            f"{len(set(groups))} groups and {len(set(texts))} texts. Name a group for each text."
        )
    layers = encoder.layers(texts)
    centre = layers[:, 1:].mean(axis=0)
    targets = _joined(layers, centre)
    mean = targets.mean(axis=0)
    vectors, means = unit_rows(targets - mean), fold_means(targets, groups=names)
    best: tuple[float, Ridge, Array] | None = None
    for penalty in penalties:
        ridge = fit_ridge(inputs, targets, groups=names, penalties=[penalty])
        assert ridge.out_of_fold is not None
        held = unit_rows(ridge.out_of_fold - means)
        right = two_way(held @ vectors.T)
        if best is None or right > best[0]:
            best = right, ridge, held
    assert best is not None
    right, ridge, held = best
    return SentenceReadout(ridge, encoder, centre, tuple(texts), vectors, held, right, names)


def two_way(similarity: Array) -> float:
    """Share of other columns that are lower than the diagonal (N, N); ties count a half."""
    own = np.diag(similarity)[:, None]
    wins = (similarity < own) + 0.5 * (similarity == own)
    n = len(wins)
    return float((wins.sum() - 0.5 * n) / (n * (n - 1)))


def _require_finite(function: str, features: Array) -> None:
    odd = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if len(odd):
        raise InputError(
            f"{function}: brain must be finite, got NaN or infinity in row {odd[0]}. Leave that "
            "brain out."
        )


def _joined(layers: Array, centre: Array) -> Array:
    """Join the layers above the word embeddings, each centred and of equal length, (N, F)."""
    rows = unit_rows(layers[:, 1:] - centre)
    joined: Array = rows.reshape(len(rows), -1) / np.sqrt(rows.shape[1])
    return joined
