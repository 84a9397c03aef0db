"""Images that are damaged, larger than allowed, absent or behind a link are refused by name."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nifti_run import SHAPE, edit, image
from nifti_run import plain as plain

from fastbrain.data import load_volumes
from fastbrain.errors import InputError, VolumeError


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"dim": {3: 0}}, "dim"),
        ({"dim": {3: -4}}, "dim"),
        ({"dim": {0: 0}}, "dim"),
        ({"dim": {0: 9}}, "dim"),
        ({"dim": {4: 30000}}, "truncated"),
        ({"dim": {1: 30000, 2: 30000, 3: 30000, 4: 30000}}, "at most"),
        ({"datatype": 32, "bitpix": 64}, "datatype"),
        ({"datatype": 77}, "datatype"),
        ({"scl_inter": np.nan}, "scl_inter"),
        ({"scl_inter": np.inf}, "scl_inter"),
        ({"srow_x": {0: np.nan}}, "sform"),
        ({"srow_x": {0: 0.0}}, "sform"),
        ({"vox_offset": np.nan}, "vox_offset"),
        ({"vox_offset": -352.0}, "vox_offset"),
        ({"vox_offset": 1e9}, "vox_offset"),
        ({"sizeof_hdr": 347}, "NIfTI"),
        ({"magic": b"xyz"}, "NIfTI"),
    ],
    ids=str,
)
def test_damaged_field_is_named(plain, fields, field):
    with pytest.raises(VolumeError, match=field) as caught:
        load_volumes(edit(plain, **fields))
    assert "bold.nii" in str(caught.value)


def test_cap_is_the_callers(plain):
    with pytest.raises(VolumeError, match="at most 100 bytes"):
        load_volumes(plain, max_bytes=100)


def test_cap_holds_before_any_allocation(tmp_path):
    # a kilobyte of gzip that promises 2 TiB
    made, _ = image()
    path = tmp_path / "bomb.nii"
    nib.save(made, path)
    edit(path, dim={1: 32000, 2: 32000, 3: 1000, 4: 1})
    packed = tmp_path / "bomb.nii.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(VolumeError, match="at most"):
        load_volumes(packed)
    with pytest.raises(VolumeError, match="truncated"):
        load_volumes(packed, max_bytes=1 << 50)


@pytest.mark.parametrize("name", ["bold.nii", "bold.nii.gz"])
def test_offset_of_the_voxels_is_bounded(tmp_path, plain, name):
    # the file has enough bytes for the offset, once unpacked
    size = 40 << 20
    whole = edit(plain, vox_offset=float(size)).read_bytes() + bytes(size)
    (tmp_path / name).write_bytes(gzip.compress(whole, 1) if name.endswith(".gz") else whole)
    with pytest.raises(VolumeError, match="vox_offset must be a whole number of bytes in 348"):
        load_volumes(tmp_path / name)


@pytest.mark.parametrize("keep", [0, 3, 200, 347, 400, -1])
def test_truncated(plain, keep):
    plain.write_bytes(plain.read_bytes()[:keep])
    with pytest.raises(VolumeError, match=r"bold\.nii"):
        load_volumes(plain).raw()


@pytest.mark.parametrize("damage", ["tail", "crc", "middle", "short", "long"])
def test_damaged_gzip(tmp_path, plain, damage):
    raw = plain.read_bytes()
    packed = bytearray(gzip.compress(raw))
    if damage == "tail":
        packed = packed[:-20]
    elif damage == "crc":
        packed[-6] ^= 1
    elif damage == "middle":
        packed[len(packed) // 2] ^= 255
    elif damage == "short":
        packed = bytearray(gzip.compress(raw[:-7]))
    else:
        packed = bytearray(gzip.compress(raw + bytes(3 << 20)))
    path = tmp_path / "bad.nii.gz"
    path.write_bytes(packed)
    with pytest.raises(VolumeError, match=r"bad\.nii\.gz"):
        load_volumes(path).raw()


def test_missing_and_wrong_names(tmp_path):
    with pytest.raises(VolumeError, match="exists"):
        load_volumes(tmp_path / "none.nii")
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(VolumeError, match="end in"):
        load_volumes(tmp_path / "a.txt")
    (tmp_path / "link.nii.gz").symlink_to("../.git/annex/objects/none")
    with pytest.raises(VolumeError, match="datalad get"):
        load_volumes(tmp_path / "link.nii.gz")
    with pytest.raises(InputError, match="path must be"):
        load_volumes(tmp_path / f"{'9' * 400}.nii")
    (tmp_path / "dir.nii").mkdir()
    with pytest.raises(VolumeError, match=r"dir\.nii"):
        load_volumes(tmp_path / "dir.nii")


def pair(folder: Path) -> tuple[Path, Path]:
    folder.mkdir(parents=True)
    made, _ = image(kind=nib.Nifti1Pair)
    nib.save(made, folder / "bold.hdr")
    return folder / "bold.hdr", folder / "bold.img"


@pytest.mark.parametrize("named", [0, 1])
def test_the_second_file_of_a_pair_may_not_be_a_link_out_of_its_folder(tmp_path, named):
    inside, outside = pair(tmp_path / "study"), pair(tmp_path / "elsewhere")
    mate = 1 - named
    inside[mate].unlink()
    inside[mate].symlink_to(outside[mate])
    with pytest.raises(VolumeError, match="got a link to"):
        load_volumes(inside[named])
    inside[mate].unlink()
    (tmp_path / "study/real").mkdir()
    outside[mate].rename(tmp_path / "study/real/x")
    inside[mate].symlink_to("real/x")
    assert load_volumes(inside[named]).shape == SHAPE


def test_a_pair_of_links_leads_where_both_files_are(tmp_path):
    # as git-annex keeps them: each in a folder of its own; then as in a data set made of links
    annex = tmp_path / "study/.git/annex/objects"
    for home, names in ((annex, ("a/A/A", "b/B/B")), (tmp_path / "store", ("x.hdr", "x.img"))):
        made = pair(tmp_path / "study/sub-1")
        for path, name in zip(made, names, strict=True):
            (home / name).parent.mkdir(parents=True, exist_ok=True)
            path.rename(home / name)
            path.symlink_to(home / name)
        assert load_volumes(made[0]).shape == SHAPE
        for path in made:
            path.unlink()
        made[0].parent.rmdir()
