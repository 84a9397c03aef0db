"""Simulated people at rest: connectivity tells age exactly where the design says so."""

from __future__ import annotations

import numpy as np
import pytest

from fastbrain.data import RestDesign, simulate_rest
from fastbrain.errors import InputError


def coupling_and_age(effect):
    """Correlation with age of the correlation between the first network and each other one."""
    design = RestDesign(people=80, frames=400, effect=effect)
    cohort = simulate_rest(design)
    r = np.stack([np.corrcoef(s)[0, 1:4] for s in cohort.series.values()])
    return [np.corrcoef(r[:, k], cohort.age)[0, 1] for k in range(3)]


def test_age_is_in_the_coupling_with_alternating_sign():
    assert np.sign(coupling_and_age(1.0)).tolist() == [1, -1, 1]
    assert min(map(abs, coupling_and_age(1.0))) > 0.6


def test_without_an_effect_there_is_nothing_of_age():
    assert max(map(abs, coupling_and_age(0.0))) < 0.25


def test_variance_autocorrelation_and_seed():
    design = RestDesign(people=20, frames=3000, snr=2.0, ar1=0.7)
    cohort = simulate_rest(design)
    values = np.stack(list(cohort.series.values())) - 100
    assert values.var() == pytest.approx(1 + 1 / 4, rel=0.05)
    lag = (values[..., 1:] * values[..., :-1]).mean() / values.var()
    assert lag == pytest.approx(0.7 * 1 / 1.25, abs=0.02)
    again = simulate_rest(design)
    assert all(np.array_equal(cohort.series[n], again.series[n]) for n in cohort.series)


@pytest.mark.parametrize(
    "bad", [{"people": 1}, {"ar1": 1.0}, {"snr": 0.0}, {"effect": 2.0}, {"regions": 3}]
)
def test_designs_that_cannot_be(bad):
    with pytest.raises(InputError, match="RestDesign"):
        RestDesign(**bad)
