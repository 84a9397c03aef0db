"""Noise ceilings of simulated responses are those that were put in."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fastbrain.encoding_model import fit_encoding
from fastbrain.errors import InputError
from fastbrain.evaluation import (
    beside_ceiling,
    inter_subject_ceiling,
    split_half_ceiling,
    store_ceiling,
)
from fastbrain.evaluation.analyses.store_ceiling import PEOPLE, REPEATS, ceiling_lines

STIMULI, VOXELS = 2000, 6
# five standard errors of a correlation over 2,000 stimuli, averaged over six voxels and stepped up
TOLERANCE = 0.04


def simulated(repeats, noise, *, seed=0, stimuli=STIMULI, voxels=VOXELS):
    """Signal of variance 1, with noise of its own in every repeat, (R, N, V)."""
    rng = np.random.default_rng(seed)
    signal = rng.normal(size=(stimuli, voxels))
    return signal, signal + noise * rng.normal(size=(repeats, stimuli, voxels))


@pytest.mark.parametrize("averaged", [1, 3])
@pytest.mark.parametrize("noise", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("repeats", [2, 3, 8])
def test_split_half_finds_the_known_ceiling(repeats, noise, averaged):
    signal, x = simulated(repeats, noise)
    known = (1 / (1 + noise**2 / averaged)) ** 0.5
    found = split_half_ceiling(x, averaged=averaged)
    assert found.mean() == pytest.approx(known, abs=2 * TOLERANCE if noise > 2 else TOLERANCE)
    if averaged == 1:
        # it is the correlation of the true response with one presentation
        true = [np.corrcoef(signal[:, v], x[0][:, v])[0, 1] for v in range(VOXELS)]
        assert found.mean() == pytest.approx(np.mean(true), abs=2 * TOLERANCE)


def test_no_signal_has_no_ceiling():
    noise = np.random.default_rng(1).normal(size=(4, STIMULI, VOXELS))
    # the root of a chance correlation of 1/sqrt(2000) is 0.15
    assert split_half_ceiling(noise).max() < 0.35
    constant = np.ones((4, 9, 2))
    np.testing.assert_array_equal(split_half_ceiling(constant), 0)


@pytest.mark.parametrize("people", [2, 5])
@pytest.mark.parametrize("noise", [0.5, 2.0])
def test_inter_subject_bounds_hold_the_known_values(people, noise):
    _, x = simulated(people, noise)
    lower, upper = inter_subject_ceiling(x)
    own, others = 1 + noise**2, 1 + noise**2 / (people - 1)
    assert lower.mean() == pytest.approx(1 / (own * others) ** 0.5, abs=TOLERANCE)
    whole = 1 + noise**2 / people
    assert upper.mean() == pytest.approx(whole / (own * whole) ** 0.5, abs=TOLERANCE)
    # the true response lies between the bounds
    assert lower.mean() < own**-0.5 < upper.mean() < 1


@pytest.mark.parametrize(
    "bad", [np.ones((1, 9, 2)), np.ones((3, 2, 2)), np.full((2, 9, 2), np.nan)]
)
def test_too_few_recordings_are_refused(bad):
    for function in (split_half_ceiling, inter_subject_ceiling):
        with pytest.raises(InputError, match="presented several times"):
            function(bad)


def test_an_encoding_model_beside_its_ceiling():
    rng = np.random.default_rng(2)
    features = rng.normal(size=(600, 4))
    weights = rng.normal(size=(4, 5)) * [1, 1, 1, 1, 0]
    noise = 1.5
    x = features @ weights + noise * rng.normal(size=(2, 600, 5))
    model = fit_encoding(
        features, x[0], fitted_on=["a"], groups=list(np.arange(600) // 100), delays=(0,), voxels=5
    )
    ceiling = split_half_ceiling(x)
    found = model.beside_ceiling(ceiling)
    assert found.of == 5
    # a linear model of a linear response reaches its ceiling
    assert found.share == pytest.approx(1, abs=0.1)
    with pytest.raises(InputError, match="ceiling must be"):
        model.beside_ceiling(ceiling[:3])
    none = beside_ceiling([0.1, 0.2], [0.0, 0.05])
    assert (none.voxels, none.share) == (0, None)
    assert "no voxel" in none.reason


class Windows:
    """A store of windows whose means are given numbers."""

    def __init__(self, store, values, keys):
        """`values` (N, V) in standard deviations; `keys` names person and stimulus of each."""
        first = store.trials[0]
        self.trials = [
            replace(first, trial_id=f"t{i}", subject=person, stimulus=stimulus)
            for i, (person, stimulus) in enumerate(keys)
        ]
        self.by_id = {t.trial_id: t for t in self.trials}
        shape = (1, values.shape[1])
        self.scale, self.mean, self.inv_std = 0.001, np.zeros(shape), np.ones(shape)
        self._values = dict(zip(self.by_id, np.rint(values * 1000).astype(np.int16), strict=True))

    def window(self, trial_id):
        return np.stack([self._values[trial_id]] * 4)[:, None]


def keys_of(people, repeats, stimuli):
    return [(p, f"s{n}") for p in people for _ in range(repeats) for n in range(stimuli)]


def ceilings(store, x, keys):
    view = Windows(store, x.reshape(-1, x.shape[-1]), keys)
    return store_ceiling.__wrapped__(view, list(view.by_id))


def test_windows_of_repeated_stimuli(store):
    _, x = simulated(4, 1.0, stimuli=200, voxels=50)
    found = ceilings(store, x, keys_of(["01"], 4, 200))
    repeats = found[REPEATS]
    assert repeats["median"] == pytest.approx(0.5**0.5, abs=TOLERANCE)
    assert (repeats["stimuli"], repeats["windows"], repeats["people"]) == (200, 800, 1)
    assert repeats["two_way"]["value"] > 0.98
    assert repeats["top1"]["chance"] == pytest.approx(1 / 200)
    low, high = repeats["two_way"]["interval"]
    assert low <= repeats["two_way"]["value"] <= high
    assert "that two people share" in found[PEOPLE]["reason"]
    lines = ceiling_lines({"noise_ceiling": found})
    assert "right of two" in lines[0]
    assert "not estimable, needs 5 stimuli" in lines[1]


def test_windows_of_several_people(store):
    _, x = simulated(3, 1.0, stimuli=150, voxels=40)
    found = ceilings(store, x, keys_of(["01", "02", "03"], 1, 150))
    people = found[PEOPLE]
    assert people["median"] == pytest.approx((2 * 1.5) ** -0.5, abs=2 * TOLERANCE)
    assert people["upper"] > people["median"]
    assert people["people"] == 3
    assert "occur twice" in found[REPEATS]["reason"]


def test_noise_is_identified_at_chance(store):
    x = np.random.default_rng(4).normal(size=(2, 120, 30))
    found = ceilings(store, x, keys_of(["01"], 2, 120))[REPEATS]
    low, high = found["two_way"]["interval"]
    assert low < 0.5 < high
    assert found["top1"]["value"] < 0.05


def test_people_who_share_no_five_stimuli(store):
    x = np.random.default_rng(5).normal(size=(1, 12, 30))
    keys = [(f"0{i // 6}", f"s{i % 6 if i % 6 < 3 else i}") for i in range(12)]
    found = ceilings(store, x, keys)
    assert found[PEOPLE]["reason"].endswith("found 3")
    assert found[REPEATS]["reason"].endswith("found 0")


def test_a_real_store_says_why_it_has_none(store):
    found = store_ceiling(store, store.split.test)
    # one test person, who sees every clip once
    assert found[REPEATS]["reason"].endswith("found 0")
    assert found[PEOPLE]["reason"].endswith("found 0")
    with pytest.raises(InputError, match="must be in the store"):
        store_ceiling(store, ["nobody"])


def test_a_constant_voxel_has_no_ceiling():
    """Rounding leaves the same residue in every repeat, which would correlate perfectly."""
    assert split_half_ceiling(np.full((2, 3, 1), 0.1)).tolist() == [0.0]
