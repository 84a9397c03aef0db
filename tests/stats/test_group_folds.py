"""Folds keep groups whole, are balanced, and are those that studies and ridge always had."""

from __future__ import annotations

import numpy as np
import pytest

from fastbrain.errors import InputError
from fastbrain.stats import group_folds


@pytest.mark.parametrize("order", ["size", "appearance"])
@pytest.mark.parametrize(("groups", "n_folds"), [("abcabca", 2), ("aaaaabbcd", 3), ("bacd", 4)])
def test_no_group_is_in_two_folds_and_no_fold_is_empty(groups, n_folds, order):
    folds = group_folds(list(groups), n_folds, order=order)
    homes = {g: {f for f, name in zip(folds, groups, strict=True) if name == g} for g in groups}
    assert all(len(home) == 1 for home in homes.values())
    assert sorted(set(folds.tolist())) == list(range(n_folds))
    assert folds.dtype == np.int64


def test_large_groups_are_spread_over_the_folds():
    # in turn, the groups of 9 and 8 samples would share a fold
    groups = ["a"] * 9 + ["b"] + ["c"] * 8 + ["d"] + ["e"] * 2
    sizes = np.bincount(group_folds(groups, 2))
    assert sizes.tolist() == [11, 10]
    assert np.bincount(group_folds(groups, 2, order="appearance")).tolist() == [19, 2]


def test_order_of_appearance_deals_groups_in_turn():
    groups = np.array(["p3", "p1", "p3", "p2", "p0", "p1"])
    np.testing.assert_array_equal(group_folds(groups, 3, order="appearance"), [0, 1, 0, 2, 0, 1])


def test_a_seed_shuffles_groups_of_equal_size_alone():
    groups = [f"g{i}" for i in range(12) for _ in range(2)] + ["large"] * 5
    drawn = [group_folds(groups, 3, seed=seed) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert (drawn[0] != drawn[2]).any()
    # the largest comes first, to the first fold
    assert all((folds[-5:] == 0).all() for folds in (*drawn, group_folds(groups, 3)))


def test_wrong_input_is_refused():
    with pytest.raises(InputError, match=r"groups must be at least the 3 folds, got 2\."):
        group_folds(["a", "b", "a"], 3)
    with pytest.raises(InputError, match="seed must be None"):
        group_folds(["a", "b"], 2, order="appearance", seed=0)
    for missing in (float("nan"), np.datetime64("NaT")):
        with pytest.raises(InputError, match=r"groups must be names, got .* for sample 1"):
            group_folds(["a", missing, "b"], 2)
    with pytest.raises(InputError, match="n_folds"):
        group_folds(["a", "b"], 1)
