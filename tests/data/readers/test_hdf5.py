"""Arrays of HDF5 files: parcels, betas, and what is refused."""

from __future__ import annotations

import sys

import nibabel as nib
import numpy as np
import pytest

from fastbrain import cli
from fastbrain.data import (
    RunRecord,
    VoxelStore,
    load_betas,
    open_recording,
    read_runs_table,
    write_runs_table,
)
from fastbrain.data.readers.hdf5 import Hdf5Array, dataset_names
from fastbrain.errors import CohortError, FastbrainError, MissingPartError, VolumeError

h5py = pytest.importorskip("h5py", reason="h5py (extra hdf5) is not installed")

FUZZED = 150
SHAPE = (6, 5, 4)  # (X, Y, Z)


def record(bold, **changes):
    facts = {"run_id": "sub-1_run-1", "subject": "1", "session": "", "run": "1", "events": None}
    return RunRecord(**{**facts, "bold": bold, "tr": 1.49, **changes})


@pytest.fixture
def parcels(tmp_path):
    """A file of two runs of three parcels, a table of names and a label image."""
    values = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)
    with h5py.File(tmp_path / "bold.h5", "w") as file:
        file["ses-001_task-a"] = values
        file.create_dataset("ses-002_task-b", data=values[::-1], compression="gzip")
    (tmp_path / "names.tsv").write_text("index\tname\n1\tA\n2\tB\n3\tC\n")
    labels = np.zeros(SHAPE, dtype=np.int16)
    labels[0], labels[2], labels[5] = 1, 2, 3
    nib.save(nib.Nifti1Image(labels, np.diag([2.0, 2.0, 2.0, 1.0])), tmp_path / "atlas.nii.gz")
    return values, tmp_path


def test_runs_of_one_file(parcels):
    values, folder = parcels
    assert dataset_names(folder / "bold.h5") == ["ses-001_task-a", "ses-002_task-b"]
    table = folder / "names.tsv"
    one = open_recording(record(folder / "bold.h5", dataset="ses-001_task-a", parcels=table))
    other = open_recording(record(folder / "bold.h5", dataset="ses-002_task-b", parcels=table))
    assert one.shape == (7, 1, 1, 3)
    assert one.tr == 1.49
    assert one.locations.parcels == ("A", "B", "C")
    assert one.locations.centers_mm is None
    np.testing.assert_array_equal(one.raw()[:, 0, 0], values)
    np.testing.assert_array_equal(other.raw(2, 4)[:, 0, 0], values[::-1][2:4])


def test_label_images_name_and_place_the_columns(parcels):
    _, folder = parcels
    atlas = folder / "atlas.nii.gz"
    found = open_recording(record(folder / "bold.h5", dataset="ses-001_task-a", parcels=atlas))
    assert found.locations.parcels == ("1", "2", "3")
    # voxels 0, 2 and 5 of 2 mm, and the middles of 5 and 4 voxels
    expected = [[0, 4, 3], [4, 4, 3], [10, 4, 3]]
    np.testing.assert_allclose(found.locations.centers_mm, expected)
    labels = np.zeros(SHAPE, dtype=np.int16)
    labels[0] = 1
    nib.save(nib.Nifti1Image(labels, np.eye(4)), atlas)
    with pytest.raises(CohortError, match=r"must name the 3 parcels of .* got 1"):
        open_recording(record(folder / "bold.h5", dataset="ses-001_task-a", parcels=atlas))


def test_runs_tables_keep_the_array(parcels):
    _, folder = parcels
    runs = [
        record(
            folder / "bold.h5",
            run_id=f"sub-1_run-{name}",
            run=name,
            dataset=dataset,
            events=folder / "names.tsv",
            parcels=folder / "names.tsv",
            root=folder,
        )
        for name, dataset in (("a", "ses-001_task-a"), ("b", "ses-002_task-b"))
    ]
    found = read_runs_table(write_runs_table(folder / "runs.tsv", runs))
    assert [run.dataset for run in found] == ["ses-001_task-a", "ses-002_task-b"]
    assert found[0].source == "bold.h5:ses-001_task-a"
    write_runs_table(folder / "runs.tsv", [runs[0], record(**same(runs[0], folder))])
    with pytest.raises(CohortError, match="an image for each run"):
        read_runs_table(folder / "runs.tsv")


