"""The affine is that of a sound form, normalised as the NIfTI reference does it, or none."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from fastbrain.data import load_volumes, read_mask
from fastbrain.errors import VolumeError

STORED = np.ones((4, 5, 6, 3), np.int16)
BASE = {"sform_code": 0, "qform_code": 1, "pixdim": {0: -1, 1: 2, 2: 3, 3: 4}}
QUATERNION = ("quatern_b", "quatern_c", "quatern_d")


def quaternion(values):
    return dict(zip(QUATERNION, values, strict=True))


def fields(note):
    return [(finding.field, finding.level) for finding in note]


def test_a_sound_qform_is_the_one_of_nibabel(tmp_path, write_header):
    rng = np.random.default_rng(0)
    for _ in range(20):
        turn = rng.standard_normal(4)
        turn *= np.sign(turn[0]) / np.linalg.norm(turn)
        path = write_header(tmp_path / "a.nii", STORED, **BASE, **quaternion(turn[1:]))
        volumes = load_volumes(path)
        np.testing.assert_allclose(volumes.affine, nib.load(path).affine, rtol=0, atol=1e-6)
        assert volumes.notes == ()


@pytest.mark.parametrize("excess", [3e-7, 7e-7, 1e-6, 9e-6])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_quaternion_over_one_by_rounding_is_a_half_turn(tmp_path, write_header, axis, excess):
    vector = np.zeros(3)
    vector[axis] = np.sqrt(1 + excess)
    path = write_header(
        tmp_path / "a.nii", STORED, **BASE, **quaternion(vector), qoffset_x=90, qoffset_y=-126
    )
    volumes = load_volumes(path)
    # a half turn about an axis keeps it and reverses both others; pixdim[0] < 0 reverses z
    signs = np.where(np.arange(3) == axis, 1, -1) * [1, 1, -1]
    expected = np.diag([*(signs * [2, 3, 4]), 1.0])
    expected[:2, 3] = 90, -126
    np.testing.assert_allclose(volumes.affine, expected, rtol=0, atol=1e-12)
    assert fields(volumes.notes) == [("qform", "note")]
    assert "by rounding and is normalised" in volumes.notes[0].message


BROKEN = [
    (quaternion([1.1, 0, 0]), "length 1"),
    (quaternion([1.0001, 0, 0]), "length 1"),
    (quaternion([np.nan, 0, 0]), "length 1"),
    (quaternion([np.inf, 0, 0]), "length 1"),
    ({"pixdim": {0: -1, 1: 2, 2: 0, 3: 4}}, "voxel sizes"),
    ({"pixdim": {0: -1, 1: 2, 2: -3, 3: 4}}, "voxel sizes"),
    ({"pixdim": {0: 3, 1: 2, 2: 3, 3: 4}}, "handedness"),
    ({"qoffset_x": np.nan}, "finite affine"),
    ({"pixdim": {0: 1, 1: 1e-3, 2: 1e-3, 3: 1e-3}}, "finite affine"),
]


@pytest.mark.parametrize(("damage", "reason"), BROKEN, ids=str)
def test_a_broken_qform_is_refused_and_never_guessed(tmp_path, write_header, damage, reason):
    path = write_header(tmp_path / "a.nii", STORED, **{**BASE, **damage})
    with pytest.raises(VolumeError, match=rf"a\.nii: qform must .*{reason}"):
        load_volumes(path)
    path = write_header(tmp_path / "m.nii", STORED[..., 0], **{**BASE, **damage})
    with pytest.raises(VolumeError, match=rf"m\.nii: qform must .*{reason}"):
        read_mask(path, shape=(6, 5, 4), affine=np.diag([2.0, 3, 4, 1]))


@pytest.mark.parametrize(("damage", "reason"), BROKEN, ids=str)
def test_a_sound_sform_stands_in_for_a_broken_qform(tmp_path, write_header, damage, reason):
    affine = np.diag([-2.0, 3, 4, 1])
    path = write_header(tmp_path / "a.nii", STORED, affine, **{**BASE, **damage, "sform_code": 1})
    volumes = load_volumes(path)
    np.testing.assert_array_equal(volumes.affine, affine)
    assert fields(volumes.notes) == [("qform", "note")]
    assert reason in volumes.notes[0].message
    assert volumes.notes[0].message.endswith("; sform is used.")


@pytest.mark.parametrize("damage", [{0: np.nan}, {0: np.inf}, {0: 0.0}], ids=str)
def test_a_sound_qform_stands_in_for_a_broken_sform(tmp_path, write_header, damage):
    affine = np.diag([2.0, 3, 4, 1])
    path = write_header(
        tmp_path / "a.nii", STORED, affine, qform_code=1, sform_code=1, srow_x=damage
    )
    volumes = load_volumes(path)
    np.testing.assert_array_equal(volumes.affine, affine)
    assert fields(volumes.notes) == [("sform", "note")]
    assert volumes.notes[0].message.endswith("; qform is used.")


def test_two_broken_forms_are_both_named(tmp_path, write_header):
    path = write_header(
        tmp_path / "a.nii", STORED, **BASE | {"sform_code": 2}, srow_x=np.nan, qoffset_x=np.nan
    )
    with pytest.raises(VolumeError, match=r"sform must.*Also: qform must"):
        load_volumes(path)


def test_forms_that_differ_are_noted(tmp_path, write_header):
    affine = np.diag([2.0, 3, 4, 1])
    for shift, expected in ((1.0, [("qform", "note")]), (0.05, [])):
        path = write_header(
            tmp_path / "a.nii", STORED, affine, sform_code=1, qform_code=1, qoffset_x=shift
        )
        notes = load_volumes(path).notes
        assert fields(notes) == expected
    assert (
        "1 mm"
        in load_volumes(
            write_header(tmp_path / "a.nii", STORED, affine, qform_code=1, qoffset_x=1.0)
        )
        .notes[0]
        .message
    )


def test_without_a_form_voxel_sizes_alone_are_known(tmp_path, write_header):
    path = write_header(tmp_path / "a.nii", STORED, **BASE | {"qform_code": 0})
    volumes = load_volumes(path)
    np.testing.assert_array_equal(volumes.affine, np.diag([2.0, 3, 4, 1]))
    assert fields(volumes.notes) == [("sform_code", "note")]
    for size in (0, -3, np.nan):
        damage = BASE | {"qform_code": 0, "pixdim": {1: 2, 2: size, 3: 4}}
        with pytest.raises(VolumeError, match="got no form and pixdim"):
            load_volumes(write_header(tmp_path / "a.nii", STORED, **damage))
