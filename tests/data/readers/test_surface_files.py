"""CIFTI and GIFTI series: what they hold is read, what is damaged or of another kind is named."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from nibabel import cifti2, gifti
from surface_cohort import (
    AFFINE,
    TR,
    brain_models,
    series,
    sphere,
    write_dlabel,
    write_dtseries,
    write_func,
    write_surfaces,
)

from fastbrain.data.readers.cifti import load_cifti
from fastbrain.data.readers.gifti import load_gifti, pair_of, read_mesh
from fastbrain.data.readers.parcel_series import parcels_of
from fastbrain.errors import FastbrainError, InputError, VolumeError

FUZZED = 150
WIDTH = len(brain_models())


def dtseries(path, volumes=5, **changes):
    values = series(volumes, WIDTH, 0)
    return write_dtseries(path / "run.dtseries.nii", values, **changes), values


def test_grayordinates_of_a_file(tmp_path):
    path, values = dtseries(tmp_path)
    run = load_cifti(path)
    assert (run.shape, run.tr, run.notes) == ((5, 1, 1, WIDTH), TR, ())
    np.testing.assert_array_equal(run.raw()[:, 0, 0], values)
    np.testing.assert_array_equal(run.scaled(2, 4)[:, 0, 0], values[2:4])
    names = [s.name for s in run.locations.structures]
    assert names == ["CORTEX_LEFT", "CORTEX_RIGHT", "THALAMUS_LEFT", "THALAMUS_RIGHT"]
    left, box = run.locations.structures[0], run.locations.structures[3]
    assert left.n_vertices == len(sphere()[0])
    np.testing.assert_array_equal(left.vertices, np.arange(20, left.n_vertices))
    np.testing.assert_array_equal(box.affine, AFFINE)
    assert box.voxels.min(axis=0).tolist() == [6, 0, 0]


def test_locations_are_equal_for_equal_models_only(tmp_path):
    one, _ = dtseries(tmp_path)
    (tmp_path / "b").mkdir()
    same, _ = dtseries(tmp_path / "b", 7, tr=1.0)
    other = write_dtseries(
        tmp_path / "c.dtseries.nii", series(5, WIDTH - 2, 0), axis=brain_models(21)
    )
    digests = [load_cifti(path).locations.digest for path in (one, same, other)]
    assert digests[0] == digests[1] != digests[2]


def test_the_start_of_a_series_is_noted(tmp_path):
    path, _ = dtseries(tmp_path, start=8.0)
    assert "start_time" in load_cifti(path).notes[0].message


@pytest.mark.parametrize("given", [1.9, 2.01])
def test_another_repetition_time_is_refused(tmp_path, given):
    path, _ = dtseries(tmp_path)
    with pytest.raises(VolumeError, match="time step must agree with tr"):
        load_cifti(path, tr=given)
    with pytest.raises(InputError, match="tr must lie"):
        load_cifti(path, tr=99.0)


def test_other_cifti_files_are_named_as_what_they_are(tmp_path):
    maps = cifti2.Cifti2Image(series(3, WIDTH, 0), (cifti2.ScalarAxis(list("abc")), brain_models()))
    nib.save(maps, tmp_path / "maps.dtseries.nii")
    with pytest.raises(VolumeError, match="got ScalarAxis"):
        load_cifti(tmp_path / "maps.dtseries.nii")
    path, _ = dtseries(tmp_path)
    with pytest.raises(VolumeError, match=r"must end in \.dtseries"):
        load_cifti(path.rename(tmp_path / "run.nii"))
    turned = cifti2.Cifti2Image(series(WIDTH, 4, 0), (brain_models(), cifti2.SeriesAxis(0, 2, 4)))
    nib.save(turned, tmp_path / "turned.dtseries.nii")
    with pytest.raises(VolumeError, match="must be a series of volumes, got BrainModelAxis"):
        load_cifti(tmp_path / "turned.dtseries.nii")
    plain = nib.Nifti2Image(np.zeros((4, 4, 4, 5), dtype=np.int16), np.eye(4))
    nib.save(plain, tmp_path / "plain.nii")
    (tmp_path / "plain.nii").rename(tmp_path / "plain.dtseries.nii")
    with pytest.raises(VolumeError, match="intent_code"):
        load_cifti(tmp_path / "plain.dtseries.nii")


def test_parcel_series_of_cifti(tmp_path):
    models = brain_models()
    parts = [("B", models[:50]), ("A", models[50:90]), ("C", models[200:220])]
    axis = cifti2.ParcelsAxis.from_brain_models(parts)
    values = series(6, 3, 1)
    path = tmp_path / "run.ptseries.nii"
    nib.save(cifti2.Cifti2Image(values, (cifti2.SeriesAxis(0, TR, 6), axis)), path)
    run = load_cifti(path)
    assert run.locations.parcels == ("B", "A", "C")
    taken = run.take(("C", "B"))
    np.testing.assert_array_equal(taken.raw()[:, 0, 0], values[:, [2, 0]])


def test_means_of_labels(tmp_path):
    path, values = dtseries(tmp_path)
    keys = np.zeros(WIDTH, dtype=int)
    keys[10:60], keys[60:70], keys[180:] = 7, 3, 5
    atlas = write_dlabel(tmp_path / "atlas.dlabel.nii", keys, {3: "small", 5: "sub", 7: "large"})
    run = parcels_of(load_cifti(path), atlas)
    assert run.locations.parcels == ("small", "sub", "large")
    truth = np.stack([values[:, keys == k].mean(axis=1, dtype=float) for k in (3, 5, 7)], axis=1)
    np.testing.assert_allclose(run.raw()[:, 0, 0], truth, rtol=1e-6)
    two = write_dlabel(tmp_path / "two.dlabel.nii", [keys, keys[::-1]], {3: "a", 5: "b", 7: "c"})
    with pytest.raises(VolumeError, match="must hold one map of labels, got 2"):
        parcels_of(load_cifti(path), two)
    with pytest.raises(VolumeError, match=r"must be a \.dlabel"):
        parcels_of(load_cifti(path), path)


@pytest.mark.parametrize("damage", ["truncated", "longer header", "xml", "bits"])
def test_damaged_cifti_files_are_refused_or_read(tmp_path, damage):
    path, _ = dtseries(tmp_path)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for i in range(FUZZED if damage in ("bits", "truncated") else 10):
        data = bytearray(whole)
        if damage == "truncated":
            data = data[: rng.integers(0, len(data))]
        elif damage == "longer header":
            # dim[5] of the header of NIfTI-2: number of volumes
            data[56:64] = int(rng.integers(6, 2**40)).to_bytes(8, "little")
        elif damage == "xml":
            at = 560 + int(rng.integers(0, 3000))
            data[at : at + 8] = b"<xml/>\0&"
        else:
            at = int(rng.integers(0, 4000))
            data[at] ^= 1 << int(rng.integers(0, 8))
        target = tmp_path / f"{i}.dtseries.nii"
        target.write_bytes(data)
        try:
            run = load_cifti(target)
            assert run.raw().shape == run.shape
        except FastbrainError:
            refused += 1
    assert refused or damage == "bits"
    if damage != "bits":
        assert refused >= 8


def pair(root, volumes=6, **changes):
    left, right = (root / f"sub-1_hemi-{side}_bold.func.gii" for side in "LR")
    count = len(sphere()[0])
    values = [series(volumes, count, seed) for seed in (1, 2)]
    for each in values:
        each[:, :20], each[:, 20] = 0, np.nan
    write_func(left, values[0], **changes)
    write_func(right, values[1], **changes)
    return left, right, np.concatenate(values, axis=1)


def test_a_pair_of_surfaces(tmp_path):
    left, right, values = pair(tmp_path)
    assert pair_of(left) == pair_of(right) == (left, right)
    run = load_gifti(right)
    assert (run.shape, run.tr) == ((6, 1, 1, values.shape[1]), TR)
    np.testing.assert_array_equal(run.raw()[:, 0, 0], values)
    wall = np.zeros(values.shape[1], dtype=bool)
    wall[:21] = wall[66 : 66 + 21] = True
    np.testing.assert_array_equal(run.valid, ~wall)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"tr": None}, "repetition time"),
        ({"structure": "CortexLeft"}, "must be CORTEX_RIGHT"),
        ({"intent": "NIFTI_INTENT_LABEL"}, "got a mesh or labels"),
    ],
)
def test_other_gifti_files_are_named_as_what_they_are(tmp_path, change, said):
    left, *_ = pair(tmp_path, **change)
    with pytest.raises(VolumeError, match=said):
        load_gifti(left)


def test_pairs_must_be_whole(tmp_path):
    left, right, values = pair(tmp_path)
    write_func(right, values[:3, :66])
    with pytest.raises(VolumeError, match="as many volumes"):
        load_gifti(left)
    right.unlink()
    with pytest.raises(VolumeError, match="beside it"):
        load_gifti(left)
    with pytest.raises(VolumeError, match="hemi-L or hemi-R"):
        load_gifti(left.rename(tmp_path / "left.func.gii"))


def test_one_array_may_hold_all_volumes(tmp_path):
    left, right, values = pair(tmp_path)
    for path, part in ((left, values[:, :66]), (right, values[:, 66:])):
        array = gifti.GiftiDataArray(
            np.ascontiguousarray(part.T), intent="NIFTI_INTENT_TIME_SERIES"
        )
        nib.save(gifti.GiftiImage(darrays=[array]), path)
    np.testing.assert_array_equal(load_gifti(left, tr=TR).raw()[:, 0, 0], values)


@pytest.mark.parametrize("damage", ["truncated", "text"])
def test_damaged_gifti_files_are_refused(tmp_path, damage):
    left, right, _ = pair(tmp_path, volumes=2)
    whole = left.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(25):
        at = int(rng.integers(10, len(whole) - 20))
        if damage == "truncated":
            left.write_bytes(whole[:at])
        else:
            left.write_bytes(whole[:at] + b"\0<&%" + whole[at + 4 :])
        with pytest.raises(FastbrainError):
            load_gifti(left)
    left.write_bytes(b"")
    with pytest.raises(VolumeError):
        load_gifti(right)


def test_meshes(tmp_path):
    left, _ = write_surfaces(tmp_path)
    xyz, faces = read_mesh(left)
    assert (xyz.shape, faces.shape) == ((66, 3), (128, 3))
    image = nib.load(left)
    image.darrays[1].data[0, 0] = 66
    nib.save(image, left)
    with pytest.raises(VolumeError, match="vertices below 66"):
        read_mesh(left)
    nib.save(gifti.GiftiImage(), left)
    with pytest.raises(VolumeError, match="one set of points"):
        read_mesh(left)


def test_real_contrast_maps(real_data):
    run = load_cifti(real_data / "had_bids" / "cifti" / "sub-01_cnr.dtseries.nii")
    assert run.shape == (1, 1, 1, 91282)
    assert run.locations.describe().startswith("29696 of 32492 vertices of CORTEX_LEFT")
    assert np.isfinite(run.raw()).all()
