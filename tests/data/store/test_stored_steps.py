"""int8 stores: a step a run, an error that is stated, and windows like those of an int16 store."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from fastbrain.data import (
    StoreRows,
    VoxelStore,
    WindowSpec,
    audit_store,
    prepare_store,
    read_runs_table,
    split_by,
)
from fastbrain.data.store.stored_steps import LARGEST_STEP, StoredArray, from_steps, to_steps
from fastbrain.errors import StoreError


def by_run(trials):
    return split_by(trials, "run", train=["01"], val=["02"], test=["03"], closed_set=True)


OPTIONS = {"window": WindowSpec(4.0, 3), "kernel": (2, 2, 3), "split": by_run, "high_pass_s": 50.0}


@pytest.fixture
def stores(cohort, tmp_path) -> dict[str, VoxelStore]:
    runs = read_runs_table(cohort(subjects=1, trials=4))
    return {t: prepare_store(runs, tmp_path / t, dtype=t, **OPTIONS) for t in ("int16", "int8")}


@pytest.mark.parametrize("deviation", [3.0, 100.0, 997.0, 9000.0])
def test_the_error_is_half_a_step_and_the_rest_is_counted(deviation):
    values = np.rint(deviation * np.random.default_rng(0).standard_normal((101, 127)))
    values = values.clip(-32767, 32767).astype(np.int16)
    stored = to_steps(values, "int8")
    assert stored.values.dtype == np.int8
    back = from_steps(stored.values, stored.step)
    assert back.dtype == np.int16
    beyond = np.abs(values) > 127.5 * stored.step
    assert np.abs(back.astype(int) - values)[~beyond].max() <= stored.step / 2
    assert stored.clipped == int((np.abs(np.rint(values / stored.step)) > 127).sum())
    assert stored.clipped <= 1e-4 * values.size
    error = (back.astype(float) - values).var(axis=0)
    if stored.step > 1:
        expected = 10 * np.log10(np.median(values.astype(float).var(axis=0) / error))
        assert stored.snr_db == pytest.approx(expected, abs=0.02)
        # rounding of a normal signal that ends at 3.9 standard deviations gives 41 dB; a step
        # of a few units is rounded up
        assert stored.snr_db == pytest.approx(41 if stored.step > 9 else 38, abs=1)


def test_censored_volumes_do_not_widen_the_step():
    values = np.rint(100 * np.random.default_rng(0).standard_normal((101, 127))).astype(np.int16)
    plain = to_steps(values, "int8")
    spiked = values.copy()
    spiked[[0, 40]] = 32767
    stored = to_steps(spiked, "int8", censored=[0, 40])
    assert stored.step == plain.step < 10
    assert (stored.values[[0, 40]] == 127).all()
    others = np.delete(np.arange(101), [0, 40])
    np.testing.assert_array_equal(stored.values[others], plain.values[others])
    assert stored.snr_db == pytest.approx(plain.snr_db, abs=0.2)  # two volumes fewer
    assert 2 * 127 <= stored.clipped <= 2 * 127 + plain.clipped
    assert to_steps(spiked, "int8").step == LARGEST_STEP


def test_extremes():
    edge = np.array([[32767, -32767, 0], [32767, -32767, 0]], dtype=np.int16)
    stored = to_steps(edge, "int8")
    assert (stored.step, stored.clipped, stored.snr_db) == (LARGEST_STEP, 0, None)
    assert np.abs(from_steps(stored.values, stored.step).astype(int) - edge).max() <= 129
    small = np.array([[127, -127, 1]], dtype=np.int16)
    assert to_steps(small, "int8").step == 1
    zeros = to_steps(np.zeros((3, 2), np.int16), "int8")
    assert (zeros.step, zeros.clipped, zeros.snr_db) == (1, 0, None)
    assert to_steps(edge, "int16").values is edge


def test_windows_are_those_of_an_int16_store_within_half_a_step(stores):
    wide, small = stores["int16"], stores["int8"]
    assert small.scale == wide.scale
    assert small.fingerprint() != wide.fingerprint()
    for trial in wide.trials:
        step = small.info.runs[trial.run_id]["step"]
        assert step > 1
        found = small.window(trial.trial_id)
        assert found.dtype == np.int16
        off = np.abs(found.astype(int) - wide.window(trial.trial_id))
        assert np.quantile(off, 0.999) <= step / 2
        assert not found[:, ~small.grid.patch_mask].any()
    for run_id, facts in small.info.runs.items():
        assert small.run(run_id).shape == wide.run(run_id).shape
        size = [(s.path / "runs" / f"{run_id}.npy").stat().st_size for s in (small, wide)]
        assert size[0] < 0.52 * size[1]
        assert facts["snr_db"] > 30
    inside = small.grid.patch_mask
    np.testing.assert_allclose(small.inv_std[inside], wide.inv_std[inside], rtol=0.01)


def test_what_reads_a_store_reads_an_int8_one(stores):
    wide, small = stores["int16"], stores["int8"]
    ids = small.split.train
    rows, expected = StoreRows(small, ids), StoreRows(wide, ids)
    largest = max(facts["step"] for facts in small.info.runs.values())
    off = rows.columns(3, 40).astype(int) - expected.columns(3, 40)
    assert np.quantile(np.abs(off), 0.99) <= largest / 2
    assert audit_store(small).clean == audit_store(wide).clean
    volumes = small.volumes(small.trials[0].run_id)
    assert isinstance(volumes, StoredArray)
    np.testing.assert_array_equal(np.stack(list(volumes)), small.run(small.trials[0].run_id))


def test_a_store_is_sent_to_another_process_without_its_voxels(stores):
    for store in stores.values():
        window = np.array(store.window(store.trials[0].trial_id))
        data = pickle.dumps(store)
        assert len(data) < 200_000
        again = pickle.loads(data)
        np.testing.assert_array_equal(again.window(store.trials[0].trial_id), window)


@pytest.mark.parametrize(
    "change", [{"step": 0}, {"step": 300}, {"step": 1.5}, {"n_volumes": -1}], ids=str
)
def test_a_manifest_with_another_step_is_refused(stores, reseal, change):
    store = stores["int8"]
    runs = {name: {**facts, **change} for name, facts in store.info.runs.items()}
    reseal(store.path, runs=runs)
    with pytest.raises(StoreError, match="runs"):
        VoxelStore.open(store.path)


def test_a_manifest_with_another_type_is_refused(stores, reseal):
    reseal(stores["int8"].path, dtype="int16")
    store = VoxelStore.open(stores["int8"].path)
    with pytest.raises(StoreError, match="must be int16 of shape"):
        store.run(store.trials[0].run_id)
