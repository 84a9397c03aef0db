"""The encoding-model decoder: every step equals a full rebuild; it reads brains and not noise."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel
from wordpieces import wordpiece

from fastbrain.data import lanczos_downsample
from fastbrain.encoding_model import EncodedSearch, WordFeatures, fit_encoding, reconstruct_encoded
from fastbrain.encoding_model.decode import word_places
from fastbrain.errors import ConfigError, InputError

EVERY = EncodedSearch(beams=10_000, extensions=10_000, mass=1.0, ratio=0.0)


def language(n_words, seed=0):
    torch.manual_seed(seed)
    tokenizer = wordpiece([f"w{i}" for i in range(n_words)])
    sizes = {"vocab_size": len(tokenizer), "n_embd": 8, "n_layer": 2, "n_head": 2}
    llm = GPT2LMHeadModel(GPT2Config(**sizes, initializer_range=0.3)).eval()
    return WordFeatures(llm, tokenizer, layer=1, context=2)


def simulated(features, words, counts, *, volumes, tail=8, voxels=12, noise=0.3, seed=0):
    """Responses of a random brain to words, and the features of its volumes."""
    rng = np.random.default_rng(seed)
    n = len(counts) * volumes + tail
    stimulus = lanczos_downsample(
        features.of(words).numpy(), word_places(counts, volumes), n_volumes=n, tr=1.0
    )
    weights = np.random.default_rng(99).normal(size=(4, stimulus.shape[1], voxels))
    mean = sum(
        np.concatenate([np.zeros((d, stimulus.shape[1])), stimulus[:-d]]) @ w
        for d, w in enumerate(weights, start=1)
    )
    return stimulus, mean + noise * mean.std() * rng.normal(size=mean.shape)


def fitted(features, n_words, *, noise=0.3, seconds=120):
    rng = np.random.default_rng(5)
    counts = [2] * (seconds // 2)
    words = [f"w{i}" for i in rng.integers(n_words, size=sum(counts))]
    stimulus, responses = simulated(features, words, counts, volumes=2, noise=noise, seed=1)
    groups = np.arange(len(stimulus)) // 20
    return fit_encoding(stimulus, responses, fitted_on=("train",), groups=groups.tolist())


def test_features_of_proposals_are_those_of_the_text():
    features = language(6)
    words = ["w1", "w4", "w0", "w5", "w2"]
    ids = torch.tensor([features.tokenizer.convert_tokens_to_ids(words)])
    for i in range(1, 5):
        found = features.after(ids[:, :i].expand(2, -1), ids[0, [i, i]], torch.tensor([0, 1]))
        expected = features.of(words)[i]
        torch.testing.assert_close(found, expected.expand(2, -1), rtol=0, atol=1e-5)


def test_a_wide_beam_is_the_best_of_all_texts():
    features = language(3)
    encoding = fitted(features, 3)
    counts = [2, 0, 1, 1]
    truth = ["w0", "w2", "w1", "w1"]
    _, responses = simulated(features, truth, counts, volumes=2)
    found = reconstruct_encoded(encoding, features, responses, counts, volumes=2, search=EVERY)

    def full(words):
        stimulus = lanczos_downsample(
            features.of(words).numpy(), word_places(counts, 2), n_volumes=len(responses), tr=1.0
        )
        return encoding.log_likelihood(stimulus, responses)

    likelihood = {
        words: full(list(words)) for words in itertools.product(("w0", "w1", "w2"), repeat=4)
    }
    best = max(likelihood, key=likelihood.get)
    assert found.text.split() == list(best)
    assert found.texts[1] == ""
    # volumes after the last word's are not looked at: all texts explain them alike
    worst = min(likelihood, key=likelihood.get)
    shift = found.score - likelihood[best]
    assert shift == pytest.approx(_unseen(encoding, responses, counts), rel=1e-3)
    assert likelihood[best] - likelihood[worst] > 1


def _unseen(encoding, responses, counts):
    last = word_places(counts, 2)[-1]
    stop = int(np.floor(last - 0.5 - 3)) + 1 + 1 + 10
    return 0.5 * (encoding.whitened(responses)[max(0, stop) :] ** 2).sum()


def test_a_narrow_beam_reads_words_from_brain_and_none_from_noise():
    features = language(12)
    encoding = fitted(features, 12, noise=0.5, seconds=600)
    rng = np.random.default_rng(7)
    search = EncodedSearch(beams=8, extensions=4, mass=1.0, ratio=0.0)
    right = {"brain": [], "noise": []}
    for story in range(6):
        counts = [2] * 10
        truth = [f"w{i}" for i in rng.integers(12, size=20)]
        _, responses = simulated(features, truth, counts, volumes=2, noise=0.5, seed=story)
        noise = rng.normal(size=responses.shape) * responses.std(axis=0)
        for name, brain in (("brain", responses), ("noise", noise)):
            said = reconstruct_encoded(
                encoding, features, brain, counts, volumes=2, search=search
            ).text.split()
            right[name] += [a == b for a, b in zip(said, truth, strict=True)]
    assert np.mean(right["brain"]) > 0.5  # chance is a twelfth
    assert np.mean(right["noise"]) < 1 / 12 + 3 * np.sqrt(1 / 12 / 120)


def test_voxels_and_penalty_are_chosen_in_training():
    features = language(6)
    rng = np.random.default_rng(0)
    words = [f"w{i}" for i in rng.integers(6, size=240)]
    stimulus, responses = simulated(features, words, [2] * 120, volumes=2)
    responses = np.concatenate([rng.normal(size=(len(responses), 5)), responses], axis=1)
    groups = (np.arange(len(responses)) // 40).tolist()
    encoding = fit_encoding(stimulus, responses, fitted_on=("a",), groups=groups, voxels=12)
    assert encoding.voxels.tolist() == list(range(5, 17))
    assert encoding.fitted_on == ("a",)
    assert np.abs(encoding.correlation[:5]).max() < 0.3 < encoding.correlation[5:].min()
    # noise of training is white, up to the shrinkage and the fit itself
    left = (
        encoding.whitened(responses)
        - (encoding.predict(stimulus) - encoding.intercept) @ encoding.whitener
    )
    assert left.std(axis=0) == pytest.approx(np.ones(12), abs=0.35)


def test_no_delay_reaches_into_another_run():
    from fastbrain.encoding_model.model import delayed

    rows = np.arange(1.0, 7)[:, None]
    found = delayed(rows, (1, 2), runs=list("aaabbb"))
    assert found.tolist() == [[0, 0], [1, 0], [2, 1], [0, 0], [4, 0], [5, 4]]


def test_refusals():
    features = language(3)
    encoding = fitted(features, 3)
    with pytest.raises(InputError, match="counts must be 0 or more for windows of 2 volumes"):
        reconstruct_encoded(encoding, features, np.zeros((3, 12)), [1, 1], volumes=2)
    with pytest.raises(InputError, match=r"responses must be \(T, 12\)"):
        reconstruct_encoded(encoding, features, np.zeros((9, 4)), [1], volumes=2)
    with pytest.raises(InputError, match="responses must be finite"):
        reconstruct_encoded(encoding, features, np.full((9, 12), np.nan), [1], volumes=2)
    with pytest.raises(InputError, match="layer must be in"):
        WordFeatures(features.llm, features.tokenizer, layer=3)
    with pytest.raises(ConfigError, match="mass must be in"):
        EncodedSearch(mass=0)
    with pytest.raises(InputError, match="fitted_on not empty"):
        fit_encoding(np.ones((4, 2)), np.ones((4, 2)), fitted_on=(), groups=[0, 0, 1, 1])
