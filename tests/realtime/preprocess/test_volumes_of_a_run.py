"""Volumes that are missing, damaged or of another run, runs without a model, and memory."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from pushed_volumes import STILL, held_bytes, pushed, whole, with_data

from fastbrain.errors import InputError
from fastbrain.realtime.preprocess import PreprocessSettings, VolumePipeline
from fastbrain.realtime.volume import Volume

# int16 steps: what the drift changes from one volume to the next (23 in this scan), where two
# volumes of the scan differ by up to 877
DRIFT = 50


def test_a_spike_enters_neither_statistics_nor_windows(usual):
    """Everything after the window of the spike is as if the volume had been missing."""
    bad = 50
    volumes = list(usual.volumes[:70])
    spiked = [*volumes]
    spiked[bad] = with_data(volumes[bad], (volumes[bad].data * 2.5).astype(np.int16))
    with_spike = pushed(VolumePipeline.from_run(usual.store, settings=STILL), spiked)
    without = pushed(
        VolumePipeline.from_run(usual.store, settings=STILL), volumes[:bad] + volumes[bad + 1 :]
    )
    assert with_spike[bad].spike
    assert with_spike[bad].replaced
    assert [r.spike for r in with_spike].count(True) == 1
    assert with_spike[bad].held.startswith("volume 50: its mean over the brain")
    for one, other in zip(with_spike[bad + 1 :], without[bad:], strict=True):
        assert one.index == other.index
        np.testing.assert_array_equal(one.window, other.window)
        assert one.tsnr == other.tsnr


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_never_reaches_the_statistics(usual, bad):
    pipeline = VolumePipeline.from_run(usual.store, settings=STILL)
    for volume in usual.volumes[:40]:
        data = volume.data.astype(np.float32)
        if volume.index in (20, 21, 22):
            data[6, 9, 8] = bad
        found = pipeline.push(with_data(volume, data))
        if volume.index in (20, 21, 22):
            assert found.replaced
            assert not found.spike
            assert found.held.endswith("it has NaN or infinity in 1 brain voxels")
        if volume.index == 23:
            assert found.held == "3 of 4 volumes of the window are missing or not usable"
    assert found.held is None
    assert np.isfinite(found.tsnr)


def test_missing_volumes_are_filled_up_to_a_quarter_of_a_window(usual):
    pipeline = VolumePipeline.from_run(usual.store, settings=STILL)
    gone = {20, 30, 31, 32, 40, 41}
    found = {v.index: pipeline.push(v) for v in usual.volumes[:60] if v.index not in gone}
    # one of four volumes may be filled by the one before it
    assert found[21].held is None
    filled, before = (found[21].window[i].astype(int) for i in (-2, -3))
    assert np.abs(filled - before).max() < DRIFT
    assert found[33].held == "3 of 4 volumes of the window are missing or not usable"
    assert [i for i in range(33, 40) if found[i].held] == [33, 34]
    assert [i for i in range(42, 50) if found[i].held] == [42, 43]
    assert found[42].index == 42


def test_a_long_gap_costs_no_more_than_a_window(usual):
    pipeline = VolumePipeline.from_run(usual.store, settings=STILL)
    for volume in usual.volumes[:30]:
        pipeline.push(volume)
    far = 10_000_000
    found = [pipeline.push(replace(v, index=far + v.index)) for v in usual.volumes[30:40]]
    assert found[0].held == "3 of 4 volumes of the window are missing or not usable"
    assert [result.held is None for result in found] == [False] * 2 + [True] * 8
    assert found[0].index == far + 30


def test_a_run_may_be_joined_late(usual):
    found = pushed(VolumePipeline.from_run(usual.store, settings=STILL), usual.volumes[50:65])
    assert found[-1].held is None
    assert found[0].held == "warming up: 1 of 10 volumes"


@pytest.mark.parametrize("index", [0, 4, 5])
def test_volumes_that_come_twice_or_late_are_refused(usual, index):
    pipeline = VolumePipeline.from_run(usual.store, settings=STILL)
    pushed(pipeline, usual.volumes[:6])
    with pytest.raises(InputError, match="must come after volume 5"):
        pipeline.push(usual.volumes[index])
    assert pipeline.push(usual.volumes[6]).index == 6


def other_volumes(volume):
    shifted = volume.affine.copy()
    shifted[0, 3] += 1
    data = volume.data
    return {
        "shape": with_data(volume, data[:-1]),
        "position": replace(volume, affine=shifted),
        "time": replace(volume, tr_s=1.5),
    }


@pytest.mark.parametrize("kind", ["shape", "position", "time"])
def test_a_volume_of_another_run_is_refused_and_changes_nothing(usual, kind):
    pipeline = VolumePipeline.from_run(usual.store, settings=STILL)
    same = VolumePipeline.from_run(usual.store, settings=STILL)
    for volume in usual.volumes[:15]:
        if volume.index == 12:
            with pytest.raises(InputError, match="VolumePipeline"):
                pipeline.push(other_volumes(volume)[kind])
        one, other = pipeline.push(volume), same.push(volume)
    np.testing.assert_array_equal(one.window, other.window)


def test_a_first_volume_that_cannot_be_the_reference_is_refused(usual):
    pipeline = VolumePipeline.from_run(usual.store)
    first = usual.volumes[0]
    with pytest.raises(InputError, match="reference must"):
        pipeline.push(with_data(first, np.zeros_like(first.data)))
    away = first.affine.copy()
    away[:3, 3] += 200
    with pytest.raises(InputError, match="outside the field of view"):
        pipeline.push(replace(first, affine=away))
    assert pipeline.push(usual.volumes[1]).index == 1


def test_more_volumes_than_planned_are_refused(usual):
    settings = replace(whole(usual), n_volumes=60)
    pipeline = VolumePipeline.from_run(usual.store, settings=settings)
    pushed(pipeline, usual.volumes[:60])
    with pytest.raises(InputError, match="60 planned volumes"):
        pipeline.push(usual.volumes[60])


def test_a_monitor_follows_motion_tsnr_and_spikes(usual):
    volumes = list(usual.volumes[:40])
    volumes[30] = with_data(volumes[30], (volumes[30].data * 2.0).astype(np.int16))
    found = pushed(VolumePipeline.monitor(), volumes)
    assert all(r.window is None and r.onset_s is None for r in found)
    assert [r.index for r in found if r.spike] == [30]
    assert found[30].held.startswith("volume 30: its mean over the brain")
    assert found[31].held is None
    # noise of 1 % and a drift, smoothed by interpolation
    assert 60 < found[-1].tsnr < 130


def test_a_monitor_takes_a_mask_and_the_motion_of_its_source(usual):
    mask = np.zeros(usual.volumes[0].data.shape, dtype=bool)
    mask[6, 8:11, 8:11] = True
    settings = PreprocessSettings(motion="source")
    pipeline = VolumePipeline.monitor(settings=settings, mask=mask)
    given = np.array([0.1, 0.0, 0.0, 0.001, 0.0, 0.0])
    found = [pipeline.push(replace(v, motion=given * v.index)) for v in usual.volumes[:3]]
    assert found[2].motion == pytest.approx(given * 2)
    assert found[2].displacement_mm == pytest.approx(0.15)


def test_a_mask_of_another_shape_is_refused(usual):
    pipeline = VolumePipeline.monitor(mask=np.ones((3, 3, 3), dtype=bool))
    with pytest.raises(InputError, match="of the mask"):
        pipeline.push(usual.volumes[0])
    with pytest.raises(InputError, match="hold a voxel"):
        VolumePipeline.monitor(mask=np.zeros((3, 3, 3), dtype=bool))


def test_memory_does_not_grow(usual):
    """2,000 volumes: 5,000 bytes are a hundredth of what one more volume a push would take."""
    settings = replace(STILL, memory_s=60.0)
    pipeline = VolumePipeline.from_run(usual.store, settings=settings)
    base = [v.data for v in usual.volumes]

    def push(index):
        data = base[abs(index % 200 - 100)]  # there and back, without a jump
        return pipeline.push(Volume(index, data, usual.volumes[0].affine, None, 0.0, None))

    for index in range(500):
        push(index)
    tracemalloc.start()
    push(500)
    before, _ = tracemalloc.get_traced_memory()
    for index in range(501, 2000):
        push(index)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before < 5000 + 4 * usual.volumes[0].data.nbytes
    held = held_bytes(pipeline)
    push(2000)
    assert held_bytes(pipeline) == held
