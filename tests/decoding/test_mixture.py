"""Mixture of decoders over an explicit distribution, where every likelihood is known."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.word_counts import SENTENCES, WordCounts, brains_of

from fastbrain.decoding import MixtureBrains, fit_mixture, fit_sentence_readout
from fastbrain.decoding.mixture import MixtureDecoder
from fastbrain.decoding.mixture_parts import MixtureWeights
from fastbrain.errors import InputError

TRAIN, OTHER = SENTENCES[::2], SENTENCES[1::2]


class Categorical:
    """Base decoder: a softmax over all sentences, with the brain's logits added."""

    def __init__(self, strength=1.0):
        self.sampling, self.engine, self.strength = None, False, strength
        self.logits = np.random.default_rng(1).standard_normal(len(SENTENCES))

    def read(self, brains):
        return self.logits + self.strength * np.asarray(brains)

    def read_nothing(self):
        return self.logits[None]

    def log_p(self, prefixes):
        return prefixes - np.logaddexp.reduce(prefixes, axis=1, keepdims=True)

    def write(self, prefixes):
        log_p = self.log_p(prefixes)
        if self.sampling is None:
            return [SENTENCES[i] for i in log_p.argmax(axis=1)]
        rng = np.random.default_rng(self.sampling.seed)
        return [SENTENCES[rng.choice(len(SENTENCES), p=np.exp(row))] for row in log_p]

    def score(self, prefixes, texts, pairs):
        columns = [SENTENCES.index(text) for text in texts]
        each = self.log_p(prefixes)[:, columns][pairs[:, 0], pairs[:, 1]]
        return -each / self.tokens(texts)[pairs[:, 1]]

    def tokens(self, texts):
        return np.array([len(text.split()) + 1 for text in texts])

    def text_ids(self, texts):
        return [[0] * n for n in self.tokens(texts)]

    def features(self, prefixes):
        return prefixes

    def untuned(self):
        return None


def of(texts, noise, seed, strength=1.0):
    """Brains of some texts for base and read-out, both with noise."""
    rng = np.random.default_rng(seed)
    own = np.eye(len(SENTENCES))[[SENTENCES.index(t) for t in texts]]
    base = strength * own + 0.3 * rng.standard_normal(own.shape)
    return MixtureBrains(base, brains_of(texts, noise, seed))


@pytest.fixture(scope="module")
def readout():
    groups = list(range(len(TRAIN)))
    return fit_sentence_readout(brains_of(TRAIN, 0.1), TRAIN, groups=groups, encoder=WordCounts())


def fitted(readout, brains, texts=OTHER, base=None, **options):
    base = Categorical() if base is None else base
    return fit_mixture(base, readout, brains, texts, groups=range(len(texts)), **options)


def every(n, m):
    return np.stack(np.meshgrid(np.arange(n), np.arange(m), indexing="ij"), -1).reshape(-1, 2)


@pytest.mark.parametrize(("share", "weight"), [(0.0, 4.0), (1.0, 4.0), (0.5, 30.0), (1.0, 30.0)])
def test_no_text_has_more_than_the_whole_probability(readout, share, weight):
    # with two texts drawn, a mean over them alone would miss nearly all of the normaliser
    base = Categorical()
    decoder = MixtureDecoder(base, readout, MixtureWeights(share, weight), candidates=2)
    rows = decoder.read(of(OTHER, 0.1, 1, strength=6.0))
    assert decoder.score(rows, SENTENCES, every(len(OTHER), len(SENTENCES))).min() >= 0


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_likelihoods_are_those_of_the_normalised_product(readout, share):
    base = Categorical()
    decoder = MixtureDecoder(base, readout, MixtureWeights(share, 4.0), candidates=600)
    rows = decoder.read(of(OTHER[:3], 0.1, 1, strength=2.0))
    nll = decoder.score(rows, SENTENCES, every(3, len(SENTENCES))).reshape(3, -1)
    nats = share * base.log_p(rows.base) + (1 - share) * base.log_p(base.read_nothing())
    nats = nats + 4.0 * rows.predicted @ readout.embed(SENTENCES).T
    exact = nats - np.logaddexp.reduce(nats, axis=1, keepdims=True)
    # terms spread by e^(4 * 0.4) at most over 1200 draws: three standard errors are 0.14
    np.testing.assert_allclose(-nll * base.tokens(SENTENCES), exact, atol=0.15, rtol=0)


