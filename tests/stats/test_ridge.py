"""Ridge agrees with scikit-learn, chooses its penalty by groups, and words are counted."""

from __future__ import annotations

import numpy as np
import pytest

from fastbrain.brainllm import fit_word_rate
from fastbrain.errors import InputError
from fastbrain.stats import fit_ridge, fold_means

# float64 solutions of the same normal equations, through another factorisation
FP64, SAME_PENALTY = 1e-6, 1e-8


def problem(n=60, f=200, d=3, noise=0.5, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, f)) + 3
    weights = np.zeros((f, d))
    weights[:10] = rng.standard_normal((10, d))
    return x, x @ weights + noise * rng.standard_normal((n, d)) - 7


@pytest.mark.parametrize("penalty", [1e-3, 0.1, 10.0])
@pytest.mark.parametrize("shape", [(60, 200), (200, 7)])
def test_equal_to_sklearn(penalty, shape):
    linear = pytest.importorskip("sklearn.linear_model")
    x, y = problem(*shape) if shape[1] > 10 else (problem(200, 10)[0][:, :7], problem(200, 10)[1])
    scale = ((x - x.mean(axis=0)) ** 2).sum(axis=1).mean()
    peer = linear.Ridge(alpha=penalty * scale).fit(x, y)
    ours = fit_ridge(x, y, penalties=[penalty])
    np.testing.assert_allclose(ours.predict(x[:5] + 1), peer.predict(x[:5] + 1), rtol=FP64)


def test_penalty_and_predictions_leave_groups_out():
    x, y = problem()
    groups = np.repeat(np.arange(12), 5)
    ours = fit_ridge(x, y, groups=groups, folds=4)
    assert 0 < ours.r2 < 1
    left = groups % 4 == 1
    apart = fit_ridge(x[~left], y[~left], penalties=[ours.penalty])
    np.testing.assert_allclose(ours.out_of_fold[left], apart.predict(x[left]), rtol=SAME_PENALTY)
    noise = fit_ridge(x, np.random.default_rng(1).standard_normal((60, 3)), groups=groups)
    assert noise.r2 < 0.1
    assert noise.penalty > ours.penalty


def test_word_rate():
    rng = np.random.default_rng(2)
    windows = rng.standard_normal((80, 4, 6))
    words = np.rint(np.clip(4 + 3 * windows[:, 1, 2], 0, None))
    rate = fit_word_rate(windows[:60], words[:60], groups=np.arange(60) // 5)
    assert np.corrcoef(rate.predict(windows[60:]), words[60:])[0, 1] > 0.8
    assert (rate.predict(windows - 100) >= 0).all()
    assert rate.counts(windows - 100, least=1).min() >= 1


def test_refusals():
    x, y = problem()
    with pytest.raises(InputError, match="groups must be given to choose"):
        fit_ridge(x, y)
    with pytest.raises(InputError, match="two groups or more"):
        fit_ridge(x, y, groups=["a"] * len(x))
    with pytest.raises(InputError, match="must vary"):
        fit_ridge(np.ones((4, 3)), y[:4], penalties=[1.0])
    with pytest.raises(InputError, match="finite"):
        fit_ridge(x, np.where(y > 0, np.nan, y), penalties=[1.0])
    with pytest.raises(InputError, match="0 or more"):
        fit_word_rate(np.ones((3, 2, 2)), [1, -1, 2], penalties=[1.0])
    with pytest.raises(InputError, match="windows must be"):
        fit_word_rate(np.ones((3, 2)), [1, 1, 2], penalties=[1.0])


def test_a_fold_of_equal_samples_predicts_its_mean():
    x = np.array([[1.0, 2.0], [1.0, 2.0], [3.0, 1.0]])
    y = np.array([[0.0], [2.0], [5.0]])
    found = fit_ridge(x, y, groups=["a", "a", "b"], folds=2)
    # the samples left out with group b are predicted from two equal ones
    assert found.out_of_fold[2] == pytest.approx(1.0)


def test_without_information_predictions_out_of_fold_are_the_means_of_their_folds():
    rng = np.random.default_rng(0)
    x, y, groups = rng.standard_normal((20, 3)), rng.standard_normal((20, 4)), np.arange(20) // 3
    found = fit_ridge(x, y, groups=groups.tolist(), penalties=[1e12])
    means = fold_means(y, groups=groups.tolist())
    np.testing.assert_allclose(found.out_of_fold, means, atol=1e-9)
    with pytest.raises(InputError, match=r"must be \(N, D\)"):
        fold_means(y[:, 0], groups=groups.tolist())
