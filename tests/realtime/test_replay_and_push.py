"""Specifications of sources, replayed runs, and volumes that are pushed."""

from __future__ import annotations

import threading
import time

import nibabel as nib
import numpy as np
import pytest
from fake_clock import FakeClock

from fastbrain.errors import FastbrainError, InputError
from fastbrain.realtime import BadVolume, PushSource, Volume, open_source


@pytest.fixture
def clock():
    return FakeClock(100.0)


def run(path, *, tr: float = 2.0, volumes: int = 5, dtype=np.int16, **header) -> np.ndarray:
    data = np.random.default_rng(0).integers(0, 900, (3, 5, 7, volumes)).astype(dtype)
    image = nib.Nifti1Image(data, np.diag([2.0, 3, 4, 1]))
    image.header.set_xyzt_units("mm", "sec")
    image.header["pixdim"][4] = tr
    if header:
        image.header.set_slope_inter(**header)
    nib.save(image, path)
    return data.transpose(3, 2, 1, 0)


def sample(index: int = 0, **fields) -> Volume:
    values = {
        "index": index,
        "data": np.zeros((2, 3, 4), np.int16),
        "affine": np.eye(4),
        "acquired_s": None,
        "completed_s": 0.0,
        "tr_s": None,
    }
    return Volume(**{**values, **fields})


@pytest.mark.parametrize(
    "spec", ["", "x", "dicom", "dicom:", "push:x", "afni:", "afni:x", "afni:70000", "http://x"]
)
def test_other_specifications_are_refused(spec):
    with pytest.raises(InputError, match="open_source: "):
        open_source(spec)


def test_the_message_names_all_forms():
    with pytest.raises(InputError) as caught:
        open_source("tape:x")
    for form in ("dicom:FOLDER", "nifti:FOLDER", "afni:PORT", "replay:FILE", "push"):
        assert form in str(caught.value)


@pytest.mark.parametrize(
    ("suffix", "speed"), [("", 1.0), ("@1", 1.0), ("@2.5", 2.5), ("@0.5", 0.5)]
)
def test_replay_keeps_the_pace(tmp_path, clock, suffix, speed):
    data = run(tmp_path / "a.nii.gz")
    source = open_source(f"replay:{tmp_path / 'a.nii.gz'}{suffix}", clock=clock)
    assert (source.name, source.tr_s) == ("replay", 2.0)
    seen, last = [], clock.now()
    for item in source:
        # a look takes no longer than poll_s
        assert clock.now() - last <= 0.02 + 1e-9
        last = clock.now()
        if item is not None:
            assert clock.now() == pytest.approx(100 + item.index * 2.0 / speed)
            assert item.completed_s == pytest.approx(clock.now())
            seen.append(item)
    assert [v.index for v in seen] == list(range(5))
    assert [v.acquired_s for v in seen] == [0, 2, 4, 6, 8]
    for item in seen:
        np.testing.assert_array_equal(item.data, data[item.index])
        assert item.data.dtype == np.int16
        np.testing.assert_array_equal(item.affine, np.diag([2.0, 3, 4, 1]))


def test_replay_states_when_a_late_volume_was_due(tmp_path, clock):
    run(tmp_path / "a.nii")
    source = iter(open_source(f"replay:{tmp_path / 'a.nii'}", clock=clock))
    assert next(source).completed_s == 100
    clock.advance(7)
    assert [next(source).completed_s for _ in range(3)] == [102, 104, 106]
    assert next(source) is None


def test_replay_without_waiting(tmp_path, clock):
    run(tmp_path / "b@3.nii")
    found = list(open_source(f"replay:{tmp_path / 'b@3.nii'}@inf", clock=clock))
    assert [v.index for v in found] == list(range(5))
    assert clock.now() == 100


