"""Small cases of preparation: every provider that is installed gives the true answer."""

from __future__ import annotations

import numpy as np
import pytest

from fastbrain.bench.assembly import assembled
from fastbrain.bench.cases import pca, reading
from fastbrain.bench.registry import Entry, Setting

CASES = {
    "pca": (lambda setting: pca.problem(9, 333, 4), {"sklearn_full", "sklearn_arpack"}),
    "read_run": (lambda setting: reading.problem((7, 9, 5), 3), {"nilearn"}),
}


@pytest.mark.parametrize("op", CASES)
def test_all_providers_are_verified(op):
    build, peers = CASES[op]
    problem, reasons = assembled(Entry(op, "small", build), Setting())
    assert not reasons, "scikit-learn and nilearn are requirements of fastbrain"
    assert peers < set(problem.providers)
    for name, way in problem.providers.items():
        assert problem.error(name, way()) <= problem.limit, name


def test_a_wrong_answer_is_told():
    problem = pca.problem(9, 333, 4)
    found = problem.providers["fastbrain"]()
    assert problem.error("x", -found) <= problem.limit
    assert problem.error("x", found[::-1]) > problem.limit
    problem = reading.problem((7, 9, 5), 3)
    values, places = problem.providers["fastbrain"]()
    assert problem.error("x", (values[:, ::-1], places[::-1])) == 0
    assert problem.error("x", (values[:, ::-1], places)) == 1
    assert problem.error("x", (values + np.float32(1), places)) == 1
