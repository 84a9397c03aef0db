"""The tangent space is that of the training people, whom it names; Fisher z is arctanh."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import logm, sqrtm

from fastbrain.data import TangentSpace, fisher_z, fit_tangent_space
from fastbrain.errors import InputError
from fastbrain.evaluation import connectivity_features

# Schur and Padé (scipy) beside an eigendecomposition, of well-conditioned 7 x 7 matrices
LOGARITHM = 1e-9


def connectomes(people, regions=7, frames=60, seed=0):
    rng = np.random.default_rng(seed)
    rows, columns = np.tril_indices(regions, -1)
    series = rng.standard_normal((people, frames, 1)) + rng.standard_normal(
        (people, frames, regions)
    )
    return np.stack([np.corrcoef(s.T)[rows, columns] for s in series])


def names(people):
    return [f"sub-{i:02d}" for i in range(people)]


def test_fisher_z_is_arctanh_with_a_limit():
    np.testing.assert_allclose(fisher_z([0.0, -0.5]), [0.0, -0.5 * np.log(3)])
    assert fisher_z([[1.0]]) == np.arctanh(1 - 1e-6)
    series = np.random.default_rng(0).standard_normal((50, 5))
    r = np.corrcoef(series.T)[np.tril_indices(5, -1)]
    np.testing.assert_array_equal(connectivity_features(series), fisher_z(r))


def test_features_are_logarithms_whitened_by_the_training_mean():
    train, other, shrinkage = connectomes(9), connectomes(3, seed=1), 0.2
    found = fit_tangent_space(train, fitted_on=names(9), shrinkage=shrinkage).transform(other)

    def matrices(values):
        made = np.tile(np.eye(7), (len(values), 1, 1))
        rows, columns = np.tril_indices(7, -1)
        made[:, rows, columns] = made[:, columns, rows] = (1 - shrinkage) * values
        return made

    whitening = np.linalg.inv(sqrtm(matrices(train).mean(axis=0)))
    for row, matrix in zip(found, matrices(other), strict=True):
        log = logm(whitening @ matrix @ whitening)
        expected = [*np.sqrt(2) * log[np.tril_indices(7, -1)], *np.diag(log)]
        np.testing.assert_allclose(row, expected, atol=LOGARITHM)
        # distances are those of matrices
        assert np.linalg.norm(row) == pytest.approx(np.linalg.norm(log))


def test_it_says_whom_it_was_fitted_on_and_does_not_depend_on_others():
    people = connectomes(12)
    space = fit_tangent_space(people[:8], fitted_on=names(8))
    assert space.scope.fitted_on == tuple(names(8))
    assert space.scope.unlabelled
    alone = space.transform(people[8:9])
    np.testing.assert_allclose(space.transform(people[8:])[:1], alone, atol=LOGARITHM)


def test_noise_that_is_no_correlation_matrix_has_features():
    noise = np.random.default_rng(0).uniform(-1, 1, (6, 21))
    assert np.isfinite(fit_tangent_space(noise, fitted_on=names(6)).transform(noise)).all()


def test_wrong_input_is_refused():
    people = connectomes(4)
    space = fit_tangent_space(people, fitted_on=names(4))
    assert isinstance(space, TangentSpace)
    for bad in (np.full((2, 21), np.nan), np.full((2, 21), 1.5)):
        with pytest.raises(InputError, match="correlations must be in"):
            fisher_z(bad)
        with pytest.raises(InputError, match="correlations must be in"):
            space.transform(bad)
    with pytest.raises(InputError, match="lower triangles of P regions, got"):
        space.transform(people[:, :20])
    with pytest.raises(InputError, match="must be of 7 regions, got 6"):
        space.transform(connectomes(2, regions=6))
    with pytest.raises(InputError, match="fitted_on must name all"):
        fit_tangent_space(people, fitted_on=names(3))
    with pytest.raises(InputError, match="shrinkage must be in"):
        fit_tangent_space(people, fitted_on=names(4), shrinkage=1.0)
