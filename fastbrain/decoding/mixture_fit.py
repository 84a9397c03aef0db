"""Fit the weights of a mixture of decoders on validation texts."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from .._arguments import checked
from ..errors import InputError
from .mixture import MixtureDecoder
from .mixture_parts import BaseDecoder, MixtureBrains, MixtureWeights
from .sentences import SentenceReadout
from .sentences.evidence import WEIGHTS, doubt

Array = npt.NDArray[np.float64]
# exponents of the base; above 1 it would be more certain than it was trained to be
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)


@checked(least={"candidates": 2, "max_new_tokens": 1})
def fit_mixture(
    base: BaseDecoder,
    readout: SentenceReadout,
    brains: MixtureBrains,
    texts: Sequence[str],
    *,
    groups: Sequence[object],
    candidates: int = 16,
    max_new_tokens: int = 32,
    seed: int = 0,
) -> MixtureDecoder:
    """Fit both weights to validation texts, on which neither part was trained.

    The evidence has a weight only if it makes the texts likelier by more than one standard error
    over the groups; else the mixture is the base.

    Parameters
    ----------
    base : BaseDecoder
        For instance ``LLM4BrainDecoder`` or ``BrainLLMDecoder``, with one question or prompt for
        all samples.
    readout : SentenceReadout
        Fitted on the training part.
    brains : MixtureBrains
        The validation part, V brains.
    texts : sequence of str, (V,)
    groups : sequence, (V,)
        Passage, story or run of each text; of a single one, texts are the unit of the error.
    candidates : int
        Texts drawn from the base for each brain, and as many without a brain.
    max_new_tokens : int
        Of these texts.
    seed : int

    Returns
    -------
    MixtureDecoder

    Raises
    ------
    InputError
        Lengths differ, there is no text, one is empty, or the base has several questions.

    Warns
    -----
    UserWarning
        Likelihoods with this evidence mean little; see :func:`.evidence.doubt`.
    """
    if not len(texts) or not len(texts) == len(groups) == len(brains.features):
        raise InputError(
            "fit_mixture: brains, texts and groups must be of the same validation samples, one or "
            f"more, got {len(brains.features)}, {len(texts)} and {len(groups)}."
        )
    if not all(text.split() for text in texts):
        raise InputError("fit_mixture: texts must hold words, got an empty one.")
    asked = len(getattr(base, "prompts", ()))
    if asked > 1:
        raise InputError(
            f"fit_mixture: base must have one question or prompt, got {asked}. Mix the samples of "
            "each question apart."
        )
    start = MixtureWeights(1.0, 0.0, texts=len(texts), distinct=len(set(texts)))
    decoder = MixtureDecoder(base, readout, start, candidates, max_new_tokens, seed)
    weights = replace(_weights(decoder, brains, texts, groups), groups=len(set(groups)))
    if reason := doubt(weights.evidence, weights.effective, 2 * candidates):
        warnings.warn(f"fit_mixture: {reason}", stacklevel=3)  # the caller of the checked function
    return MixtureDecoder(base, readout, weights, candidates, max_new_tokens, seed)


def _weights(
    decoder: MixtureDecoder, brains: MixtureBrains, texts: Sequence[str], groups: Sequence[object]
) -> MixtureWeights:
    """Best weights with evidence that gains more than one standard error."""
    rows = decoder.read(brains)
    assert rows.predicted is not None
    pairs = np.stack([np.arange(len(texts))] * 2, axis=1)
    own = decoder.log_p(rows.base, texts, pairs)
    alone = decoder.log_p_alone(texts)
    closeness = (rows.predicted * decoder.readout.embed(texts)).sum(axis=1)
    drawn = decoder.draw(rows)
    base_nll = -float(own.mean())
    best = replace(decoder.weights, nll=base_nll, base_nll=base_nll)
    for share in SHARES:
        product = share * own + (1 - share) * alone

        def log_p(weight: float, share: float = share, product: Array = product) -> Array:
            return drawn.log_p(product + weight * closeness, share, weight, texts, pairs)

        # the evidence must gain by itself, and not by the share of the base that comes with it
        without = own if share == 1 else log_p(0.0)
        weight = max(WEIGHTS[1:], key=lambda weight: log_p(weight).mean())
        found = log_p(weight)
        gain, error = _mean_and_error(found - without, groups)
        if gain > error and -found.mean() < best.nll:
            terms = drawn.log_terms(share, weight)
            each = np.exp(terms - np.logaddexp.reduce(terms, axis=1, keepdims=True))
            best = replace(
                best, base=share, evidence=weight, nll=-float(found.mean()), gain=gain,
                gain_error=error, effective=float(np.median(1 / (each**2).sum(axis=1))),
            )  # fmt: skip
    return best


def _mean_and_error(values: Array, groups: Sequence[object]) -> tuple[float, float]:
    """Mean over groups, or over samples of a single group, and its standard error."""
    if len(set(groups)) > 1:
        named = np.array([list(dict.fromkeys(groups)).index(group) for group in groups])
        values = np.array([values[named == i].mean() for i in range(named.max() + 1)])
    if len(values) < 2:
        return float(values.mean()), float("inf")
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))