def test_evidence_makes_unseen_texts_likelier(readout):
    decoder = fitted(readout, of(OTHER, 0.1, 2), candidates=64)
    assert decoder.weights.evidence > 0
    assert decoder.weights.nll < decoder.weights.base_nll - 0.5
    assert decoder.weights.gain > decoder.weights.gain_error > 0
    assert (decoder.weights.texts, decoder.weights.groups) == (len(OTHER), len(OTHER))
    brains = of(OTHER, 0.1, 3)
    own = every(len(OTHER), len(OTHER))[:: len(OTHER) + 1]
    base = decoder.base.score(decoder.base.read(brains.base), OTHER, own)
    mixed = decoder.score(decoder.read(brains), OTHER, own)
    assert mixed.mean() < base.mean()
    greedy = decoder.base.write(decoder.base.read(brains.base))
    said = decoder.write(decoder.read(brains))
    right = [np.mean([a == b for a, b in zip(t, OTHER, strict=True)]) for t in (said, greedy)]
    assert right[0] > right[1] + 0.2


@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_without_evidence_it_is_the_base(readout, strength):
    # a base that misleads gives noise no weight, although its share would better be lower
    noise = of(OTHER[::-1], 0.1, 4, strength=6 * strength)
    noise = MixtureBrains(
        noise.base, np.random.default_rng(5).standard_normal(noise.features.shape)
    )
    decoder = fitted(readout, noise, candidates=16)
    assert (decoder.weights.evidence, decoder.weights.base) == (0.0, 1.0)
    assert decoder.weights.nll == decoder.weights.base_nll
    one = fit_mixture(decoder.base, readout, of(OTHER[:1], 0, 1), OTHER[:1], groups=["a"])
    assert one.weights.evidence == 0
    rows, pairs = decoder.read(noise), every(4, 4)
    np.testing.assert_array_equal(
        decoder.score(rows, OTHER[:4], pairs), decoder.base.score(rows.base, OTHER[:4], pairs)
    )
    assert decoder.write(rows) == decoder.base.write(rows.base)
    np.testing.assert_array_equal(decoder.features(rows), rows.base)


def test_without_a_brain_it_is_the_base(readout):
    decoder = fitted(readout, of(OTHER, 0.1, 2))
    nothing, pairs = decoder.read_nothing(), np.array([[0, 0], [0, 1]])
    assert len(nothing) == 1
    assert decoder.write(nothing) == decoder.base.write(nothing.base)
    np.testing.assert_array_equal(
        decoder.score(nothing, OTHER[:2], pairs), decoder.base.score(nothing.base, OTHER[:2], pairs)
    )


def test_a_base_that_misleads_loses_its_share(readout):
    # the logits of the base are those of other sentences
    brains = of(OTHER, 0.1, 6)
    wrong = of(OTHER[::-1], 0.1, 6, strength=6.0).base
    decoder = fitted(readout, MixtureBrains(wrong, brains.features), candidates=64)
    assert decoder.weights.base <= 0.25
    assert decoder.weights.evidence > 0


def test_rows_can_be_taken_apart_and_written_again(readout):
    decoder = fitted(readout, of(OTHER, 0.1, 2))
    rows = decoder.read(of(OTHER[:5], 0.1, 7))
    part = rows[np.array([3, 1])]
    assert len(part) == 2
    np.testing.assert_array_equal(part.predicted, rows.predicted[[3, 1]])
    assert decoder.write(rows) == decoder.write(decoder.read(of(OTHER[:5], 0.1, 7)))


def test_other_samples_are_refused(readout):
    brains = of(OTHER, 0.1, 2)
    with pytest.raises(InputError, match="fit_mixture: brains, texts and groups"):
        fitted(readout, brains, OTHER[:3])
    with pytest.raises(InputError, match="fit_mixture: texts must hold words"):
        fitted(readout, brains, ["", *OTHER[1:]])
    asking = Categorical()
    asking.prompts = ("what?", "who?")
    with pytest.raises(InputError, match="fit_mixture: base must have one question"):
        fitted(readout, brains, base=asking)
    with pytest.raises(InputError, match=r"MixtureDecoder\.read: brains"):
        fitted(readout, brains).read(MixtureBrains(brains.base, brains.features[:2]))
