"""A view is a store that says so."""

from __future__ import annotations

import numpy as np
import pytest

from fastbrain.data import VoxelStore, WindowLoader
from fastbrain.errors import InputError
from fastbrain.evaluation import changed_store, common_trials, delayed_store


def test_a_view_is_a_store_with_another_fingerprint(store):
    view = changed_store(store, "twice", lambda _, run: 2.0 * run)
    trial = store.split.test[0]
    assert isinstance(view, VoxelStore)
    assert (view.window(trial) == 2 * store.window(trial)).all()
    assert view.fingerprint() != store.fingerprint()
    again = changed_store(view, "and one", lambda _, run: run + 1)
    assert (again.window(trial) == 2 * store.window(trial) + 1).all()
    assert "twice, and one" in again.name
    assert (store.window(trial) == store.run(store.by_id[trial].run_id)[4:8]).all()


def test_values_stay_within_int16(store):
    view = changed_store(store, "huge", lambda _, run: np.full(run.shape, 1e6))
    assert view.window(store.split.test[0]).max() == 32767


@pytest.mark.parametrize("change", [lambda _, run: run[1:], lambda _, run: run * np.nan])
def test_a_change_must_keep_shape_and_be_finite(store, change):
    with pytest.raises(InputError, match="must give finite"):
        changed_store(store, "broken", change).window(store.split.test[0])


def test_delays_move_windows(store):
    trials = common_trials(store, store.split.test, [-4, 0, 3])
    view = delayed_store(store, -4)
    for t in trials:
        start = store.by_id[t].start
        assert (view.window(t) == store.run(store.by_id[t].run_id)[start - 4 : start]).all()
    # first windows start at volume 4: they cannot start five volumes earlier
    assert len(common_trials(store, store.split.test, [-5])) < len(store.split.test)
    assert len(WindowLoader(view, trials, batch_size=8, shuffle=False)) > 0


def test_delays_out_of_the_run_are_refused(store):
    with pytest.raises(InputError, match="shorter delays"):
        common_trials(store, store.split.test, [1000])
    with pytest.raises(InputError, match="unknown"):
        common_trials(store, ["nobody"], [0])
