"""Time courses of parcels: columns by name, means of an atlas, and what cannot be read."""

from __future__ import annotations

import numpy as np
import pytest
from surface_cohort import write_volumes

from fastbrain.data import RunRecord, open_recording
from fastbrain.data.readers.parcel_tables import load_parcel_table
from fastbrain.errors import CohortError, FastbrainError, InputError, VolumeError

SHAPE = (5, 6, 7)
AFFINE = np.diag([3.0, 3.0, 4.0, 1.0])
FUZZED = 200


def record(bold, **changes):
    facts = {"run_id": "sub-1_run-1", "subject": "1", "session": "", "run": "1", "events": None}
    return RunRecord(**{**facts, "bold": bold, "tr": 2.0, **changes})


def table(path, names, values):
    lines = ["\t".join(names), *("\t".join(f"{v:.6g}" for v in row) for row in values)]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def volumes(tmp_path):
    """A run, an atlas with two regions and a mask without one voxel of each."""
    values = np.random.default_rng(0).integers(900, 1100, (8, *SHAPE)).astype(np.int16)
    labels = np.zeros(SHAPE, dtype=np.int16)
    labels[:2], labels[3:] = 7, 2
    mask = np.ones(SHAPE, dtype=np.uint8)
    mask[0, 0, 0] = mask[4, 0, 0] = 0
    paths = {}
    for name, array in (("bold", values), ("atlas", labels), ("mask", mask)):
        paths[name] = write_volumes(tmp_path / f"{name}.nii.gz", array.T, AFFINE)
    return values, labels, mask.astype(bool), paths


@pytest.mark.parametrize("masked", [False, True])
def test_means_of_volumes(volumes, masked):
    values, labels, mask, paths = volumes
    run = record(paths["bold"], parcels=paths["atlas"], mask=paths["mask"] if masked else None)
    series = open_recording(run)
    inside = mask if masked else np.ones_like(mask)
    truth = np.stack([values[:, (labels == k) & inside].mean(axis=1) for k in (2, 7)], axis=1)
    # float32 of means near 1,000
    np.testing.assert_allclose(series.raw()[:, 0, 0], truth, rtol=1e-6)
    assert series.locations.parcels == ("2", "7")
    z = series.locations.centers_mm[:, 2]
    if not masked:
        np.testing.assert_allclose(z, [3.5 * 4, 0.5 * 4])


def test_labels_are_named_by_the_table_beside(volumes):
    *_, paths = volumes
    (paths["atlas"].parent / "atlas.tsv").write_text("index\tname\n7\tfront\n2\tback\n")
    series = open_recording(record(paths["bold"], parcels=paths["atlas"]))
    assert series.locations.parcels == ("back", "front")
    assert open_recording(record(paths["bold"], parcels=paths["atlas"])).locations.digest == (
        series.locations.digest
    )


def test_columns_are_found_by_name(tmp_path):
    values = np.random.default_rng(0).normal(size=(6, 3))
    one = load_parcel_table(table(tmp_path / "a.tsv", "ABC", values), tr=2.0)
    other = load_parcel_table(table(tmp_path / "b.tsv", "CAXB", values[:, [2, 0, 0, 1]]), tr=2.0)
    np.testing.assert_array_equal(other.take(one.locations.parcels).raw(), one.raw())
    with pytest.raises(CohortError, match="none named X"):
        one.take(("A", "X"))


def test_arrays_are_named_by_a_table(tmp_path):
    values = np.arange(12.0).reshape(4, 3)
    np.save(tmp_path / "a.npy", values)
    with pytest.raises(CohortError, match="has no names of its parcels"):
        load_parcel_table(tmp_path / "a.npy", tr=2.0)
    names = tmp_path / "names.tsv"
    names.write_text("index\tname\tx\ty\tz\n1\tA\t-10\t0\t5\n2\tB\t10\t1\t5\n3\tC\t0\t2\t5\n")
    series = open_recording(record(tmp_path / "a.npy", parcels=names))
    assert series.locations.parcels == ("A", "B", "C")
    np.testing.assert_array_equal(series.locations.centers_mm[:, 0], [-10, 10, 0])
    # a table sorted by name does not say which column is which
    sorted_by_name = tmp_path / "sorted.tsv"
    sorted_by_name.write_text("index\tname\n3\tA\n1\tB\n2\tC\n")
    with pytest.raises(CohortError, match="index that does not ascend"):
        load_parcel_table(tmp_path / "a.npy", tr=2.0, parcels=sorted_by_name)
    np.save(tmp_path / "b.npy", values[:, :2])
    with pytest.raises(CohortError, match="must name the 2 parcels"):
        load_parcel_table(tmp_path / "b.npy", tr=2.0, parcels=names)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("A\tA\n1\t2\n", "each column once"),
        ("A\tB\n1\tx\n", "numbers alone"),
        ("A\tB\n", "volumes of values"),
        ("", "header line"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path, text, said):
    path = tmp_path / "a.tsv"
    path.write_text(text)
    with pytest.raises(FastbrainError, match=said):
        load_parcel_table(path, tr=2.0)


def test_tables_state_no_repetition_time(tmp_path):
    path = table(tmp_path / "a.tsv", "AB", np.ones((3, 2)))
    with pytest.raises(VolumeError, match="column tr of the runs table"):
        load_parcel_table(path)


def test_what_does_not_belong_together(volumes, tmp_path):
    *_, paths = volumes
    path = table(tmp_path / "a.tsv", "AB", np.ones((3, 2)))
    with pytest.raises(CohortError, match="holds parcels already"):
        open_recording(record(path, parcels=paths["atlas"]))
    with pytest.raises(VolumeError, match="must be a label image"):
        open_recording(record(paths["bold"], parcels=path))
    other = write_volumes(tmp_path / "other.nii.gz", np.ones((3, 3, 3), dtype=np.int16), AFFINE)
    with pytest.raises(VolumeError, match="the run's shape"):
        open_recording(record(paths["bold"], parcels=other))
    nothing = np.ones(SHAPE, dtype=np.uint8)
    nothing[:3] = 0
    mask = write_volumes(tmp_path / "half.nii.gz", nothing.T, AFFINE)
    with pytest.raises(InputError, match="every region must hold a voxel"):
        open_recording(record(paths["bold"], parcels=paths["atlas"], mask=mask))


def test_damaged_tables_are_refused_or_read(tmp_path):
    whole = table(tmp_path / "a.tsv", ["one", "two"], np.ones((4, 2))).read_bytes()
    rng = np.random.default_rng(0)
    for i in range(FUZZED):
        data = bytearray(whole)
        for _ in range(rng.integers(1, 4)):
            data[rng.integers(0, len(data))] = rng.integers(0, 256)
        path = tmp_path / f"{i}.tsv"
        path.write_bytes(data)
        try:
            series = load_parcel_table(path, tr=2.0)
        except FastbrainError:
            continue
        assert series.raw().shape == series.shape