def same(run, folder):
    names = {"run_id": "sub-1_run-z", "run": "z", "events": folder / "names.tsv", "root": folder}
    return {"bold": run.bold, "dataset": run.dataset, **names}


@pytest.mark.parametrize(
    ("changes", "error", "match"),
    [
        ({"dataset": "ses-003"}, VolumeError, "got ses-001_task-a, ses-002_task-b"),
        ({"dataset": ""}, VolumeError, "column dataset"),
        ({"parcels": None}, CohortError, "no names of its parcels"),
        ({"tr": None}, VolumeError, "repetition time"),
    ],
)
def test_what_is_missing_is_named(parcels, changes, error, match):
    _, folder = parcels
    facts = {"dataset": "ses-001_task-a", "parcels": folder / "names.tsv"}
    with pytest.raises(error, match=match):
        open_recording(record(folder / "bold.h5", **{**facts, **changes}))


def test_an_array_is_only_of_hdf5(parcels):
    _, folder = parcels
    with pytest.raises(CohortError, match="must have no dataset"):
        open_recording(record(folder / "names.tsv", dataset="a"))


def test_links_out_of_the_file_are_refused(parcels):
    values, folder = parcels
    with h5py.File(folder / "links.h5", "w") as file:
        file["outside"] = h5py.ExternalLink("bold.h5", "ses-001_task-a")
        file["soft"] = h5py.SoftLink("/plain")
        file["plain"] = values
        file["text"] = np.array([b"a", b"b"])
        file.create_group("group")
        layout = h5py.VirtualLayout(shape=values.shape, dtype=values.dtype)
        layout[:] = h5py.VirtualSource(folder / "bold.h5", "ses-001_task-a", shape=values.shape)
        file.create_virtual_dataset("virtual", layout)
    assert dataset_names(folder / "links.h5") == ["plain"]
    for name in ("outside", "soft", "text", "group", "virtual", "group/x", "/plain"):
        with pytest.raises(VolumeError, match="got plain"):
            Hdf5Array.open(folder / "links.h5", name, np.asarray)


def test_the_extra_is_named_without_h5py(parcels, monkeypatch):
    _, folder = parcels
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(MissingPartError, match=r"fastbrain-fmri\[hdf5\]"):
        dataset_names(folder / "bold.h5")


def test_damaged_files_are_refused(parcels):
    _, folder = parcels
    whole = (folder / "bold.h5").read_bytes()
    path, rng, refused = folder / "damaged.h5", np.random.default_rng(1), 0
    run = record(path, dataset="ses-002_task-b", parcels=folder / "names.tsv")
    for i in range(FUZZED):
        data = bytearray(whole)
        if i % 3 == 0:
            data = data[: rng.integers(len(data))]
        else:
            data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
        path.write_bytes(data)
        try:
            open_recording(run).raw()
        except FastbrainError:
            refused += 1
    assert refused > FUZZED // 3


@pytest.mark.parametrize(
    "options", [{}, {"chunks": (1, 3)}, {"chunks": (1, 3), "compression": "gzip"}]
)
def test_arrays_that_are_not_written_in_full_are_refused(tmp_path, options):
    path = tmp_path / "bold.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("none", (7, 3), "f4", **options)
        file.create_dataset("all", data=np.zeros((7, 3), "f4"), **options)
        if options:
            file.create_dataset("some", (7, 3), "f4", **options)[:5] = 1
    assert Hdf5Array.open(path, "all", np.asarray).read().shape == (7, 3)
    for name in ("none", "some") if options else ("none",):
        with pytest.raises(VolumeError, match=rf"/{name} must hold all its values, got \d of"):
            Hdf5Array.open(path, name, np.asarray)


