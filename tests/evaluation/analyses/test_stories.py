"""Windows of stories: shifts stay within their stretch, and chance is what the shifts give."""

from __future__ import annotations

import numpy as np
import pytest

from fastbrain.errors import InputError
from fastbrain.evaluation import find_score, shifted_partners, story_scores
from fastbrain.evaluation.metrics.registry import TEXT_METRICS

QUICK = [m for m in TEXT_METRICS if m.name in ("bleu1", "rougeL_f", "wer")]


def test_partners_are_far_and_of_the_same_stretch():
    partners = shifted_partners([9, 6], guard=3, count=200)
    assert partners.shape == (200, 15)
    assert (np.sort(partners, axis=1) == np.arange(15)).all()
    for n, rows, offset in ((9, partners[:, :9], 0), (6, partners[:, 9:], 9)):
        moved = (rows - offset - np.arange(n)) % n
        assert (moved == moved[:, :1]).all()
        assert set(moved[:, 0]) == set(range(3, n - 2))


def test_a_copy_is_right_and_a_shifted_copy_is_not():
    rng = np.random.default_rng(0)
    truth = [" ".join(f"w{i}" for i in rng.integers(300, size=8)) for _ in range(40)]
    blocks = np.repeat(range(8), 5)
    partners = shifted_partners([20, 20], guard=3, count=99)
    smallest = 1 / (1 + len({tuple(row) for row in partners.tolist()}))
    noise = [" ".join(f"w{i}" for i in rng.integers(300, size=8)) for _ in range(40)]
    for said, value, p in ((truth, 1.0, smallest), (noise, 0.02, None)):
        found = story_scores(
            said, truth, partners, others={"prompt alone": noise}, blocks=blocks, metrics=QUICK
        )
        assert [s.control for s in found] == ["deranged brain"] * 3 + ["prompt alone"] * 3
        score = find_score(found, "bleu1", control="deranged brain")
        assert score.value == pytest.approx(value, abs=0.03)
        assert score.chance == pytest.approx(0.02, abs=0.03)
        assert score.p == pytest.approx(p) if p else score.p > 0.05
        alone = find_score(found, "wer", control="prompt alone")
        assert alone.p == (pytest.approx(1 / 256) if p else 1.0)


def test_one_distinct_shift_is_one_observation():
    truth = [f"word {i}" for i in range(4)]
    partners = shifted_partners([4], guard=2, count=100)
    found = story_scores(truth, truth, partners, others={}, blocks=range(4), metrics=QUICK)
    assert {score.p for score in found} == {0.5}


def test_refusals():
    with pytest.raises(InputError, match="at least twice the guard of 3"):
        shifted_partners([9, 5], guard=3, count=2)
    with pytest.raises(InputError, match="others must be 4 windows, got 1"):
        story_scores(
            ["a"] * 4, ["a"] * 4, shifted_partners([4], guard=1, count=2),
            others={"x": ["a"]}, blocks=range(4), metrics=QUICK,
        )  # fmt: skip
