"""Words, speech and letters are counted in the volume, or the span, in which they begin."""

from __future__ import annotations

import numpy as np
import pytest

from fastbrain.data import Word, story_samples, texts_between, word_rates
from fastbrain.errors import InputError

# word_rates sums overlaps of a word with volumes: a few roundings of seconds below 1000
SECONDS = 1e-12 * 1000
WORDS = [Word("Alice", 0.5, 1.0), Word("was", 1.9, 2.3), Word("tired", 4.0, 4.5)]


def spoken(count, seed=0, tr=1.5):
    """Words of random lengths, which may overlap, of a story of about 300 volumes."""
    rng = np.random.default_rng(seed)
    onset = np.sort(rng.uniform(-5, 300 * tr, count))
    text = ["x" * n for n in rng.integers(1, 9, count)]
    return [Word(*w) for w in zip(text, onset, onset + rng.uniform(0, 4, count), strict=True)]


def test_known_rates():
    expected = [[2, 0.5 + 0.1, 8], [0, 0.3, 0], [1, 0.5, 5]]
    np.testing.assert_allclose(word_rates(WORDS, tr=2.0, n_volumes=3), expected)
    # the stimulus begins one volume later
    later = word_rates(WORDS, tr=2.0, n_volumes=4, onset_s=2.0)
    np.testing.assert_allclose(later[1:], expected)
    assert not later[0].any()


@pytest.mark.parametrize("n_volumes", [1, 255, 257, 310])
def test_rates_are_those_of_each_volume_by_itself(n_volumes):
    words, tr = spoken(400), 1.5
    rates = word_rates(words, tr=tr, n_volumes=n_volumes, onset_s=-3.0)
    for volume in {0, n_volumes // 2, n_volumes - 1}:
        begin, end = volume * tr + 3, (volume + 1) * tr + 3
        inside = [w for w in words if begin <= w.onset < end]
        covered = sum(max(0, min(w.offset, end) - max(w.onset, begin)) for w in words)
        assert rates[volume, 0] == len(inside)
        assert rates[volume, 1] == pytest.approx(covered, abs=SECONDS)
        assert rates[volume, 2] == sum(len(w.text) for w in inside)


def test_texts_and_counts_are_those_of_story_samples():
    words = spoken(200, seed=1, tr=2.0)
    samples = story_samples(words, tr=2.0, n_volumes=290, window=4, prompt=0, onset_s=1.0)
    start = np.array([s.start for s in samples])
    assert texts_between(words, start * 2.0, (start + 4) * 2.0, onset_s=1.0) == [
        s.text for s in samples
    ]
    rates = word_rates(words, tr=2.0, n_volumes=290, onset_s=1.0)
    assert [rates[s.start : s.stop, 0].sum() for s in samples] == [s.words for s in samples]


def test_spans_may_overlap_and_may_be_empty():
    found = texts_between(WORDS, [0.0, 0.5, 1.9, 2.0], [4.0, 1.9, 9.0, 3.0])
    assert found == ["Alice was", "Alice", "was tired", ""]
    assert texts_between([], [0.0], [1.0]) == [""]
    assert texts_between(WORDS, [], []) == []


def test_a_word_at_the_limit_of_a_decimal_tr_is_of_the_later_volume():
    # 3 * 0.1 is above 0.3
    assert word_rates([Word("a", 0.3, 0.31)], tr=0.1, n_volumes=5)[:, 0].tolist() == [0, 0, 0, 1, 0]


def test_wrong_input_is_refused():
    with pytest.raises(InputError, match="tr must be > 0 s"):
        word_rates(WORDS, tr=0.0, n_volumes=3)
    with pytest.raises(InputError, match="a word must begin in volumes 0 to 2, got none of 3"):
        word_rates(WORDS, tr=2.0, n_volumes=3, onset_s=-60.0)
    with pytest.raises(InputError, match="stop_s >= start_s"):
        texts_between(WORDS, [2.0], [1.0])
    with pytest.raises(InputError, match="stop_s >= start_s"):
        texts_between(WORDS, [np.nan], [1.0])
    with pytest.raises(InputError, match="must be finite"):
        texts_between(WORDS, [0.0], [np.inf])
    with pytest.raises(InputError, match="sorted by onset"):
        texts_between(WORDS[::-1], [0.0], [1.0])
