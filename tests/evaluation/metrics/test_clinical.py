"""Clinical scores are scikit-learn's, baselines see training people only, bad input is named."""

from __future__ import annotations

import csv
import warnings

import numpy as np
import pytest

from fastbrain.errors import InputError, SplitError
from fastbrain.evaluation import (
    ClinicalCohort,
    baseline_predictions,
    beside_baselines,
    connectivity_features,
    cross_validated_baselines,
    label_scores,
    scale_scores,
)
from fastbrain.evaluation.controls import clinical_baselines
from fastbrain.evaluation.controls.support_vectors import support_vector_predictions

pytest.importorskip("sklearn")


@pytest.fixture(autouse=True)
def no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


# for tests of values, which need neither p nor interval
FEW = {"permutations": 9, "resamples": 9}


def made(n=60, seed=0, signal=1.0, families=30):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 40))
    age = 20 + 5 * signal * x[:, 0] + rng.standard_normal(n)
    confounds = rng.standard_normal((n, 2))
    return ClinicalCohort(x, age, confounds, [f"f{i % families}" for i in range(n)])


def test_scale_scores_are_scikit_learns():
    from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

    rng = np.random.default_rng(1)
    true = rng.normal(30, 8, 50)
    guess = 0.5 * true + rng.normal(10, 2, 50)
    scores = {k: s.value for k, s in scale_scores(true, guess).items()}
    slope, intercept = np.polyfit(guess, true, 1)
    expected = {
        "mae": mean_absolute_error(true, guess),
        "rmse": root_mean_squared_error(true, guess),
        "r2": r2_score(true, guess),
        "r": np.corrcoef(true, guess)[0, 1],
        "calibration_slope": slope,
        "calibration_intercept": intercept,
        "prediction_slope": np.polyfit(true, guess, 1)[0],
        "sd_ratio": guess.std() / true.std(),
    }
    assert scores == pytest.approx(expected)


@pytest.mark.parametrize("count", [2, 3])
def test_label_scores_are_scikit_learns(count):
    from sklearn.metrics import balanced_accuracy_score, roc_auc_score

    rng = np.random.default_rng(2)
    true = rng.integers(count, size=80)
    table = rng.dirichlet(np.ones(count), 80).round(1)  # with ties
    table /= table.sum(axis=1, keepdims=True)
    table[true == 1, 1] += 0.3
    table /= table.sum(axis=1, keepdims=True)
    scores = label_scores(list(true), table, range(count), **FEW)
    auc = roc_auc_score(true, table[:, 1] if count == 2 else table, multi_class="ovr")
    if count == 3:
        assert scores["auroc"].value == pytest.approx(auc)
    else:
        other = roc_auc_score(true == 0, table[:, 0])
        assert scores["auroc"].value == pytest.approx((auc + other) / 2)
    balanced = balanced_accuracy_score(true, table.argmax(axis=1))
    assert scores["balanced_accuracy"].value == pytest.approx(balanced)


def test_calibration_error_by_hand():
    table = [[0.9, 0.1]] * 4 + [[0.4, 0.6]] * 4
    truth = ["a", "a", "a", "b", "b", "b", "b", "a"]
    scores = label_scores(truth, table, ["a", "b"], **FEW)
    assert scores["calibration_error"].value == pytest.approx((0.15 + 0.15) / 2)


def test_good_predictions_have_small_p_and_intervals_around_them():
    cohort = made()
    scores = scale_scores(cohort.target, cohort.target + 1, groups=cohort.groups)
    for name in ("mae", "rmse", "r2", "r"):
        assert scores[name].p == 0.001
    assert scores["mae"].value == pytest.approx(1.0)
    assert scores["mae"].interval.as_list() == pytest.approx([1.0, 1.0])
    assert scores["calibration_slope"].p is None
    assert scores["mae"].chance > 4
    assert scores["mae"].control == "permuted predictions"


def test_noise_has_uniform_p():
    from scipy.stats import kstest

    rng = np.random.default_rng(0)
    p = [
        scale_scores(*rng.standard_normal((2, 20)), permutations=99, resamples=2)["r"].p
        for _ in range(200)
    ]
    assert kstest(p, "uniform").pvalue > 0.01


