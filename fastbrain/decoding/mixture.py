r"""Mixture of decoders: the likelihood of a base decoder times the evidence of a sentence read-out.

.. math:: p(y \mid b) = p_0(y)^{1-a} \, p_{base}(y \mid b)^{a} \, e^{w \cos(f(b), e(y))} / Z(b)

p_0 is the base without a brain, f(b) the embedding predicted from the brain and e(y) that of the
text (product of experts: Hinton 2002). Z(b) is a mean over texts that the base writes for this
brain and without a brain. They are weighted by the balance heuristic (Veach & Guibas 1995), so that
no text counts more than twice before the evidence.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from .._arguments import checked
from .._progress import track
from ..errors import InputError
from .mixture_parts import (
    BaseDecoder,
    Drawn,
    MixtureBrains,
    MixtureRows,
    MixtureWeights,
    log_mean,
)
from .sampling import Sampling
from .sentences import SentenceReadout
from .sentences.evidence import WEIGHTS

Array = npt.NDArray[np.float64]
# exponents of the base; more is beyond what it was trained to say
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True, eq=False)
class MixtureDecoder:
    """A decoder for the controls; returned by :func:`fit_mixture`.

    With ``weights.evidence == 0`` it reads, writes and scores exactly as the base.

    Parameters
    ----------
    base : BaseDecoder
        With one question or prompt for all samples.
    readout : SentenceReadout
    weights : MixtureWeights
    candidates : int
        Texts drawn from the base for each brain, and as many without a brain.
    max_new_tokens : int
        Of these texts.
    seed : int
        Of these texts.
    """

    base: BaseDecoder
    readout: SentenceReadout
    weights: MixtureWeights
    candidates: int = 16
    max_new_tokens: int = 32
    seed: int = 0
    _alone: list[str] = field(default_factory=list, init=False)
    # of the rows read last: scoring and writing need the same draws
    _last: list[tuple[MixtureRows, Drawn]] = field(default_factory=list, init=False)

    def read(self, brains: MixtureBrains) -> MixtureRows:
        """Compute prefixes and predicted embeddings of brains."""
        rows = MixtureRows(self.base.read(brains.base), self.readout.predict(brains.features))
        assert rows.predicted is not None
        if len(rows.predicted) != len(rows.base):
            raise InputError(
                f"MixtureDecoder.read: brains must be the same for both parts, got "
                f"{len(rows.base)} and {len(rows.predicted)}."
            )
        return rows

    def read_nothing(self) -> MixtureRows:
        """Return the prefix of the base without a brain, and no prediction."""
        return MixtureRows(self.base.read_nothing(), None)

    def write(self, prefixes: MixtureRows) -> list[str]:
        """Write for every brain the likeliest text of those the base writes for it.

        Z(b) is the same for all texts of a brain, so it plays no part.
        """
        said = self.base.write(prefixes.base)
        if prefixes.predicted is None or not self.weights.evidence:
            return said
        drawn = self.draw(prefixes)
        rows = np.arange(len(said))
        greedy = _words(said)
        own = self._log_p(prefixes.base, greedy, np.stack([rows, rows], axis=1))
        closeness = (self.readout.embed(greedy) * prefixes.predicted).sum(axis=1)
        product = self._product(
            np.concatenate([own[:, None], drawn.with_brain[:, : self.candidates]], axis=1),
            np.concatenate(
                [self._without(greedy)[:, None], drawn.alone[:, : self.candidates]], axis=1
            ),
            np.concatenate([closeness[:, None], drawn.cosine[:, : self.candidates]], axis=1),
        )
        best = product.argmax(axis=1)
        return [[said[i], *drawn.texts[i]][k] for i, k in enumerate(best)]

    def score(
        self, prefixes: MixtureRows, texts: Sequence[str], pairs: npt.NDArray[np.int64]
    ) -> Array:
        """Negative log likelihood a token (K,) of (brain, text) pairs (K, 2), nats."""
        nll = np.asarray(self.base.score(prefixes.base, texts, pairs), dtype=np.float64)
        if prefixes.predicted is None or not self.weights.evidence:
            return nll
        brain, text = np.asarray(pairs, dtype=np.int64).T
        tokens = self._tokens(texts)[text]
        terms = self.draw(prefixes).log_terms(self.weights.base, self.weights.evidence)
        cosine = (prefixes.predicted @ self.readout.embed(texts).T)[brain, text]
        total = self._product(-nll * tokens, self._without(texts)[text], cosine)
        found: Array = -(total - log_mean(terms)[brain]) / tokens
        return found

    def features(self, prefixes: MixtureRows) -> Array:
        """Return the predicted embeddings (N, F), or the features of the base."""
        if prefixes.predicted is None or not self.weights.evidence:
            return self.base.features(prefixes.base)
        return prefixes.predicted

    def untuned(self) -> AbstractContextManager[None] | None:
        """Context of the base."""
        return self.base.untuned()

    def facts(self) -> dict[str, Any]:
        """Weights and scope of the fit, as JSON values."""
        return {
            **asdict(self.weights),
            "candidates": self.candidates,
            "readout_texts": len(self.readout.texts),
            "readout_two_way": self.readout.two_way,
            "encoder": self.readout.encoder.name,
        }

    def draw(self, rows: MixtureRows) -> Drawn:
        """Let the base write for every brain and without one, and score both."""
        assert rows.predicted is not None
        if self._last and self._last[0][0] is rows:
            return self._last[0][1]
        if not self._alone:
            self._alone.extend(self._texts(self.base.read_nothing(), "writing without a brain", 0))
        # other random numbers than without a brain, or weak brains would get the same texts
        own = self._texts(rows.base, "writing candidates", self.candidates)
        n = len(rows)
        columns = [own[k * n : (k + 1) * n] for k in range(self.candidates)]
        columns += [[text] * n for text in self._alone]
        place = np.arange(n)
        with_brain, alone = np.empty((n, len(columns))), np.empty((n, len(columns)))
        for k, column in enumerate(track(columns, "scoring candidates")):
            with_brain[:, k] = self._log_p(rows.base, column, np.stack([place, place], axis=1))
            alone[:, k] = self._without(column)
        flat = [text for column in columns for text in column]
        unique = {text: i for i, text in enumerate(dict.fromkeys(flat))}
        where = np.array([unique[text] for text in flat]).reshape(len(columns), n).T
        cosine = (rows.predicted @ self.readout.embed(list(unique)).T)[place[:, None], where]
        texts = [[column[i] for column in columns] for i in range(n)]
        drawn = Drawn(texts, with_brain, alone, cosine)
        self._last[:] = [(rows, drawn)]
        return drawn

    def _texts(self, prefixes: Any, label: str, first: int) -> list[str]:
        said: list[str] = []
        for number in track(range(self.candidates), label):
            # the base alone knows how it writes; only the options of drawing are ours
            sampler = copy.copy(self.base)
            seed = self.seed * 2 * self.candidates + first + number
            sampler.sampling = Sampling(
                method="sample", max_new_tokens=self.max_new_tokens, seed=seed
            )
            sampler.engine = False
            said += sampler.write(prefixes)
        return _words(said)

    def _product(self, with_brain: Array, alone: Array, cosine: Array) -> Array:
        share = self.weights.base
        return share * with_brain + (1 - share) * alone + self.weights.evidence * cosine

    def _log_p(self, prefixes: Any, texts: Sequence[str], pairs: npt.NDArray[np.int64]) -> Array:
        nll = np.asarray(self.base.score(prefixes, texts, pairs), dtype=np.float64)
        found: Array = -nll * self._tokens(texts)[pairs[:, 1]]
        return found

    def _without(self, texts: Sequence[str]) -> Array:
        """Log likelihood (M,) of texts without a brain; each different text is scored once."""
        unique = {text: i for i, text in enumerate(dict.fromkeys(texts))}
        pairs = np.stack([np.zeros(len(unique), dtype=np.int64), np.arange(len(unique))], axis=1)
        each = self._log_p(self.base.read_nothing(), list(unique), pairs)
        return each[[unique[text] for text in texts]]

    def _tokens(self, texts: Sequence[str]) -> Array:
        return np.array([len(ids) for ids in self.base.text_ids(texts)], dtype=np.float64)


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
        Passage, story or run of each text; their number is recorded.
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
    start = MixtureWeights(1.0, 0.0, 0.0, 0.0, 0.0, len(texts), len(set(texts)), len(set(groups)))
    decoder = MixtureDecoder(base, readout, start, candidates, max_new_tokens, seed)
    rows = decoder.read(brains)
    assert rows.predicted is not None
    place = np.arange(len(texts))
    own = decoder._log_p(rows.base, texts, np.stack([place, place], axis=1))
    alone = decoder._without(texts)
    closeness = (rows.predicted * readout.embed(texts)).sum(axis=1)
    drawn = decoder.draw(rows)
    base_nll = -float(own.mean())
    best = (base_nll, 1.0, 0.0)
    for share in SHARES:
        for weight in WEIGHTS[1:]:
            ratio = share * own + (1 - share) * alone + weight * closeness
            nll = -float((ratio - log_mean(drawn.log_terms(share, weight))).mean())
            best = min(best, (nll, share, weight))
    nll, share, weight = best
    terms = drawn.log_terms(share, weight)
    shares = np.exp(terms - np.logaddexp.reduce(terms, axis=1, keepdims=True))
    effective = float(np.median(1 / (shares**2).sum(axis=1)))
    weights = MixtureWeights(
        share, weight, nll, base_nll, effective, start.texts, start.distinct, start.groups
    )
    return MixtureDecoder(base, readout, weights, candidates, max_new_tokens, seed)


def _words(texts: Sequence[str]) -> list[str]:
    """Texts; a full stop in the place of an empty one, which has no embedding."""
    return [text if text.split() else "." for text in texts]
