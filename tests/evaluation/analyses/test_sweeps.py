"""Sweeps over delays and prompt lengths."""

from __future__ import annotations

import numpy as np
import pytest
from linear import correlated

from fastbrain.errors import InputError
from fastbrain.evaluation import (
    Score,
    correlations,
    delay_sweep,
    pairwise,
    prompt_sweep,
    retrieval,
    sweep,
)
from fastbrain.stats import derangements


def _delays(rho: float) -> object:
    """Sweep of an encoding that answers two samples late, texts correlated by `rho`."""
    rng = np.random.default_rng(0)
    texts = correlated(rng, 6, 40, 10, rho)
    brain = np.roll(texts, 2, axis=0) + 0.5 * rng.normal(size=texts.shape)
    blocks = np.repeat(np.arange(6), 40)

    def evaluate(delay: float) -> Score:
        predicted = np.roll(brain, -int(delay), axis=0)
        found = retrieval(correlations(predicted, texts), blocks, count=200).two_way
        return Score(
            "two_way", "retrieval", found.value, 240, found.chance, "deranged brain", found.p
        )

    return delay_sweep(evaluate, [-3, -1, 0, 1, 2, 3, 5], unit="TR")


def test_a_clean_sweep_peaks_at_the_delay():
    found = _delays(0.0)
    values = [score.value for score in found.scores]
    assert found.values[int(np.argmax(values))] == 2
    assert found.below_zero() == ()
    assert (found.name, found.unit) == ("delay", "TR")


def test_autocorrelated_stimuli_show_at_negative_delays():
    found = _delays(0.9)
    assert -1 in found.below_zero()
    assert found.scores[found.values.index(2)].value > 0.9


def test_a_delay_sweep_needs_its_control():
    with pytest.raises(InputError, match="must hold a negative one"):
        delay_sweep(lambda _: Score("x", "retrieval", 0.5, 3), [0, 2])


@pytest.mark.parametrize("values", [[], [1, 1]])
def test_sweep_values(values):
    with pytest.raises(InputError, match="each once"):
        sweep(lambda _: Score("x", "retrieval", 0.5, 3), values, name="x", unit="s")


def test_a_sweep_without_p_cannot_be_adjusted():
    found = sweep(lambda _: Score("x", "retrieval", 0.5, 3), [-1.0], name="x", unit="s")
    with pytest.raises(InputError, match="must have a p"):
        found.below_zero()


def test_prompt_lengths_score_what_follows():
    """The brain knows token 2 alone: with it in the prompt, nothing is left to decode."""
    rng = np.random.default_rng(0)
    blocks = np.repeat(np.arange(4), 10)
    matrix = rng.normal(size=(40, 40, 5))  # brain, text, token
    matrix[np.arange(40), np.arange(40), 2] -= 5
    partners = derangements(blocks, count=100)
    lengths = rng.integers(3, 6, 40)
    lengths[0] = 5
    mask = np.arange(5) < lengths[:, None]
    true, deranged = matrix[np.arange(40), np.arange(40)], matrix[partners, np.arange(40)]
    found = prompt_sweep(true, deranged, mask, [0, 2, 3], blocks=blocks)
    n = [score.n for score in found.scores]
    assert n == [40, 40, int((lengths > 3).sum())]
    values = [score.value for score in found.scores]
    assert values[1] > values[0] > 0.8
    assert abs(values[2] - 0.5) < 0.2
    # length 0 is the whole text
    mean = (matrix * mask).sum(axis=2) / mask.sum(axis=1)
    assert values[0] == pytest.approx(pairwise(mean, partners).accuracy)


def test_a_prompt_may_not_swallow_all_texts():
    mask = np.ones((4, 3), dtype=bool)
    for lengths in ([3], [-1]):
        with pytest.raises(InputError, match="lengths must be"):
            prompt_sweep(np.zeros((4, 3)), np.zeros((2, 4, 3)), mask, lengths, blocks=range(4))
    with pytest.raises(InputError, match="must be"):
        prompt_sweep(np.zeros((4, 3)), np.zeros((2, 4, 2)), mask, [0], blocks=range(4))
