"""The same subspace as scikit-learn's, from any source of rows, and clear refusals."""

from __future__ import annotations

import numpy as np
import pytest

from fastbrain.data import (
    ArrayRows,
    FitScope,
    StoreRows,
    WindowSpec,
    fit_pca,
    prepare_store,
    read_runs_table,
    split_by,
)
from fastbrain.data.features import pca as module
from fastbrain.errors import ConfigError, InputError


@pytest.fixture
def store(cohort, tmp_path):
    return prepare_store(
        read_runs_table(cohort()),
        tmp_path / "store",
        window=WindowSpec(4.0, 3),
        kernel=(2, 2, 3),
        split=lambda trials: split_by(trials, "run", train=["01"], val=["02"], test=["03"]),
        high_pass_s=None,
    )


def correlated(n=40, voxels=300, seed=0):
    rng = np.random.default_rng(seed)
    signal = rng.standard_normal((n, 12)) * np.geomspace(30, 0.3, 12)
    noise = 0.05 * rng.standard_normal((n, voxels))
    return signal @ rng.standard_normal((12, voxels)) + noise + rng.normal(0, 100, voxels)


def largest_angle(a, b):
    """Largest principal angle between the row spaces, in radians."""
    q, r = np.linalg.qr(a.T.astype(np.float64))[0], np.linalg.qr(b.T.astype(np.float64))[0]
    # by the sine: the cosine of a small angle says nothing
    return np.arcsin(min(1.0, np.linalg.norm(q - r @ (r.T @ q), 2)))


@pytest.mark.parametrize("k", [1, 10, 39])
@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int16])
def test_equal_to_sklearn(k, kind, monkeypatch):
    sklearn = pytest.importorskip("sklearn.decomposition")
    monkeypatch.setattr(module, "_BLOCK_BYTES", 8 * 40 * 77)  # several blocks, the last one short
    values = (correlated() * 10).astype(kind)
    ours = fit_pca(ArrayRows(values), k, fitted_on=["s"])
    peer = sklearn.PCA(k, svd_solver="full").fit(values.astype(np.float64))
    assert largest_angle(ours.components, peer.components_) < 1e-5
    rounding = 1e-14 * peer.explained_variance_[0]
    np.testing.assert_allclose(ours.variance, peer.explained_variance_, rtol=1e-9, atol=rounding)
    np.testing.assert_allclose(
        ours.explained, peer.explained_variance_ratio_, rtol=1e-9, atol=1e-14
    )
    np.testing.assert_allclose(ours.components @ ours.components.T, np.eye(k), atol=1e-5)
    unseen = (correlated(seed=1) * 10).astype(kind)
    expected = peer.transform(unseen.astype(np.float64))
    sign = np.sign((ours.components * peer.components_).sum(axis=1))
    scale = np.abs(expected).max()
    found = ours.transform(ArrayRows(unseen))
    np.testing.assert_allclose(found, expected * sign, atol=2e-6 * scale)
    whitened = ours.transform(ArrayRows(values), whiten=True)
    np.testing.assert_allclose(whitened.std(axis=0, ddof=1), 1, rtol=1e-3)


def test_zscore_and_constant_voxels():
    sklearn = pytest.importorskip("sklearn.decomposition")
    values = correlated()
    values[:, [3, 70]] = 5.0
    ours = fit_pca(ArrayRows(values), 5, fitted_on=["s"], standardise="zscore")
    std = values.std(axis=0)
    standard = np.where(std > 1e-9, (values - values.mean(axis=0)) / np.maximum(std, 1e-9), 0)
    peer = sklearn.PCA(5, svd_solver="full").fit(standard)
    assert largest_angle(ours.components, peer.components_) < 1e-5
    assert ours.constant == 2
    assert not ours.components[:, [3, 70]].any()
    # what a constant voxel does in unseen rows does not matter
    changed = values.copy()
    changed[:, 3] = 1e6
    np.testing.assert_array_equal(
        ours.transform(ArrayRows(changed)), ours.transform(ArrayRows(values))
    )