def test_betas_of_nsd(tmp_path):
    """int16, 300 times percent; h5py sees the axes of MATLAB in reverse, (T, Z, Y, X)."""
    x, y, z = SHAPE
    percent = np.random.default_rng(2).normal(size=(9, z, y, x))
    stored = np.rint(300 * percent).astype(np.int16)
    with h5py.File(tmp_path / "betas_session01.hdf5", "w") as file:
        file.create_dataset("betas", data=stored, chunks=(1, z, y, x))
    affine = np.diag([1.8, 1.8, 1.8, 1.0])
    mask = nib.Nifti1Image(np.ones(SHAPE, dtype=np.uint8), affine)
    nib.save(mask, tmp_path / "mask.nii.gz")
    path = tmp_path / "betas_session01.hdf5"
    found = load_betas(path, divisor=300.0, grid_of=tmp_path / "mask.nii.gz")
    assert found.shape == (9, z, y, x)
    assert found.dtype == np.int16
    # NIfTI stores float32
    np.testing.assert_allclose(found.affine, affine, rtol=1e-6)
    # half a stored unit
    np.testing.assert_allclose(found.scaled(), percent, atol=0.5 / 300 + 1e-6)
    nib.save(nib.Nifti1Image(np.asarray(stored.T), affine), tmp_path / "same.nii.gz")
    image = load_betas(tmp_path / "same.nii.gz", divisor=300.0)
    np.testing.assert_array_equal(image.scaled(), found.scaled())
    with pytest.raises(VolumeError, match="must have a mask image"):
        load_betas(path, divisor=300.0)
    with pytest.raises(VolumeError, match=r"got betas"):
        load_betas(path, grid_of=tmp_path / "mask.nii.gz", dataset="other")
    nib.save(nib.Nifti1Image(np.ones((x, y, z + 1), dtype=np.uint8), affine), tmp_path / "b.nii")
    with pytest.raises(VolumeError, match="must have the shape"):
        load_betas(path, grid_of=tmp_path / "b.nii")


def test_a_store_of_betas_is_that_of_the_image(tmp_path):
    """Values of both files of NSD are the same, and so are the stores of both."""
    x, y, z = SHAPE
    affine = np.diag([1.8, 1.8, 1.8, 1.0])
    nib.save(nib.Nifti1Image(np.ones(SHAPE, dtype=np.uint8), affine), tmp_path / "mask.nii.gz")
    rows = {"hdf5": [], "nii.gz": []}
    for session in (1, 2, 3):
        stored = np.random.default_rng(session).normal(0, 300, (8, z, y, x)).astype(np.int16)
        stem = tmp_path / f"betas_session0{session}"
        with h5py.File(f"{stem}.hdf5", "w") as file:
            file["betas"] = stored
        nib.save(nib.Nifti1Image(np.asarray(stored.T), affine), f"{stem}.nii.gz")
        lines = [f"{session}-{i}\tthing {session} {i}" for i in range(8)]
        (tmp_path / f"{session}.tsv").write_text("\n".join(["stimulus\ttext", *lines]) + "\n")
        for end, found in rows.items():
            found.append(f"1\t{session}\t1\t{stem.name}.{end}\t{session}.tsv\tmask.nii.gz")
    stores = []
    for end, found in rows.items():
        table = tmp_path / f"runs-{end}.tsv"
        head = "subject\tsession\trun\tbold\tevents\tmask"
        table.write_text("\n".join([head, *found]) + "\n")
        line = ["prepare", str(table), str(tmp_path / end), "--betas", "--beta-divisor", "300"]
        line += ["--kernel", "2", "2", "3", "--split-by", "session"]
        assert cli.main([*line, "--train", "1", "--val", "2", "--test", "3"]) == 0
        stores.append(VoxelStore.open(tmp_path / end))
    for run in stores[0].info.runs:
        np.testing.assert_array_equal(stores[0].run(run), stores[1].run(run))
