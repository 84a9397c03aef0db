"""Runs pushed volume by volume against the preparation of whole scans."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from simulated_head import head

from fastbrain.data import plan_like, write_store
from fastbrain.data.store.planning_like import scan_records
from fastbrain.errors import InputError
from fastbrain.realtime.preprocess import PreprocessSettings, VolumePipeline, rigid_matrix
from fastbrain.realtime.volume import Volume

STILL = PreprocessSettings(motion="none")


def whole(prepared):
    return PreprocessSettings(
        statistics="run so far", n_volumes=len(prepared.volumes), motion="none"
    )


def pushed(pipeline, volumes):
    return [pipeline.push(volume) for volume in volumes]


def with_data(volume, data, **changes):
    return replace(volume, data=data, **changes)


def test_the_last_window_is_that_of_the_whole_scan(prepared):
    """Equal steps, but for the rounding of values near a half: the offline sums are float32."""
    pipeline = VolumePipeline.from_run(prepared.store, settings=whole(prepared))
    last = pushed(pipeline, prepared.volumes)[-1]
    assert last.held is None
    difference = np.abs(last.window.astype(int) - prepared.window(last.index))
    assert last.window.dtype == np.int16
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.005


def test_each_window_resembles_that_of_the_whole_scan(prepared):
    """The newest volumes lie at the end of a fit: the past alone cannot tell drift from signal.

    Median correlation over the windows of this scan: 0.93 to 0.95 with decaying statistics, 0.92
    to 0.96 with those of the run so far.
    """
    for settings in (STILL, whole(prepared)):
        pipeline = VolumePipeline.from_run(prepared.store, settings=settings)
        found = [r for r in pushed(pipeline, prepared.volumes) if r.window is not None]
        assert len(found) > 100
        shared = [prepared.correlation(r.window, r.index) for r in found]
        assert np.median(shared) > 0.9
        assert np.quantile(shared, 0.1) > 0.8


def test_windows_are_those_of_the_scan_so_far_without_cosines(usual, tmp_path):
    """Up to 64 s a filter of 128 s has no cosine: a scan that ends there is prepared alike."""
    import nibabel as nib

    n = 30
    image = nib.load(usual.bold)
    nib.save(image.slicer[..., :n], tmp_path / "short_bold.nii")
    plan = plan_like(scan_records([tmp_path / "short_bold.nii"]), usual.store, every=1)
    offline = write_store(plan, tmp_path / "short")
    pipeline = VolumePipeline.from_run(usual.store, settings=whole(usual))
    found = pushed(pipeline, usual.volumes[:n])[-1].window
    (run,) = offline.info.runs
    difference = np.abs(found.astype(int) - offline.run(run)[-found.shape[0] :])
    assert difference.max() <= 1


def test_windows_answer_the_stimulus_one_delay_before(usual):
    settings = replace(STILL, start_time_s=1.0)
    found = pushed(VolumePipeline.from_run(usual.store, settings=settings), usual.volumes[:20])
    # four volumes of 2 s, 4 s after the onset, on a clock that began 1 s before volume 0
    assert found[10].onset_s == (10 - 3) * 2.0 - 4.0 + 1.0
    onsets = [w.onset for w in usual.offline.trials]
    assert found[10].onset_s - 1.0 == pytest.approx(onsets[7])


def test_windows_wait_for_the_warm_up(usual):
    found = pushed(VolumePipeline.from_run(usual.store, settings=STILL), usual.volumes[:12])
    assert [r.window is None for r in found] == [True] * 9 + [False] * 3
    assert found[3].held == "warming up: 4 of 10 volumes"
    assert all(r.motion is None and r.displacement_mm is None for r in found)
    assert [r.tsnr is None for r in found] == [True] * 7 + [False] * 5
    assert set(found[-1].stages_s) == {"motion", "resample", "statistics", "window"}


def test_a_still_head_moves_nothing(usual):
    """With motion estimated but absent, windows differ by the interpolation alone."""
    moving = VolumePipeline.from_run(usual.store)
    still = VolumePipeline.from_run(usual.store, settings=STILL)
    for volume in usual.volumes:
        one, other = moving.push(volume), still.push(volume)
        assert np.abs(one.motion[:3]).max() < 0.1
        assert one.displacement_mm < 0.5
    alive = usual.store.inv_std > 0
    pair = [r.window[:, alive].astype(float).ravel() for r in (one, other)]
    assert np.corrcoef(*pair)[0, 1] > 0.95


@pytest.mark.parametrize("interpolation", ["linear", "cubic"])
def test_motion_is_corrected(usual, interpolation):
    """After a motion of 2 mm and 2 degrees, windows resemble those of the still head again."""
    centre = np.zeros(3)
    motion = np.array([2.0, -1.0, 1.5, 0.02, 0.03, -0.02])
    moved = head(usual.volumes[0].data.shape, usual.volumes[0].affine,
                 motion=rigid_matrix(motion, centre))  # fmt: skip
    still = head(usual.volumes[0].data.shape, usual.volumes[0].affine)
    settings = PreprocessSettings(interpolation=interpolation)
    pipeline = VolumePipeline.from_run(usual.store, settings=settings)
    for volume in usual.volumes[:40]:
        pipeline.push(volume)
    rng = np.random.default_rng(0)
    found = []
    for i in range(40, 60):
        values = moved * (1 + 0.01 * rng.normal(size=moved.shape)) / 0.1
        found.append(pipeline.push(with_data(usual.volumes[i], values.astype(np.int16))))
    assert found[0].held.startswith("volume 40: the head moved")
    assert found[0].displacement_mm > 3
    assert all(r.displacement_mm < 0.9 for r in found[1:])
    raw = np.abs(moved - still)[still > 300].mean()
    assert raw > 20  # intensity of about 1000: uncorrected, a change of some percent
    assert found[-1].motion[3:] == pytest.approx(motion[3:], abs=0.005)


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
    np.testing.assert_allclose(found[21].window[-2], found[21].window[-3], atol=200)
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
    assert found[0].held.startswith("warming up") or "3 of 4" in found[0].held
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
        "axes": with_data(volume, data[None]),
        "letters": with_data(volume, data.astype("U1")),
        "complex": with_data(volume, data.astype(complex)),
        "NaN in the affine": replace(volume, affine=np.full((4, 4), np.nan)),
        "flat affine": replace(volume, affine=np.diag([1.0, 1.0, 0.0, 1.0])),
        "NaN in the time": replace(volume, tr_s=float("nan")),
    }


@pytest.mark.parametrize(
    "kind",
    ["shape", "position", "time", "axes", "letters", "complex", "NaN in the affine", "flat affine",
     "NaN in the time"],
)  # fmt: skip
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


def test_volumes_on_another_grid_are_interpolated_as_whole_scans_are(usual, tmp_path):
    """Cut by one voxel on each side: the grid differs, the voxels do not."""
    pipeline = VolumePipeline.from_run(usual.store, settings=whole(usual))
    same = VolumePipeline.from_run(usual.store, settings=whole(usual))
    for volume in usual.volumes:
        affine = volume.affine.copy()
        affine[:3, 3] += affine[:3, :3] @ [0, 0, -1]
        padded = np.pad(volume.data, ((1, 0), (0, 0), (0, 0)), mode="edge")
        found = pipeline.push(with_data(volume, padded, affine=affine))
        wanted = same.push(volume)
    difference = np.abs(found.window.astype(int) - wanted.window)
    assert difference.max() <= 1


def test_an_alignment_moves_the_model_to_the_person(usual):
    there = np.eye(4)
    there[:3, 3] = [20.0, -10.0, 5.0]
    pipeline = VolumePipeline.from_run(usual.store, settings=replace(STILL, alignment=there))
    same = VolumePipeline.from_run(usual.store, settings=STILL)
    for volume in usual.volumes[:20]:
        found = pipeline.push(replace(volume, affine=there @ volume.affine))
        wanted = same.push(volume)
    difference = np.abs(found.window.astype(int) - wanted.window)
    assert difference.max() <= 1


def test_windows_outside_the_limits_are_held(usual):
    """A head elsewhere is no spike if it is there from the start, but its mean image differs."""
    pipeline = VolumePipeline.from_run(usual.store, settings=STILL)
    for volume in usual.volumes[:30]:
        found = pipeline.push(with_data(volume, np.roll(volume.data, (2, 4), (0, 1))))
    assert found.window is None
    assert "mean image correlates" in found.held or "no signal" in found.held


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
    with pytest.raises(InputError, match="six finite motion parameters"):
        pipeline.push(replace(usual.volumes[3], motion=np.zeros(5)))


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


def held_bytes(value, seen=None):
    """Bytes of the arrays and tensors that an object holds."""
    seen = set() if seen is None else seen
    if id(value) in seen:
        return 0
    seen.add(id(value))
    if isinstance(value, np.ndarray):
        return value.nbytes
    if hasattr(value, "untyped_storage"):
        return value.untyped_storage().nbytes()
    if isinstance(value, (list, tuple)):
        return sum(held_bytes(v, seen) for v in value)
    if isinstance(value, dict):
        return sum(held_bytes(v, seen) for v in value.values())
    return held_bytes(vars(value), seen) if hasattr(value, "__dict__") else 0


@pytest.mark.parametrize(
    "values",
    [
        {"statistics": "run so far"},
        {"n_volumes": 10},
        {"statistics": "run so far", "n_volumes": 0},
        {"memory_s": 0.0},
        {"max_replaced": 1.5},
        {"max_displacement_mm": -1.0},
        {"warm_up_s": -1.0},
        {"motion": "afni"},
        {"interpolation": "spline"},
        {"alignment": np.zeros((4, 4))},
        {"alignment": np.eye(3)},
    ],
)
def test_impossible_settings_are_refused(values):
    with pytest.raises(InputError, match="PreprocessSettings"):
        PreprocessSettings(**values)


@pytest.mark.parametrize("n_volumes", [1, 4])
def test_a_planned_run_too_short_for_the_filter_is_refused(usual, n_volumes):
    settings = replace(whole(usual), n_volumes=n_volumes)
    if n_volumes == 4:
        VolumePipeline.from_run(usual.store, settings=settings)
    else:
        with pytest.raises(InputError, match="volumes to remove"):
            VolumePipeline.from_run(usual.store, settings=settings)
