r"""Mixture of decoders: the likelihood of a base decoder times the evidence of a sentence read-out.

.. math:: p(y \mid b) = p_0(y)^{1-a} \, p_{base}(y \mid b)^{a} \, e^{w \cos(f(b), e(y))} / Z(b)

p_0 is the base without a brain, f(b) the embedding predicted from the brain and e(y) that of the
text (product of experts: Hinton 2002). Z(b) is the product of the text itself plus, for all others,
a mean over texts that the base writes for this brain and without a brain. They are weighted by the
balance heuristic (Veach & Guibas 1995), so that none counts more than twice before the evidence.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from .._progress import track
from ..errors import InputError
from .mixture_parts import (
    BaseDecoder,
    Drawn,
    MixtureBrains,
    MixtureRows,
    MixtureWeights,
)
from .sampling import Sampling
from .sentences import SentenceReadout

Array = npt.NDArray[np.float64]


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
        own = self.log_p(prefixes.base, greedy, np.stack([rows, rows], axis=1))
        closeness = (self.readout.embed(greedy) * prefixes.predicted).sum(axis=1)
        product = self._product(
            np.concatenate([own[:, None], drawn.with_brain[:, : self.candidates]], axis=1),
            np.concatenate(
                [self.log_p_alone(greedy)[:, None], drawn.alone[:, : self.candidates]], axis=1
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
        wanted = np.asarray(pairs, dtype=np.int64)
        brain, text = wanted.T
        tokens, weights = self._tokens(texts)[text], self.weights
        cosine = (prefixes.predicted @ self.readout.embed(texts).T)[brain, text]
        product = self._product(-nll * tokens, self.log_p_alone(texts)[text], cosine)
        drawn = self.draw(prefixes)
        found: Array = -drawn.log_p(product, weights.base, weights.evidence, texts, wanted)
        return found / tokens

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
        return {**asdict(self.weights), "candidates": self.candidates}

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
            with_brain[:, k] = self.log_p(rows.base, column, np.stack([place, place], axis=1))
            alone[:, k] = self.log_p_alone(column)
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
            # the base writes the texts; only its options of sampling are set here
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

    def log_p(self, prefixes: Any, texts: Sequence[str], pairs: npt.NDArray[np.int64]) -> Array:
        """Log likelihood (K,) of whole texts under the base, nats."""
        nll = np.asarray(self.base.score(prefixes, texts, pairs), dtype=np.float64)
        found: Array = -nll * self._tokens(texts)[pairs[:, 1]]
        return found

    def log_p_alone(self, texts: Sequence[str]) -> Array:
        """Log likelihood (M,) of texts without a brain; each different text is scored once."""
        unique = {text: i for i, text in enumerate(dict.fromkeys(texts))}
        pairs = np.stack([np.zeros(len(unique), dtype=np.int64), np.arange(len(unique))], axis=1)
        each = self.log_p(self.base.read_nothing(), list(unique), pairs)
        return each[[unique[text] for text in texts]]

    def _tokens(self, texts: Sequence[str]) -> Array:
        return np.array([len(ids) for ids in self.base.text_ids(texts)], dtype=np.float64)


def _words(texts: Sequence[str]) -> list[str]:
    """Texts; a full stop in the place of an empty one, which has no embedding."""
    return [text if text.split() else "." for text in texts]
