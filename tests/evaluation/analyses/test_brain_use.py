"""A decoder that ignores the brain is found, and one that does not is left alone."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from fastbrain.errors import BrainIgnoredWarning, InputError
from fastbrain.evaluation import brain_use

N = 40
TRUTH = [f"noun{i} verb{i % 9} place{i % 5}" for i in range(N)]
PARTNERS = np.stack([np.roll(np.arange(N), k) for k in (11, 17, 23)])
BLOCKS = [i // 4 for i in range(N)]


def test_texts_of_the_brain_are_no_finding():
    use = brain_use(TRUTH, TRUTH, partners=PARTNERS, no_brain=["a"], blocks=BLOCKS)
    assert not use.ignored
    assert use.message == ""
    assert (use.distinct, use.same_permuted, use.same_no_brain) == (N, 0.0, 0.0)
    assert use.gain > 0.5
    assert use.interval.low > 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        use.warn()


def test_two_texts_for_all_are_few():
    use = brain_use(["a man", "a dog"] * (N // 2), TRUTH, partners=PARTNERS, blocks=BLOCKS)
    assert use.distinct == 2
    assert "2 different texts for 40" in use.message
    with pytest.warns(BrainIgnoredWarning, match="hardly depend on the brain"):
        use.warn()


def test_a_closed_set_of_texts_is_not_few():
    truth = ["a house", "a cat", "a chair", "a face"] * (N // 4)
    use = brain_use(truth, truth, partners=np.roll(np.arange(N), 4)[None], blocks=BLOCKS)
    assert use.same_permuted is None  # all partners have the same true text
    assert use.findings == (
        "the gain of the own brain over other brains is 0.000, 95 % interval 0.000 to 0.000 "
        "(ROUGE-1 F with the true text)",
    )
    assert not brain_use(truth, truth, partners=np.roll(np.arange(N), 5)[None]).ignored


def test_the_same_text_with_another_brain_and_without_one():
    other = [*TRUTH[:30], *["x"] * 10]
    use = brain_use(TRUTH, TRUTH, permuted=other, no_brain=TRUTH)
    assert use.same_permuted == 0.75
    assert use.findings[0] == "75% of the texts are the same with another brain"
    assert use.findings[1] == "100% of the texts are the same without a brain"


def test_scores_in_place_of_texts():
    rng = np.random.default_rng(0)
    own = rng.normal(size=N)
    assert brain_use(TRUTH, own_scores=own, permuted_scores=own - 1, blocks=BLOCKS).gain == (
        pytest.approx(1.0)
    )
    use = brain_use(
        TRUTH, own_scores=own, permuted_scores=own[::-1].copy(), scored="minus nats a token"
    )
    assert use.ignored
    assert "minus nats a token" in use.message


def test_a_single_block_has_no_interval_and_no_finding():
    use = brain_use(TRUTH, TRUTH, permuted=TRUTH[::-1], blocks=[0] * N)
    assert use.interval is None
    assert not use.ignored
    assert use.to_json()["interval"] is None


def test_white_space_makes_no_other_text():
    assert brain_use(["a b", "a  b", " a b"], ["x", "y", "z"]).distinct == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"truth": TRUTH[:2]}, "got 40 written and 2 truth"),
        ({"permuted": TRUTH[:2]}, "got 40 written and 2 permuted"),
        ({"no_brain": TRUTH[:2]}, "got 40 written and 2 no_brain"),
        ({"own_scores": np.ones(N)}, "must be given together"),
        ({"own_scores": np.ones(3), "permuted_scores": np.ones(3)}, r"scores must be \(40,\)"),
        ({"similarity": np.ones((2, 2))}, r"similarity must be \(40, 40\)"),
        ({"partners": np.zeros((1, 2), dtype=np.int64)}, r"partners must be \(R >= 1, 40\)"),
        ({"written": ["one"]}, "N >= 2 samples, got 1 written"),
    ],
)
def test_wrong_arguments_are_refused(change, message):
    with pytest.raises(InputError, match=f"brain_use: .*{message}"):
        brain_use(**{"written": TRUTH, **change})
