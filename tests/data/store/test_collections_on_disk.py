"""Files of a collection of stores: resumed, verified, and refused where they were changed."""

from __future__ import annotations

import re
import shutil

import nibabel as nib
import numpy as np
import pytest
from run_splits import by_run

from fastbrain._digests import write_sealed
from fastbrain._io import read_json
from fastbrain.data import (
    StoreCollection,
    VoxelStore,
    WindowSpec,
    open_store,
    plan_native_grids,
    verify_store,
    write_collection,
)
from fastbrain.data.store import collection
from fastbrain.data.store.exclusion import Exclusion
from fastbrain.errors import OutputExistsError, StoreError

OPTIONS = {
    "window": WindowSpec(4.0, 3),
    "kernel": (2, 2, 3),
    "split": by_run,
    "high_pass_s": None,
}


@pytest.fixture
def plan(two_grids):
    return plan_native_grids(two_grids, **OPTIONS)


def test_preparation_can_be_resumed(plan, tmp_path, monkeypatch):
    write, calls = collection.write_store, []

    def stopped(*args, **options):
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return write(*args, **options)

    monkeypatch.setattr(collection, "write_store", stopped)
    with pytest.raises(KeyboardInterrupt):
        write_collection(plan, tmp_path / "all")
    with pytest.raises(StoreError, match=r"must hold collection\.json, got none. Pass --resume"):
        StoreCollection.open(tmp_path / "all")
    with pytest.raises(OutputExistsError, match="--resume"):
        write_collection(plan, tmp_path / "all")
    resumed = write_collection(plan, tmp_path / "all", resume=True)
    assert resumed.fingerprint() == write_collection(plan, tmp_path / "again").fingerprint()
    # a finished one is checked again
    assert write_collection(plan, tmp_path / "all", resume=True).split == resumed.split


@pytest.fixture(scope="module")
def written(write_two_grids, tmp_path_factory):
    """A collection of two people with four runs each, of which the last is unused."""
    root = tmp_path_factory.mktemp("written")
    runs = write_two_grids(root / "cohort", runs=4)
    write_collection(plan_native_grids(runs, **OPTIONS), root / "all")
    return runs, root / "all"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"units": "zscore"}, "values of scale, units. Choose"),
        ({"kernel": (2, 2, 2)}, "values of mask, kernel or stride. Choose"),
        ({"high_pass_s": 50.0, "centred": True}, "values of centred, high_pass_s, origin_mm. "),
        ({"exclude": Exclusion(least_tsnr=1.0)}, "values of limits of tSNR or DVARS. Choose"),
        ({"mask": {"02": "own"}}, "values of mask, kernel or stride of sub-02. Choose"),
        ({"exclude": Exclusion(runs={"sub-02_run-04": ""})},
         "values of excluded of sub-02, run sub-02_run-04, events, texts, windows or split of "
         "sub-02. Choose"),
        ({"subject": "01"}, "values of the presence of sub-02. Choose"),
    ],
    ids=str,
)  # fmt: skip
def test_a_changed_setting_is_named(written, tmp_path, change, said):
    runs, folder = written
    if "mask" in change:
        own = next(run.mask for run in runs if run.subject == "02")
        image = nib.load(own)
        values = np.asarray(image.dataobj).copy()
        values[tuple(np.argwhere(values)[0])] = 0
        nib.save(nib.Nifti1Image(values, image.affine), tmp_path / "own.nii.gz")
        change = {"mask": {"02": tmp_path / "own.nii.gz"}}
    if "subject" in change:
        runs, change = [run for run in runs if run.subject == change["subject"]], {}
    other = plan_native_grids(runs, **{**OPTIONS, **change})
    with pytest.raises(StoreError, match=re.escape(said)):
        write_collection(other, folder, resume=True)


def damage(root, kind):
    if kind == "split":
        (root / "split.json").write_text((root / "split.json").read_text().replace("[", "[ ", 1))
    elif kind == "manifest":
        text = (root / "collection.json").read_text()
        (root / "collection.json").write_text(text.replace('"centred": false', '"centred": true'))
    elif kind == "another store":
        shutil.rmtree(root / "grids" / "sub-02")
        shutil.copytree(root / "grids" / "sub-01", root / "grids" / "sub-02")
    elif kind == "a path":
        info = read_json(root / "collection.json")
        del info["digest"]
        info["members"]["../sub-01"] = info["members"].pop("sub-01")
        write_sealed(root / "collection.json", info)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("split", "must match its sha256"),
        ("manifest", "must match the sha256 it carries"),
        ("another store", "must be the store of the collection"),
        ("a path", "must list the stores"),
    ],
)
def test_damage_is_refused(plan, tmp_path, kind, message):
    write_collection(plan, tmp_path / "all")
    damage(tmp_path / "all", kind)
    with pytest.raises(StoreError, match=message):
        open_store(tmp_path / "all")


def test_a_collection_is_verified_with_its_stores(plan, tmp_path):
    write_collection(plan, tmp_path / "all")
    assert verify_store(tmp_path / "all") == ()
    path = next((tmp_path / "all" / "grids" / "sub-02" / "runs").glob("*.npy"))
    data = bytearray(path.read_bytes())
    data[-100] ^= 4
    path.write_bytes(data)
    (found,) = verify_store(tmp_path / "all")
    assert found.file == f"grids/sub-02/runs/{path.name}"
    data[-100] ^= 4
    path.write_bytes(data)
    damage(tmp_path / "all", "split")
    (found,) = verify_store(tmp_path / "all")
    assert found.file == "collection.json"


def test_a_collection_is_no_store(plan, tmp_path):
    write_collection(plan, tmp_path / "all")
    with pytest.raises(StoreError, match=r"got a collection.*grids/NAME"):
        VoxelStore.open(tmp_path / "all")
