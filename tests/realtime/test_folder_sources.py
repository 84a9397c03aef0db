"""Folders as sources: order, series, and what is not a volume of the run."""

from __future__ import annotations

import os
import re
import shutil
import threading

import make_dicom
import numpy as np
import pytest
from fake_clock import FakeClock
from folder_items import indices, nifti, rest, take, volume

from fastbrain.errors import InputError
from fastbrain.realtime import BadVolume, open_source
from fastbrain.realtime.sources import watch


def natural(path) -> list:
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", path.name)]


def test_real_siemens_series(real_data):
    source = open_source(f"dicom:{real_data / 'rt_dicom_pyneal' / 'siemens'}", clock=FakeClock())
    found = take(source, 60)
    assert indices(found) == list(range(60))
    assert {v.data.shape for v in found} == {(18, 64, 64)}
    assert {v.tr_s for v in found} == {1.0}
    # the times of this series were removed
    assert {v.acquired_s for v in found} == {None}
    assert rest(source) == []


def test_real_ge_series(real_data):
    import pydicom

    folder = real_data / "rt_dicom_pyneal" / "ge"
    found = take(open_source(f"dicom:{folder}", clock=FakeClock()), 12)
    assert indices(found) == list(range(12))
    files = sorted(folder.iterdir(), key=natural)
    for item in found:
        parts = [pydicom.dcmread(path) for path in files[item.index * 18 : item.index * 18 + 18]]
        parts.sort(key=lambda part: part.SliceLocation)
        np.testing.assert_array_equal(item.data, [part.pixel_array for part in parts])
        for z in (0, 17):
            corner = item.affine @ [0, 0, z, 1]
            # positions are written with six digits
            expected = np.array(parts[z].ImagePositionPatient, float) * [-1, -1, 1]
            np.testing.assert_allclose(corner[:3], expected, atol=2e-3)


def test_the_times_of_a_real_series(real_data):
    source = open_source(f"dicom:{real_data / 'dicom_to_nifti_gold/In/ep2d_Asc_2'}")
    found = take(source, 6)
    source.close()
    assert indices(found) == list(range(6))
    # the scanner states times to 2.5 ms
    np.testing.assert_allclose([v.acquired_s for v in found], 3.2 * np.arange(6), atol=2.6e-3)


def test_what_is_there_comes_first_in_order(tmp_path, open_folder):
    for index in (4, 0, 3, 1, 2):
        (tmp_path / f"z{9 - index}.dcm").write_bytes(make_dicom.mosaic(volume(index), index))
    source = open_folder()
    found = take(source, 5)
    assert indices(found) == [0, 1, 2, 3, 4]
    for item in found:
        np.testing.assert_array_equal(item.data, volume(item.index))
    assert [v.acquired_s for v in found] == [0, 2, 4, 6, 8]
    (tmp_path / "a.dcm").write_bytes(make_dicom.mosaic(volume(7), 7))
    (item,) = take(source, 1)
    assert (item.index, item.acquired_s) == (7, 14)


def test_times_past_midnight(tmp_path, open_folder):
    for index, time in enumerate(("235959.000000", "000001.000000")):
        change = {"AcquisitionTime": time}
        (tmp_path / f"{index}").write_bytes(make_dicom.mosaic(volume(0), index, change=change))
    assert [v.acquired_s for v in take(open_folder(), 2)] == [0, 2]


@pytest.mark.parametrize("kind", ["GE", "Philips"])
def test_slices_become_volumes(tmp_path, open_folder, kind):
    source = open_folder()
    slopes = [1.0, 1.5, 2.0, 2.5, 3.0]
    for index in range(3):
        options = {"maker": kind, "slopes": slopes} if kind == "Philips" else {"maker": kind}
        files = make_dicom.slices(volume(index), index, **options)
        order = np.random.default_rng(index).permutation(len(files))
        for number in order[:-1]:
            (tmp_path / f"{index}_{number}").write_bytes(files[number])
        assert rest(source) == []
        (tmp_path / f"{index}_{order[-1]}").write_bytes(files[order[-1]])
        (item,) = take(source, 1)
        expected = volume(index)
        if kind == "Philips":
            expected = expected * np.float32(slopes)[:, None, None]
        np.testing.assert_array_equal(item.data, expected)
        assert item.index == index
        np.testing.assert_allclose(item.affine, make_dicom.place(), atol=1e-8)


def test_slices_without_a_number_of_slices(tmp_path, open_folder, clock):
    for number, data in enumerate(
        make_dicom.slices(volume(0), maker="Philips", counted=False, slopes=[1.0] * 5)
    ):
        (tmp_path / f"{number}.dcm").write_bytes(data)
    refused = take(open_folder(), 5)
    assert len(refused) == 5
    assert all(isinstance(item, BadVolume) and "slices=" in item.reason for item in refused)
    (item,) = take(open_source(f"dicom:{tmp_path}", clock=clock, slices=5), 1)
    np.testing.assert_array_equal(item.data, volume(0))


def test_duplicates_come_again(tmp_path, open_folder):
    data = make_dicom.mosaic(volume(0))
    source = open_folder()
    (tmp_path / "a.dcm").write_bytes(data)
    assert indices(take(source, 1)) == [0]
    (tmp_path / "b.dcm").write_bytes(data)
    assert indices(take(source, 1)) == [0]
    # replaced, then removed and written again
    shutil.copy(tmp_path / "b.dcm", tmp_path / ".c")
    os.rename(tmp_path / ".c", tmp_path / "a.dcm")
    assert indices(take(source, 1)) == [0]
    os.unlink(tmp_path / "a.dcm")
    rest(source, 100)
    (tmp_path / "a.dcm").write_bytes(data)
    assert indices(take(source, 1)) == [0]
    assert rest(source, 200) == []


