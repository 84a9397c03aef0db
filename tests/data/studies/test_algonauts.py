"""The tree of the Algonauts 2025 challenge with its published names, on invented values."""

from __future__ import annotations

import csv
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from fastbrain import cli
from fastbrain.data import PRESETS, VoxelStore, WindowSpec, fetch_dataset
from fastbrain.errors import CohortError, ConfigError

h5py = pytest.importorskip("h5py", reason="h5py (extra hdf5) is not installed")

DATA = PRESETS["algonauts2025"].movies
TR = 1.49
PARCELS = 12
SPACE = "space-MNI152NLin2009cAsym_atlas-Schaefer18_parcel-1000Par7Net"
FRIENDS = {"ses-003_task-s01e02a": 60, "ses-002_task-s02e01b": 50, "ses-004_task-s06e15c": 55}
MOVIES = {"ses-001_task-life01_run-1": 45, "ses-002_task-life01_run-2": 46}
SPLIT = ["--split-by", "story", "--train", "s01", "life", "--val", "s02", "--test", "s06"]


def write_transcript(path: Path, rows: int) -> None:
    """Write a transcript as pandas does; every third row has no words."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="") as file:
        table = csv.writer(file, delimiter="\t", lineterminator="\n")
        table.writerow(["text_per_tr", "words_per_tr", "onsets_per_tr", "durations_per_tr"])
        for i in range(rows):
            if i % 3 == 2:
                table.writerow(["", [], [], []])
                continue
            words = [f'{path.stem}"s', f"w{i}!"]
            times = [round(i * TR + 0.1, 2), round(i * TR + 0.6, 2)]
            table.writerow([" ".join(words), words, times, [0.3, 0.3]])


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "algonauts_2025.competitors"
    rng = np.random.default_rng(0)
    for person in ("sub-01", "sub-05"):
        func = root / "fmri" / person / "func"
        func.mkdir(parents=True)
        for task, desc, runs in (
            ("friends", "_desc-s123456", FRIENDS),
            ("movie10", "", MOVIES),
        ):
            with h5py.File(func / f"{person}_task-{task}_{SPACE}{desc}_bold.h5", "w") as file:
                for name, length in runs.items():
                    file[name] = rng.normal(size=(length, PARCELS)).astype(np.float32)
        labels = np.zeros((PARCELS, 4, 4), dtype=np.int16)
        labels[:] = np.arange(1, PARCELS + 1)[:, None, None]
        atlas = root / "fmri" / person / "atlas"
        atlas.mkdir()
        image = nib.Nifti1Image(labels, np.diag([2.0, 2.0, 2.0, 1.0]))
        nib.save(image, atlas / f"{person}_{SPACE}_desc-dseg_parcellation.nii.gz")
    texts = root / "stimuli" / "transcripts"
    write_transcript(texts / "friends/s1/friends_s01e02a.tsv", 61)
    write_transcript(texts / "friends/s2/friends_s02e01b.tsv", 48)
    write_transcript(texts / "friends/s6/friends_s06e15c.tsv", 55)
    write_transcript(texts / "movie10/life/movie10_life01.tsv", 45)
    return root


def prepare(tree, out, *options):
    return cli.main(["prepare", str(tree), str(out), "--dataset", "algonauts2025", *options])


def test_runs_have_the_published_names(tree):
    runs = DATA.runs(tree)
    assert [run.run_id for run in runs[:5]] == [
        "sub-01_ses-002_run-s02e01b",
        "sub-01_ses-003_run-s01e02a",
        "sub-01_ses-004_run-s06e15c",
        "sub-01_ses-001_run-life01run1",
        "sub-01_ses-002_run-life01run2",
    ]
    assert len(runs) == 10
    assert {run.tr for run in runs} == {TR}
    assert {run.space for run in runs} == {"MNI152NLin2009cAsym"}
    assert len(DATA.runs(tree, task="movie10")) == 4
    with pytest.raises(CohortError, match="of the task rest, got friends, movie10"):
        DATA.runs(tree, task="rest")


def test_a_store_with_texts(tree, tmp_path, capsys):
    assert prepare(tree, tmp_path / "store", *SPLIT) == 0, capsys.readouterr().err
    store = VoxelStore.open(tmp_path / "store")
    assert store.grid.n_tokens == PARCELS
    assert store.info.geometry == "parcels"
    assert store.grid.names == tuple(map(str, range(1, PARCELS + 1)))
    np.testing.assert_allclose(store.grid.centers_mm[:, 0], 2.0 * np.arange(PARCELS))
    assert store.tr == TR
    assert store.units == "zscore"
    trials = [t for t in store.trials if t.run_id == "sub-01_ses-003_run-s01e02a"]
    # segments of 4 volumes whose windows, 3 volumes later, lie in the 60 of the run
    assert [t.start for t in trials] == list(range(3, 57, 4))
    assert trials[1].text == 'friends_s01e02a"s w4! friends_s01e02a"s w6! friends_s01e02a"s w7!'
    assert trials[1].prompt == 'friends_s01e02a"s w1! friends_s01e02a"s w3!'
    assert trials[1].stimulus == "friends_s01e02a-0001"
    assert trials[1].story == "s01"
    again = {
        run: [t.stimulus for t in store.trials if t.run_id == f"sub-01_{run}"]
        for run in ("ses-001_run-life01run1", "ses-002_run-life01run2")
    }
    first, second = again.values()
    assert first
    assert second[: len(first)] == first
    assert store.info.runs["sub-05_ses-001_run-life01run1"]["source"].endswith(
        "_bold.h5:ses-001_task-life01_run-1"
    )


def test_values_are_those_of_the_file(tree, tmp_path):
    options = ["--high-pass", "none", "--task", "movie10", "--no-events", "--split-by", "subject"]
    assert prepare(tree, tmp_path / "s", *options, "--train", "01", "--val", "05") == 0
    store = VoxelStore.open(tmp_path / "s")
    path = tree / f"fmri/sub-05/func/sub-05_task-movie10_{SPACE}_bold.h5"
    with h5py.File(path) as file:
        values = file["ses-002_task-life01_run-2"][()].astype(np.float64)
    n = len(values)
    line = np.stack([np.ones(n), np.linspace(-1, 1, n)], axis=1)
    rest = values - line @ np.linalg.lstsq(line, values, rcond=None)[0]
    expected = rest / rest.std(axis=0)
    found = np.asarray(store.run("sub-05_ses-002_run-life01run2"))[:, :, 0] * store.scale
    # degrees of freedom of the spread, and half a stored step
    np.testing.assert_allclose(found, expected, rtol=0.03, atol=store.scale)


def test_names_of_the_users_table(tree, tmp_path):
    table = tmp_path / "schaefer.tsv"
    rows = [f"{i}\t7Networks_LH_Vis_{i}" for i in range(1, PARCELS + 1)]
    table.write_text("\n".join(["index\tname", *rows]) + "\n")
    assert prepare(tree, tmp_path / "store", *SPLIT, "--parcels", str(table)) == 0
    assert VoxelStore.open(tmp_path / "store").grid.names[0] == "7Networks_LH_Vis_1"


def test_what_was_not_fetched_is_listed(tree, tmp_path, capsys):
    path = next((tree / "fmri/sub-05/func").glob("*friends*"))
    path.unlink()
    path.symlink_to("../../../.git/annex/objects/x/MD5E-s509757963--0e85.h5/MD5E-s509757963--0.h5")
    with pytest.raises(CohortError, match=r"1 are links to data not fetched \(0.5 GB\)"):
        DATA.runs(tree)
    assert len(DATA.runs(tree, missing="drop")) == 7
    assert "note: left out" in capsys.readouterr().err
    (tree / "stimuli/transcripts/friends/s1/friends_s01e02a.tsv").unlink()
    runs = DATA.runs(tree, missing="drop")
    with pytest.raises(CohortError, match=r"transcript of each run, got 1 do not exist.*datalad"):
        DATA.trials(runs, tree, WindowSpec(4.47, 4))


def test_a_missing_row_is_noticed(tree):
    path = tree / "stimuli/transcripts/movie10/life/movie10_life01.tsv"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:10] + lines[12:]))
    with pytest.raises(CohortError, match=r"line 12 must hold words .* Is a row missing"):
        DATA.trials(DATA.runs(tree, task="movie10"), tree, WindowSpec(4.47, 4))


def test_arrays_of_other_names_are_refused(tree):
    with h5py.File(next((tree / "fmri/sub-01/func").glob("*movie10*")), "a") as file:
        file["notes"] = np.ones((3, 3))
    with pytest.raises(CohortError, match="got 'notes'"):
        DATA.runs(tree)


def test_fetch_says_where_it_is(tmp_path):
    with pytest.raises(ConfigError, match="datalad install"):
        fetch_dataset("algonauts2025", tmp_path / "x")