def test_replay_of_scaled_values(tmp_path, clock):
    stored = run(tmp_path / "a.nii", slope=0.5, inter=3.0)
    found = list(open_source(f"replay:{tmp_path / 'a.nii'}@inf", clock=clock))
    np.testing.assert_array_equal([v.data for v in found], stored * 0.5 + 3)
    assert found[0].data.dtype == np.float32


def test_replay_can_be_given_the_repetition_time(tmp_path, clock):
    run(tmp_path / "a.nii", tr=0.0)
    with pytest.raises(FastbrainError, match="repetition time"):
        open_source(f"replay:{tmp_path / 'a.nii'}")
    source = open_source(f"replay:{tmp_path / 'a.nii'}", clock=clock, tr_s=0.8)
    assert [v.acquired_s for v in source if v is not None][1] == 0.8


@pytest.mark.parametrize(
    ("kind", "argument"),
    [
        ("nifti", {"series": 3}),
        ("nifti", {"slices": 30}),
        ("dicom", {"first": 1}),
        ("replay", {"mask": "mask.nii"}),
    ],
    ids=str,
)
def test_arguments_of_other_forms_are_refused(tmp_path, kind, argument):
    (name,) = argument
    with pytest.raises(InputError, match=f"open_source: {name} must be left out for {kind}"):
        open_source(f"{kind}:{tmp_path}", **argument)


@pytest.mark.parametrize("speed", ["0", "-1", "nan"])
def test_replay_refuses_other_speeds(tmp_path, speed):
    run(tmp_path / "a.nii")
    with pytest.raises(InputError, match="speed"):
        open_source(f"replay:{tmp_path / 'a.nii'}@{speed}")


def test_replay_ends_when_it_is_closed(tmp_path, clock):
    run(tmp_path / "a.nii")
    source = open_source(f"replay:{tmp_path / 'a.nii'}", clock=clock)
    volumes = iter(source)
    next(volumes)
    source.close()
    source.close()
    assert list(volumes) == []


def test_push(clock):
    source = open_source("push", clock=clock, tr_s=1.5)
    assert isinstance(source, PushSource)
    assert (source.name, source.tr_s) == ("push", 1.5)
    items = iter(source)
    assert next(items) is None
    assert clock.now() == pytest.approx(100.02)
    first, bad = sample(0), BadVolume(1, "damaged", 0.0)
    source.push(first)
    source.push(bad)
    assert [next(items), next(items), next(items)] == [first, bad, None]
    source.push(first)
    source.close()
    source.close()
    assert list(items) == [first]
    with pytest.raises(InputError, match="open"):
        source.push(first)


def test_push_is_bounded(clock):
    source = PushSource(clock=clock, maxsize=3)
    for index in range(10):
        source.push(sample(index))
    source.close()
    assert [v.index for v in source] == [7, 8, 9]
    assert source.dropped == 7


def test_push_from_another_thread():
    source = PushSource()
    seen = []

    def consume() -> None:
        seen.extend(item.index for item in source if item is not None)

    thread = threading.Thread(target=consume)
    thread.start()
    for index in range(20):
        source.push(sample(index))
        time.sleep(0)
    source.close()
    thread.join(10)
    assert not thread.is_alive()
    assert seen == list(range(20))


def test_push_takes_volumes_only():
    with pytest.raises(InputError, match="push: volume"):
        PushSource().push(np.zeros((2, 2, 2)))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("index", -1),
        ("data", np.zeros((2, 3), np.int16)),
        ("data", np.zeros((2, 3, 4))),
        ("data", np.zeros((0, 3, 4), np.int16)),
        ("data", np.zeros((4, 3, 2), np.int16).T),
        ("affine", np.eye(3)),
        ("affine", np.full((4, 4), np.nan)),
        ("affine", np.zeros((4, 4))),
        ("tr_s", 0.0),
        ("completed_s", float("nan")),
        ("motion", np.zeros(5)),
        ("motion", np.full(6, np.inf)),
    ],
)
def test_volumes_keep_their_contract(field, value):
    with pytest.raises(InputError, match=f"Volume: {field} must"):
        sample(**{field: value})