def test_families_are_resampled_and_permuted_whole():
    true, noise = np.random.default_rng(0).standard_normal((2, 10))
    people, families = (true, true + noise), np.repeat(np.arange(10), 4)
    four = [np.repeat(values, 4) for values in people]
    # a family of four equal members is as much evidence as one person
    one, whole = scale_scores(*people)["r2"], scale_scores(*four, groups=families)["r2"]
    assert whole.p == one.p
    assert whole.interval.as_list() == pytest.approx(one.interval.as_list())
    apart = scale_scores(*four)["r2"]
    assert apart.p < one.p
    assert apart.interval.high - apart.interval.low < one.interval.high - one.interval.low
    # with permutations within sites that hold everything, a site effect is no evidence
    site = np.repeat([0.0, 5.0], 20)
    rng = np.random.default_rng(3)
    true, guess = site + rng.standard_normal(40), site + rng.standard_normal(40)
    assert scale_scores(true, guess)["r"].p == 0.001
    assert scale_scores(true, guess, strata=site)["r"].p > 0.05


def test_constant_predictions_are_defined():
    scores = scale_scores([1.0, 2, 3, 4], [2.0] * 4)
    assert scores["r"].value == 0
    assert scores["r"].p == 1
    assert scores["calibration_slope"].value == 0
    assert scores["calibration_intercept"].value == 2.5
    assert (scores["prediction_slope"].value, scores["sd_ratio"].value) == (0, 0)
    table = [[0.5, 0.5]] * 4
    labels = label_scores(list("aabb"), table, ["a", "b"], **FEW)
    assert labels["auroc"].value == 0.5
    assert labels["balanced_accuracy"].value == 0.5


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: scale_scores([1, 2, np.nan], [1, 2, 3]), "finite"),
        (lambda: scale_scores([1, 2, 3], [1, np.inf, 3]), "finite"),
        (lambda: scale_scores([2, 2, 2], [1, 2, 3]), "must vary"),
        (lambda: scale_scores([1, 2, 3], [1, 2]), r"\(N >= 3,\)"),
        (lambda: scale_scores([1, 2, 3], [1, 2, 3], groups=[1, 1, 2]), "can be permuted"),
        (lambda: scale_scores([1, 2, 3], [1, 2, 3], groups=[1]), "groups"),
        (
            lambda: scale_scores([1, 2, 3], [1, 2, 3], groups=[1, 1, 2], strata=[1, 2, 2]),
            "one stratum",
        ),
        (lambda: label_scores(["a"] * 3, [[1, 0]] * 3, ["a", "b"]), "two classes"),
        (lambda: label_scores(["a", "c"], [[1, 0]] * 2, ["a", "b"]), "'c'"),
        (lambda: label_scores(["a", "b"], [[1, 1]] * 2, ["a", "b"]), "sum to 1"),
        (lambda: label_scores(["a", "b"], [[np.nan, 1]] * 2, ["a", "b"]), "finite"),
        (lambda: label_scores(["a", "b"], [[1, 0, 0]] * 2, ["a", "b"]), r"\(2, 2\)"),
        (lambda: beside_baselines(dict, [1], {"model": [1]}), "model"),
        (lambda: connectivity_features(np.ones((5, 3))), "3 regions"),
        (lambda: connectivity_features([[1.0, 2.0]]), "T >= 3"),
    ],
)
def test_bad_input_is_named(call, match):
    with pytest.raises(InputError, match=match):
        call()


def test_baselines_are_fitted_on_training_people_only():
    cohort = made()
    train = np.flatnonzero([int(g[1:]) < 20 for g in cohort.groups])
    test = np.setdiff1d(np.arange(60), train)
    found = baseline_predictions(cohort[train], cohort[test], kind="scale")
    assert list(found) == ["mean", "confounds", "connectivity ridge"]
    np.testing.assert_allclose(found["mean"], cohort.target[train].mean())
    # other test targets change nothing
    moved = cohort[test]
    moved.target[:] = 1e6
    again = baseline_predictions(cohort[train], moved, kind="scale")
    for name in found:
        np.testing.assert_array_equal(found[name], again[name])
    scores = beside_baselines(
        lambda p: scale_scores(cohort.target[test], p, **FEW), cohort.target[test], found
    )
    assert list(scores) == ["model", *found]
    assert scores["connectivity ridge"]["mae"].value < 0.6 * scores["mean"]["mae"].value
    with pytest.raises(SplitError, match="both sides"):
        baseline_predictions(cohort, cohort, kind="scale")