def test_small_components_survive_large_ones():
    """float32 inner products would lose a component a million times weaker than the first."""
    rng = np.random.default_rng(3)
    u = np.linalg.qr(rng.standard_normal((30, 3)))[0]
    v = np.linalg.qr(rng.standard_normal((500, 3)))[0]
    u -= u.mean(axis=0)
    values = u * [1e6, 1e3, 1.0] @ v.T
    ours = fit_pca(ArrayRows(values), 3, fitted_on=["s"])
    assert largest_angle(ours.components, v.T) < 1e-4


def test_components_of_one_size():
    """Where no component is much weaker than the first, the second pass is in float32."""
    sklearn = pytest.importorskip("sklearn.decomposition")
    values = np.random.default_rng(4).standard_normal((50, 4000)) + 100
    ours = fit_pca(ArrayRows(values), 20, fitted_on=["s"])
    peer = sklearn.PCA(20, svd_solver="full").fit(values)
    assert largest_angle(ours.components, peer.components_) < 1e-5


def test_train_rows_only():
    values = correlated()
    train = np.arange(0, 40, 2)
    fitted = fit_pca(ArrayRows(values, train), 4, fitted_on=["a", "b"])
    assert fitted.scope == FitScope("PCA of 4 components", ("a", "b"))
    values[1::2] += 1e3  # the other rows
    again = fit_pca(ArrayRows(values, train), 4, fitted_on=["a", "b"])
    np.testing.assert_array_equal(fitted.components, again.components)


def test_store_rows(store):
    trials = store.split.train
    rows = StoreRows(store, trials)
    assert rows.shape[1] == int(store.grid.patch_mask.sum())
    fitted = fit_pca(rows, 3, fitted_on=trials)
    features = rows.windows(fitted.transform(rows))
    assert features.shape == (len(trials), store.by_id[trials[0]].frames, 3)
    inside = store.grid.patch_mask
    direct = np.stack([store.window(t)[:, inside] for t in trials]) * store.scale
    expected = (direct - fitted.mean) @ fitted.components.T.astype(np.float64)
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_store_region(store):
    region = np.zeros(store.grid.shape, dtype=bool)
    region[tuple(np.argwhere(store.grid.mask)[0])] = True
    rows = StoreRows(store, store.split.train, region)
    assert rows.shape[1] == 1
    with pytest.raises(InputError, match="region must be"):
        StoreRows(store, store.split.train, np.zeros(store.grid.shape, dtype=bool))


def test_refusals():
    values = correlated()
    with pytest.raises(InputError, match=r"k must be in \[1, rank\], got 40 .* rank 39"):
        fit_pca(ArrayRows(values), 40, fitted_on=["s"])
    with pytest.raises(InputError, match="got 0 for 40 rows"):
        fit_pca(ArrayRows(values), 0, fitted_on=["s"])
    with pytest.raises(InputError, match="a voxel must vary"):
        fit_pca(ArrayRows(np.ones((5, 7))), 1, fitted_on=["s"])
    with pytest.raises(InputError, match="samples they come from"):
        fit_pca(ArrayRows(values), 3, fitted_on=[])
    with pytest.raises(ConfigError, match="standardise must be one of"):
        fit_pca(ArrayRows(values), 3, fitted_on=["s"], standardise="robust")
    values[3, 5] = np.nan
    with pytest.raises(InputError, match="got 1 values that are not among voxels 0 to 299"):
        fit_pca(ArrayRows(values), 3, fitted_on=["s"])
    with pytest.raises(InputError, match="whole numbers in"):
        ArrayRows(values, [40])
    fitted = fit_pca(ArrayRows(correlated()), 3, fitted_on=["s"])
    with pytest.raises(InputError, match="must have 300 voxels, got 299"):
        fitted.transform(ArrayRows(correlated()[:, 1:]))
