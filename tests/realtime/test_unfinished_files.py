"""Files that are still written: read when they are complete, or given up after some patience."""

from __future__ import annotations

import os

import make_dicom
import numpy as np
import pytest
from folder_items import indices, nifti, rest, take, volume

from fastbrain.realtime import BadVolume, Volume


@pytest.mark.parametrize("patience", [None, 3.0])
def test_a_volume_with_a_missing_slice(tmp_path, open_folder, clock, patience):
    source = open_folder(patience_s=patience)
    for index, left_out in ((0, 2), (1, None)):
        for number, data in enumerate(make_dicom.slices(volume(index), index)):
            if number != left_out:
                (tmp_path / f"{index}_{number}").write_bytes(data)
    if patience is None:
        bad, good = take(source, 2)
    else:
        (good,) = take(source, 1)
        start = clock.now()
        (bad,) = take(source, 1)
        assert clock.now() - start == pytest.approx(patience, abs=0.1)
    assert (bad.index, good.index) == (0, 1)
    assert bad.reason == "4 of 5 slices of a volume arrived."


@pytest.mark.parametrize("kind", ["dicom", "nifti"])
@pytest.mark.parametrize("name", ["v_2.tmp", "v_2.part", ".v_2", "v_2~"])
def test_unfinished_names_are_left_alone(tmp_path, open_folder, kind, name):
    source = open_folder(kind)
    suffix = "nii" if kind == "nifti" else "dcm"
    data = volume(0).astype(np.int16)
    whole = nifti(tmp_path / ".x.nii", data) if kind == "nifti" else make_dicom.mosaic(data, 1)
    (tmp_path / name).write_bytes(whole)
    assert rest(source) == []
    os.rename(tmp_path / name, tmp_path / f"v_2.{suffix}")
    (item,) = take(source, 1)
    assert item.index == 1
    np.testing.assert_array_equal(item.data, data)


@pytest.mark.parametrize("kind", ["dicom", "nifti", "nifti.gz"])
def test_a_file_that_grows_is_read_when_it_is_complete(tmp_path, open_folder, kind):
    data = volume(0).astype(np.int16)
    suffix = {"dicom": "dcm", "nifti": "nii", "nifti.gz": "nii.gz"}[kind]
    folder = tmp_path / ".there"
    folder.mkdir()
    if kind == "dicom":
        whole = make_dicom.mosaic(data)
    else:
        whole = nifti(folder / f"a.{suffix}", data)
    source = open_folder(kind.split(".")[0])
    with open(tmp_path / f"v_1.{suffix}", "wb") as file:
        for part in range(8):
            assert rest(source, 3) == []
            file.write(whole[len(whole) * part // 8 : len(whole) * (part + 1) // 8])
            file.flush()
        # the file is not closed yet
        (item,) = take(source, 1)
    np.testing.assert_array_equal(item.data, data)
    assert rest(source) == []


def test_a_file_of_reserved_size_is_looked_at_again(tmp_path, open_folder):
    whole = make_dicom.mosaic(volume(0))
    source = open_folder()
    with open(tmp_path / "a.dcm", "wb") as file:
        file.truncate(len(whole))
        assert rest(source) == []
        file.write(whole)
    assert indices(take(source, 1)) == [0]


@pytest.mark.parametrize("kind", ["dicom", "nifti"])
@pytest.mark.parametrize("patience", [None, 5.0])
def test_a_truncated_file_is_given_up(tmp_path, open_folder, clock, kind, patience):
    source = open_folder(kind, patience_s=patience)
    suffix = "nii" if kind == "nifti" else "dcm"

    def whole(index: int) -> bytes:
        data = volume(index).astype(np.int16)
        if kind == "dicom":
            return make_dicom.mosaic(data, index)
        return nifti(tmp_path / ".x.nii", data)

    cut = whole(0)[:-100]
    (tmp_path / f"JANE_DOE_1.{suffix}").write_bytes(cut)
    assert rest(source) == []
    start = clock.now()
    if patience is None:
        (tmp_path / f"v_2.{suffix}").write_bytes(whole(1))
        bad, good = take(source, 2)
        assert good.index == 1
    else:
        (bad,) = take(source, 1)
        assert patience - 0.5 < clock.now() - start < patience + 0.1
    assert isinstance(bad, BadVolume)
    assert bad.index == 0
    assert "JANE" not in bad.reason
    assert rest(source) == []
    # it is looked at again if it grows after all
    (tmp_path / f"JANE_DOE_1.{suffix}").write_bytes(whole(0))
    assert indices(take(source, 1)) == [0]


def test_a_file_that_was_finished_meanwhile_is_not_given_up(tmp_path, open_folder):
    source = open_folder(patience_s=None)
    whole = [make_dicom.mosaic(volume(index), index) for index in range(2)]
    (tmp_path / "0.dcm").write_bytes(whole[0][:-100])
    assert rest(source) == []
    # both are complete at the next look, which starts with the new name
    (tmp_path / "0.dcm").write_bytes(whole[0])
    (tmp_path / "1.dcm").write_bytes(whole[1])
    found = take(source, 2)
    assert indices(found) == [0, 1]
    assert all(isinstance(item, Volume) for item in found)
    assert rest(source) == []


def test_a_growing_file_is_waited_for(tmp_path, open_folder, clock):
    source = open_folder(patience_s=1.0)
    whole = make_dicom.mosaic(volume(0))
    for part in range(1, 20):
        (tmp_path / "a.dcm").write_bytes(whole[: len(whole) * part // 20])
        assert rest(source, 40) == []  # 0.8 s
    (tmp_path / "a.dcm").write_bytes(whole)
    assert indices(take(source, 1)) == [0]
