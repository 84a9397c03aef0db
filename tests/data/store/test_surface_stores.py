"""Stores of surfaces and parcels: values of every location, and what does not fit is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from surface_cohort import WALL, write_cohort, write_dlabel, write_surfaces, write_volumes

from fastbrain.data import (
    VoxelStore,
    WindowLoader,
    WindowSpec,
    plan_like,
    plan_native_grids,
    plan_rest,
    plan_store,
    prepare_store,
    read_runs_table,
    runs_from_bids,
    split_by,
    write_store,
)
from fastbrain.data.readers.recordings import open_recording
from fastbrain.data.store.preparation import save_preparation
from fastbrain.data.store.token_layouts import LayoutSpec
from fastbrain.errors import CohortError, FastbrainError, InputError, StoreError

OPTIONS = {
    "window": WindowSpec(4.0, 4),
    "kernel": (4, 4, 4),
    "split": lambda trials: split_by(trials, "subject", train=["01"], val=["02"], test=["03"]),
    "high_pass_s": None,
}
CORTEX = 66  # vertices of a sphere of the helper


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("surfaces")
    surfaces = write_surfaces(root)
    stores = {}
    for kind in ("cifti", "gifti", "tsv"):
        runs = read_runs_table(write_cohort(root / kind, kind))
        layout = None if kind == "tsv" else LayoutSpec(patch=16, surfaces=surfaces)
        stores[kind] = runs, prepare_store(runs, root / f"{kind}-store", layout=layout, **OPTIONS)
    return root, surfaces, stores


@pytest.mark.parametrize("kind", ["cifti", "gifti", "tsv"])
def test_stored_values_are_those_of_the_files(world, kind):
    runs, store = world[2][kind]
    again = VoxelStore.open(store.path, verify=True)
    assert again.fingerprint() == store.fingerprint()
    assert store.info.geometry == ("parcels" if kind == "tsv" else "surface")
    run = open_recording(runs[1])
    if kind == "tsv":
        run = run.take(store.grid.names)
    raw = run.raw()[:, 0, 0].astype(float)
    line = np.stack([np.ones(len(raw)), np.arange(len(raw))], axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        truth = 100 * (raw - line @ np.linalg.lstsq(line, raw)[0]) / raw.mean(axis=0)
    found = store.grid.unpack(store.scale * store.run(runs[1].run_id))[:, 0, 0]
    inside = store.grid.mask[0, 0]
    # half a step of the store
    np.testing.assert_allclose(found[:, inside], truth[:, inside], atol=0.6 * store.scale)
    batch = next(iter(WindowLoader(store, store.split.train, batch_size=2, shuffle=False)))
    assert batch.voxels.shape == (2, 4, store.grid.n_tokens, store.grid.patch_voxels)


def test_tokens_cover_the_cortex_and_each_structure_apart(world):
    grid = world[2]["cifti"][1].grid
    assert grid.mask.all()
    assert set(grid.names) == {"CORTEX_LEFT", "CORTEX_RIGHT", "THALAMUS_LEFT", "THALAMUS_RIGHT"}
    sides = np.array([name == "CORTEX_LEFT" for name in grid.names])
    assert (grid.centers_mm[sides, 0] < 0).all()
    left = grid.offsets[sides]
    assert left[left >= 0].max() == CORTEX - WALL - 1


def test_the_medial_wall_of_a_pair_is_in_no_token(world):
    grid = world[2]["gifti"][1].grid
    wall = np.zeros(2 * CORTEX, dtype=bool)
    wall[:WALL] = wall[CORTEX : CORTEX + WALL] = True
    np.testing.assert_array_equal(grid.mask[0, 0], ~wall)


@pytest.mark.parametrize("kind", ["cifti", "tsv"])
def test_new_recordings_are_prepared_like_old_ones(world, kind, tmp_path):
    runs, store = world[2][kind]
    like = VoxelStore.open(save_preparation(store, tmp_path))
    assert like.grid == store.grid
    # the columns of this table are the other way round
    new = write_store(plan_like(runs[1:2], like), tmp_path / "new")
    np.testing.assert_array_equal(new.run(runs[1].run_id), store.run(runs[1].run_id))
    rest = plan_rest(runs, split=OPTIONS["split"], grid_of=store, window_trs=4)
    assert rest.grid == store.grid


@pytest.mark.parametrize("kind", ["cifti", "tsv"])
def test_grids_of_each_person_are_for_volumes(world, kind):
    options = {name: OPTIONS[name] for name in ("window", "kernel", "split")}
    with pytest.raises(CohortError, match="runs must be volumes, of which each person has an own"):
        plan_native_grids(world[2][kind][0], **options)


def test_other_kinds_and_places_are_refused(world, tmp_path):
    stores = world[2]
    (cifti, a), (gifti, b), (tables, c) = (stores[k] for k in ("cifti", "gifti", "tsv"))
    for runs, store in ((gifti, a), (tables, a), (cifti, b), (cifti, c)):
        with pytest.raises(CohortError, match=r"as the store has|of the store"):
            plan_like(runs[:1], store)
    with pytest.raises(CohortError, match="must have the locations of"):
        plan_store((cifti[0], gifti[1]), **OPTIONS)
    fewer = tmp_path / "fewer.tsv"
    lines = tables[1].bold.read_text().splitlines()
    fewer.write_text("\n".join("\t".join(line.split("\t")[1:]) for line in lines))
    with pytest.raises(CohortError, match="none named parcel11"):
        plan_store((tables[0], replace(tables[1], bold=fewer)), **OPTIONS)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"mask": np.ones((1, 1, 252), dtype=bool)}, "mask must be None"),
        ({"smoothing_mm": 4.0}, "smoothing_mm must be None"),
        ({"resample": "first"}, "resample must be None"),
        ({"layout": LayoutSpec()}, r"--surfaces LEFT\.surf\.gii"),
    ],
    ids=["mask", "smoothing", "grid", "no surface"],
)
def test_settings_of_volumes_are_refused_before_any_work(world, change, said):
    with pytest.raises(FastbrainError, match=said):
        plan_store(world[2]["cifti"][0], **{**OPTIONS, **change})


def test_surfaces_must_fit(world):
    _, (left, right), stores = world
    with pytest.raises(CohortError, match="other way round"):
        plan_store(stores["cifti"][0], layout=LayoutSpec(surfaces=(right, left)), **OPTIONS)
    with pytest.raises(InputError, match="labels must be given"):
        LayoutSpec(by="labels")
    with pytest.raises(InputError, match="layout must be None for parcels"):
        plan_store(stores["tsv"][0], layout=LayoutSpec(), **OPTIONS)


@pytest.mark.parametrize("by", ["order", "labels"])
def test_layouts_without_surfaces(world, by, tmp_path):
    keys = np.repeat([1, 2, 3], 84)
    atlas = write_dlabel(tmp_path / "a.dlabel.nii", keys, {1: "A", 2: "B", 3: "C"})
    spec = LayoutSpec(by=by, patch=16, labels=atlas if by == "labels" else None)
    grid = plan_store(world[2]["cifti"][0], layout=spec, **OPTIONS).grid
    assert grid.mask.all()
    assert grid.positions == "order"
    assert len(np.unique(grid.centers_mm, axis=0)) == grid.n_tokens
    for members, name in zip(grid.offsets, grid.names, strict=True):
        members = members[members >= 0]
        assert (np.diff(members) == 1).all()
        if by == "labels":
            assert len(set(keys[members])) == 1
        assert name in {"CORTEX_LEFT", "CORTEX_RIGHT", "THALAMUS_LEFT", "THALAMUS_RIGHT"}


def test_atlas_means_of_grayordinates(world, tmp_path):
    keys = np.repeat([3, 2, 1], 84)
    atlas = write_dlabel(tmp_path / "a.dlabel.nii", keys, {1: "sub", 2: "right", 3: "left"})
    runs = tuple(replace(run, parcels=atlas) for run in world[2]["cifti"][0])
    store = prepare_store(runs, tmp_path / "store", **OPTIONS)
    assert store.grid.names == ("sub", "right", "left")
    assert (store.grid.n_tokens, store.grid.patch_voxels) == (3, 1)
    assert "means of 3 parcels" in store.info.runs[runs[0].run_id]["notes"][0]
    other = write_dlabel(tmp_path / "b.dlabel.nii", keys[::-1], {1: "sub", 2: "right", 3: "left"})
    with pytest.raises(CohortError, match="others"):
        plan_like([replace(runs[0], parcels=other)], store)
    with pytest.raises(CohortError, match=r"Name the atlas \(--parcels\)"):
        plan_like(world[2]["cifti"][0][:1], store)


def test_subcortex_of_a_pair(world, tmp_path):
    shape = (5, 6, 7)
    rng = np.random.default_rng(0)
    values = rng.integers(900, 1100, (40, *shape)).astype(np.int16)
    labels = np.zeros(shape, dtype=np.int16)
    labels[1:3, 1:4, 1:5], labels[3:, 1:4, 1:5] = 11, 4
    affine = np.diag([3.0, 3.0, 3.0, 1.0])
    write_volumes(tmp_path / "bold.nii.gz", values.T, affine)
    write_volumes(tmp_path / "aseg.nii.gz", labels.T, affine)
    (tmp_path / "aseg.tsv").write_text("index\tname\n4\tPutamen\n11\tCaudate\n")
    pair = world[2]["gifti"][0]
    parts = {"volume": tmp_path / "bold.nii.gz", "subcortex": tmp_path / "aseg.nii.gz"}
    # the same volumes for all, under a name of its own
    runs = tuple(replace(run, **parts) for run in pair)
    series = open_recording(runs[0])
    assert [s.name for s in series.locations.structures[2:]] == ["Putamen", "Caudate"]
    raw = series.raw()[:, 0, 0]
    np.testing.assert_array_equal(
        raw[:, 2 * CORTEX :][:, :24], values[:, 3:, 1:4, 1:5].reshape(40, -1)
    )
    np.testing.assert_array_equal(raw[:, -24:], values[:, 1:3, 1:4, 1:5].reshape(40, -1))
    layout = LayoutSpec(patch=16, surfaces=world[1])
    store = prepare_store(runs, tmp_path / "store", layout=layout, **OPTIONS)
    assert {"Putamen", "Caudate", "CORTEX_LEFT"} <= set(store.grid.names)
    assert store.grid.mask[0, 0, 2 * CORTEX :].all()
    with pytest.raises(CohortError, match="both volume and subcortex"):
        open_recording(replace(pair[0], volume=parts["volume"]))
    write_volumes(tmp_path / "short.nii.gz", values[:30].T, affine)
    with pytest.raises(CohortError, match="with 40 volumes every 2 s"):
        open_recording(replace(runs[0], volume=tmp_path / "short.nii.gz"))


def test_runs_of_a_bids_derivative(world, tmp_path):
    runs = world[2]["cifti"][0]
    func = tmp_path / "sub-01" / "func"
    func.mkdir(parents=True)
    stem = func / "sub-01_task-x_run-1"
    shutil.copy(runs[0].bold, f"{stem}_space-fsLR_den-91k_bold.dtseries.nii")
    (func / f"{stem.name}_space-fsLR_den-91k_bold.json").write_text(
        json.dumps({"RepetitionTime": 2.0, "TaskName": "x"})
    )
    shutil.copy(runs[0].events, f"{stem}_events.tsv")
    left = world[2]["gifti"][0][0].bold
    for side in "LR":
        target = func / f"{stem.name}_hemi-{side}_space-fsaverage5_bold.func.gii"
        shutil.copy(left.with_name(left.name.replace("hemi-L", f"hemi-{side}")), target)
    found = runs_from_bids(tmp_path, space="fsLR")
    assert [run.bold.name.split("_", 3)[3] for run in found] == [
        "space-fsLR_den-91k_bold.dtseries.nii"
    ]
    assert found[0].tr == 2.0
    (pair,) = runs_from_bids(tmp_path, space="fsaverage5")
    assert open_recording(pair).shape == (40, 1, 1, 2 * CORTEX)
    with pytest.raises(CohortError, match=r"choose them by --space \(fsLR, fsaverage5\)"):
        runs_from_bids(tmp_path)
    raw = tmp_path / "raw" / "sub-01" / "func"
    raw.mkdir(parents=True)
    (func / f"{stem.name}_events.tsv").rename(raw / f"{stem.name}_events.tsv")
    (raw / f"{stem.name}_bold.json").write_text('{"RepetitionTime": 2.0, "TaskName": "x"}')
    with pytest.raises(CohortError, match=r"choose them by --space \(fsLR, fsaverage5\)"):
        runs_from_bids(tmp_path / "raw", derivatives=tmp_path)
    both = [
        runs_from_bids(tmp_path / "raw", derivatives=tmp_path, space=space)[0]
        for space in ("fsLR", "fsaverage5")
    ]
    assert [run.bold for run in both] == [found[0].bold, pair.bold]
    assert [run.space for run in both] == ["fsLR", "fsaverage5"]


def test_an_edited_layout_is_detected(world, tmp_path):
    store = world[2]["cifti"][1]
    copy = shutil.copytree(store.path, tmp_path / "copy")
    data = bytearray((copy / "grid.npz").read_bytes())
    data[len(data) // 2] ^= 1
    (copy / "grid.npz").write_bytes(bytes(data))
    with pytest.raises(StoreError, match=r"grid\.npz must match its sha256"):
        VoxelStore.open(copy)
