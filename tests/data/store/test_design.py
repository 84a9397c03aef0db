"""Predicted responses are those of nilearn, and what a basis removes is what least squares says."""

from __future__ import annotations

import numpy as np
import pytest

from fastbrain.data import Trial, removed_shares, run_design, run_designs
from fastbrain.data.store.design import haemodynamic_response, removed_variance
from fastbrain.errors import InputError

TR_S = 2.0


def trial(onset, duration=2.0, *, run="r1", category="a", number=0):
    return Trial(
        trial_id=f"{run}-{number}-{onset}",
        run_id=run,
        subject="01",
        session="",
        run=run,
        onset=onset,
        duration=duration,
        start=0,
        frames=1,
        stimulus="",
        text="a text",
        category=category,
    )


@pytest.mark.parametrize("duration", [0.5, 3.0, 22.5])
def test_the_response_is_nilearns(duration):
    first_level = pytest.importorskip("nilearn.glm.first_level")
    times = np.arange(60) * TR_S
    event = np.array([[11.0], [duration], [1.0]])
    expected = first_level.compute_regressor(event, "spm", times)[0][:, 0]
    found = haemodynamic_response(times, 11.0, duration)
    # nilearn sums 50 samples a volume, and its kernel begins half a sample late
    assert np.corrcoef(found, expected)[0, 1] > 0.999


def test_responses_of_a_group_add_up():
    trials = [trial(10.0), trial(14.0), trial(20.0, category="b")]
    design = run_design(trials, n_volumes=40, tr=TR_S, key=lambda t: t.category)
    times = np.arange(40) * TR_S
    both = haemodynamic_response(times, 10.0, 2.0) + haemodynamic_response(times, 14.0, 2.0)
    assert design.names == ("a", "b")
    # a response ends after 32 s, where less than 1e-4 of it is left
    np.testing.assert_allclose(design.responses[:, 0], both, atol=1e-4)


def test_an_offset_moves_every_onset():
    late = run_design([trial(22.0)], n_volumes=40, tr=TR_S, key=lambda t: "a")
    moved = run_design([trial(10.0)], n_volumes=40, tr=TR_S, key=lambda t: "a", onset_offset_s=12)
    np.testing.assert_array_equal(late.responses, moved.responses)


@pytest.mark.parametrize("onset", [-100.0, 1000.0])
def test_an_event_outside_its_run_predicts_nothing(onset):
    design = run_design([trial(onset)], n_volumes=40, tr=TR_S, key=lambda t: "a")
    assert not design.responses.any()
    assert removed_shares([design], lambda run: np.ones((40, 1))) == {}


@pytest.mark.parametrize("trials", [[], [trial(1.0), trial(1.0, run="r2")]], ids=["none", "two"])
def test_a_design_is_of_one_run(trials):
    with pytest.raises(InputError, match="of one run"):
        run_design(trials, n_volumes=40, tr=TR_S, key=lambda t: "a")


@pytest.mark.parametrize(
    "kind", ["confounds", "constant", "ones", "dependent", "scaled", "nothing"]
)
def test_what_a_basis_removes_is_what_least_squares_says(kind):
    rng = np.random.default_rng(0)
    responses, basis = rng.standard_normal((50, 3)) + 7, rng.standard_normal((50, 4))
    basis = {
        "confounds": basis + 3,
        "constant": np.column_stack([np.full(50, 0.1), basis]),
        "ones": np.column_stack([np.ones(50), basis]),
        "dependent": np.column_stack([basis, basis[:, 0] - 2 * basis[:, 1]]),
        "scaled": basis * np.array([1e-3, 1.0, 1e3, 1e2]),
        "nothing": basis[:, :0],
    }[kind]
    removed, total = removed_variance(responses, basis)
    centred = responses - responses.mean(0)
    full = np.column_stack([np.ones(50), basis])
    left = responses - full @ np.linalg.lstsq(full, responses, rcond=1e-12)[0]
    np.testing.assert_allclose(total, (centred**2).sum(0))
    np.testing.assert_allclose(removed, total - (left**2).sum(0), rtol=1e-6, atol=1e-9)


def test_a_constant_response_has_no_variance():
    # the mean of 0.3 is not 0.3 in floating point
    removed, total = removed_variance(np.full((50, 2), 0.3), np.arange(50.0)[:, None])
    assert not removed.any()
    assert not total.any()


@pytest.mark.parametrize("basis", [np.ones((49, 1)), np.full((50, 1), np.nan), np.ones(50)])
def test_a_basis_that_does_not_fit_is_refused(basis):
    with pytest.raises(InputError, match="basis must be finite"):
        removed_variance(np.ones((50, 2)), basis)


def test_shares_are_of_the_variance_of_all_runs():
    designs = run_designs(
        [trial(10.0), trial(30.0, run="r2"), trial(50.0, run="r2", category="b")],
        lengths={"r1": 40, "r2": 60},
        tr=TR_S,
        key=lambda t: t.category,
    )

    def nuisance(run):
        return np.random.default_rng(len(run.responses)).standard_normal((len(run.responses), 5))

    parts = [removed_variance(run.responses, nuisance(run)) for run in designs]
    expected = sum(part[0][0] for part in parts) / sum(part[1][0] for part in parts)
    shares = removed_shares(designs, nuisance)
    assert shares["a"] == pytest.approx(expected)
    pooled = removed_shares(designs, nuisance, label=lambda _: "all")["all"]
    assert pooled == pytest.approx(
        sum(part[0].sum() for part in parts) / sum(part[1].sum() for part in parts)
    )
