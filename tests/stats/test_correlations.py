"""Correlations of rows and of columns, and constants that rounding hides."""

from __future__ import annotations

import numpy as np
import pytest

from fastbrain.errors import InputError
from fastbrain.stats.correlations import column_correlations, correlations


def test_both_equal_numpy():
    rng = np.random.default_rng(0)
    left, right = rng.normal(size=(5, 7)), rng.normal(size=(5, 7))
    every = np.corrcoef(left, right)[:5, 5:]
    np.testing.assert_allclose(correlations(left, right), every)
    np.testing.assert_allclose(column_correlations(left.T, right.T), np.diag(every))


@pytest.mark.parametrize("constant", [0.0, 0.1, 1 / 3])
def test_a_constant_has_no_correlation(constant):
    """0.1 minus the mean of three times 0.1 is not exactly 0."""
    row = np.full(3, constant)
    with pytest.raises(InputError, match="predicted must vary within each row, got 1"):
        correlations([row, [1.0, 2.0, 4.0]], [[1.0, 2.0, 4.0]])
    column = row[:, None]
    assert column_correlations(column, column).tolist() == [0.0]