def test_a_share_that_changes_inodes(tmp_path, open_folder):
    (tmp_path / "a.dcm").write_bytes(make_dicom.mosaic(volume(0)))
    source = open_folder()
    assert indices(take(source, 1)) == [0]
    known = source._watch._known
    known["a.dcm"] = (known["a.dcm"][0] + 1, known["a.dcm"][1])
    assert rest(source, 200) == []


def other_series(index: int, number: int) -> bytes:
    change = {"SeriesInstanceUID": f"{make_dicom.SERIES}.{number}", "SeriesNumber": number}
    return make_dicom.mosaic(volume(index), index, change=change)


@pytest.mark.parametrize(("series", "expected"), [(None, 9), (8, 8), (f"{make_dicom.SERIES}.8", 8)])
def test_one_series_is_followed(tmp_path, open_folder, series, expected):
    for age, number in enumerate((9, 8)):
        path = tmp_path / f"{number}_0.dcm"
        path.write_bytes(other_series(0, number))
        os.utime(path, (1000 - age, 1000 - age))
    source = open_folder(series=series)
    found = take(source, 1)
    for number in (8, 9):
        (tmp_path / f"{number}_1.dcm").write_bytes(other_series(number, number))
    found += take(source, 1)
    assert indices(found) == [0, expected]
    assert rest(source) == []


def test_only_a_new_series(tmp_path, open_folder):
    (tmp_path / "8_0.dcm").write_bytes(other_series(0, 8))
    source = open_folder(series="new")
    assert rest(source) == []
    (tmp_path / "9_0.dcm").write_bytes(other_series(3, 9))
    assert indices(take(source, 1)) == [3]


def test_what_is_not_a_volume_of_the_run(tmp_path, open_folder, clock):
    source = open_folder(patience_s=2.0)
    (tmp_path / "0.dcm").write_bytes(make_dicom.mosaic(volume(0)))
    assert len(take(source, 1)) == 1
    (tmp_path / "protocol.txt").write_text("x" * 500)
    (tmp_path / "folder.dcm").mkdir()
    report = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.22"}
    (tmp_path / "report.dcm").write_bytes(make_dicom.mosaic(volume(0), 1, change=report))
    assert rest(source, 200) == []
    (tmp_path / "noise.dcm").write_bytes(bytes(range(256)) * 8)
    (tmp_path / "2.dcm").write_bytes(make_dicom.mosaic(make_dicom.voxels((5, 6, 8)), 2))
    echo = {"EchoTime": 50}
    (tmp_path / "3.dcm").write_bytes(make_dicom.mosaic(volume(3), 3, change=echo))
    bad = take(source, 3)
    assert all(isinstance(item, BadVolume) for item in bad)
    assert sorted(indices(bad), key=str) == [2, 3, None]
    assert rest(source, 200) == []


@pytest.mark.parametrize("numbers", [[0, 1, 2], [1, 2, 3]])
@pytest.mark.parametrize("there", [True, False])
def test_nifti_numbers(tmp_path, open_folder, numbers, there):
    def write() -> None:
        for number in numbers:
            nifti(tmp_path / f"run2_vol{number:03d}.nii.gz", volume(number).astype(np.int16))

    if there:
        write()
    source = open_folder("nifti")
    if not there:
        assert rest(source, 2) == []
        write()
    found = take(source, 3)
    assert indices(found) == [0, 1, 2]
    for item, number in zip(found, numbers, strict=True):
        np.testing.assert_array_equal(item.data, volume(number).astype(np.int16))
        np.testing.assert_array_equal(item.affine, np.diag([2.0, 2, 3, 1]))
        assert item.tr_s is None


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [(np.int16, np.int16), (np.uint8, np.int16), (np.uint16, np.float32), (np.float64, np.float32)],
)
def test_nifti_types(tmp_path, open_folder, dtype, expected):
    data = make_dicom.voxels(high=250, dtype=dtype)
    nifti(tmp_path / "a1.nii", data)
    (item,) = take(open_folder("nifti"), 1)
    assert item.data.dtype == expected
    np.testing.assert_array_equal(item.data, data)


def test_nifti_names_without_a_number(tmp_path, open_folder):
    nifti(tmp_path / "a.nii", volume(0).astype(np.int16))
    nifti(tmp_path / "b5.nii", volume(0).astype(np.int16))
    found = take(open_folder("nifti", first=7), 2)
    assert len(found) == 2
    assert all(isinstance(item, BadVolume) and item.index is None for item in found)


def test_folders_without_events(tmp_path, open_folder, monkeypatch, clock):
    monkeypatch.setattr(watch.FolderEvents, "names", lambda self: ({}, False))
    source = open_folder()
    assert rest(source, 5) == []
    (tmp_path / "0.dcm").write_bytes(make_dicom.mosaic(volume(0)))
    begin = clock.now()
    assert indices(take(source, 1)) == [0]
    assert clock.now() - begin <= watch.SLOW_SCAN_S + 0.05
    # now it is known that events do not come
    (tmp_path / "1.dcm").write_bytes(make_dicom.mosaic(volume(1), 1))
    begin = clock.now()
    assert indices(take(source, 1)) == [1]
    assert clock.now() - begin < 0.3


def test_close_ends_the_iteration(tmp_path):
    source = open_source(f"dicom:{tmp_path}")
    ended = threading.Event()

    def run() -> None:
        for _ in source:
            pass
        ended.set()

    thread = threading.Thread(target=run)
    thread.start()
    source.close()
    assert ended.wait(10)
    thread.join()
    source.close()
    assert list(source) == []


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="folder must exist"):
        open_source(f"dicom:{tmp_path / 'none'}")