def test_support_vectors_are_fitted_on_training_people_only():
    cohort = made()
    train = np.flatnonzero([int(g[1:]) < 20 for g in cohort.groups])
    test = np.setdiff1d(np.arange(60), train)
    found = support_vector_predictions(cohort[train], cohort[test])
    moved = cohort[test]
    moved.target[:] = 1e6
    np.testing.assert_array_equal(found, support_vector_predictions(cohort[train], moved))
    error = np.abs(found - cohort.target[test]).mean()
    assert error < 0.6 * np.abs(cohort.target[train].mean() - cohort.target[test]).mean()
    # a scale in another unit changes nothing
    larger = cohort[train]
    larger.target[:] *= 1000
    np.testing.assert_allclose(
        support_vector_predictions(larger, cohort[test]), 1000 * found, rtol=1e-2
    )
    with pytest.raises(SplitError, match="none of test"):
        support_vector_predictions(cohort, cohort)


@pytest.mark.slow
def test_label_baselines():
    cohort = made(80, families=40)
    labels = np.where(cohort.connectivity[:, 0] > 0, "ill", "healthy")
    cohort = ClinicalCohort(cohort.connectivity, labels, cohort.confounds, cohort.groups)
    found = cross_validated_baselines(cohort, kind="label", folds=3)
    auroc = {
        name: label_scores(list(labels), table, ["healthy", "ill"], **FEW)["auroc"].value
        for name, table in found.items()
    }
    assert auroc["connectivity ridge"] > 0.8 > 0.65 > auroc["confounds"]


def test_impossible_folds_are_refused():
    cohort = made(20, families=4)
    with pytest.raises(SplitError, match="5 folds of 4 groups"):
        cross_validated_baselines(cohort, kind="scale")
    labels = np.array(["a"] * 19 + ["b"])
    rare = ClinicalCohort(cohort.connectivity, labels, cohort.confounds, range(20))
    with pytest.raises(SplitError, match="'b': 1"):
        cross_validated_baselines(rare, kind="label")
    with pytest.raises(SplitError, match="two classes"):
        baseline_predictions(rare[np.arange(5)], rare[np.arange(5, 9)], kind="label")
    with pytest.raises(InputError, match="finite"):
        ClinicalCohort(cohort.connectivity * np.nan, labels, cohort.confounds, range(20))
    with pytest.raises(InputError, match="one row a person"):
        ClinicalCohort(cohort.connectivity, labels[:3], cohort.confounds, range(20))


def test_connectivity_is_fisher_z_of_correlations():
    series = np.random.default_rng(0).standard_normal((30, 3))
    r = np.corrcoef(series.T)
    expected = np.arctanh([r[1, 0], r[2, 0], r[2, 1]])
    np.testing.assert_allclose(connectivity_features(series), expected)
    twice = np.column_stack([series[:, 0], series[:, 0]])
    assert np.isfinite(connectivity_features(twice)).all()


@pytest.mark.slow
def test_age_from_real_connectivity(real_data):
    folder = real_data / "age_connectome"
    if not folder.is_dir():
        pytest.skip("no age_connectome among the real data")
    with open(folder / "participants.tsv") as lines:
        people = list(csv.DictReader(lines, delimiter="\t"))
    age = np.array([float(p["Age"]) for p in people])
    sex = np.array([[float(p["Gender"] == "F")] for p in people])
    cohort = ClinicalCohort(
        np.load(folder / "basc064_connectivity.npz")["a"],
        age,
        sex,
        [p["participant_id"] for p in people],
    )
    found = cross_validated_baselines(cohort, kind="scale", folds=10)
    scores = {name: scale_scores(age, p, permutations=199) for name, p in found.items()}
    assert scores["mean"]["mae"].value == pytest.approx(6.1, abs=0.3)
    # sex alone says nothing of age
    assert scores["confounds"]["mae"].value == pytest.approx(6.1, abs=0.3)
    assert scores["connectivity ridge"]["mae"].value < 3.1 + 0.3
    assert scores["connectivity ridge"]["r2"].value > 0.6
    assert scores["connectivity ridge"]["mae"].p == 0.005


def test_a_fold_that_trains_without_a_class_is_refused(monkeypatch):
    labels = np.array(["a", "b", "c"] * 4)
    values = np.random.default_rng(0).normal(size=(12, 2))
    cohort = ClinicalCohort(values, labels, values, range(12))
    rare = labels == "c"
    folds = [(np.flatnonzero(~rare), np.flatnonzero(rare))]
    monkeypatch.setattr(clinical_baselines, "_folds", lambda *_: folds)
    with pytest.raises(SplitError, match="must have every class"):
        cross_validated_baselines(cohort, kind="label")
