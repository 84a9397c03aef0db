"""Images and an atlas become a study; series are those of a least-squares reference."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from rest_bids import MOTION, write_rest_bids

from fastbrain.cli import main
from fastbrain.data import RunRecord, read_resting, resample_series, runs_from_bids
from fastbrain.data.features.clean_series import clean_series
from fastbrain.data.studies import rest_from_images as module
from fastbrain.data.studies.rest_inputs import RestOptions, common_tr
from fastbrain.errors import CohortError, InputError, VolumeError


def reference(image, atlas, tr, confounds=None, high_pass_s=128.0, low_pass_s=None):
    bold, labels = nib.load(image).get_fdata(), nib.load(atlas).get_fdata()
    series = np.stack([bold[labels == k].mean(axis=0) for k in (10, 20, 30, 40)])
    n = series.shape[1]
    t = (np.arange(n) + 0.5) / n
    columns = [np.ones(n), t]
    slow = int(2 * n * tr / high_pass_s + 1e-9) if high_pass_s else 0
    fast = n if low_pass_s is None else int(2 * n * tr / low_pass_s) + 1
    columns += [np.cos(np.pi * k * t) for k in [*range(1, slow + 1), *range(fast, n)]]
    design = np.stack(columns, axis=1)
    if confounds is not None:
        design = np.concatenate([design, confounds], axis=1)
    fitted = design @ np.linalg.lstsq(design, series.T, rcond=None)[0]
    return 100 * (series.T - fitted).T / series.mean(axis=1, keepdims=True)


@pytest.fixture(scope="module")
def rest(tmp_path_factory):
    root = tmp_path_factory.mktemp("rest") / "bids"
    return root, write_rest_bids(root, people=3, runs=2)


def image(root, person, run):
    return root / f"sub-{person}" / "func" / f"sub-{person}_task-rest_run-{run}_bold.nii.gz"


def study_of(rest, out, *more):
    root, atlas = rest
    return main(["study", "rest", str(root), str(out), "--atlas", str(atlas), *more])


def test_series_are_means_of_regions_in_percent_without_drift(rest, tmp_path):
    assert study_of(rest, tmp_path / "study", "--task", "rest") == 0
    study = read_resting(tmp_path / "study")
    assert (study.tr, study.regions) == (2.0, ("10", "20", "30", "40"))
    assert list(study.series) == ["sub-01", "sub-02", "sub-03"]
    assert study.numbers("age")["sub-02"] == 37.0
    for person, values in study.series.items():
        parts = [reference(image(rest[0], person[4:], run), rest[1], 2.0) for run in (1, 2)]
        np.testing.assert_allclose(values, np.concatenate(parts, axis=1), atol=1e-4)
    assert not (tmp_path / "study.partial").exists()
    runs = json.loads((tmp_path / "study" / "runs.json").read_text())
    assert runs["frames"]["sub-01"] == {"sub-01_run-1": 48, "sub-01_run-2": 48}


def test_confounds_band_and_time_are_as_asked(rest, tmp_path):
    labels = tmp_path / "labels.tsv"
    labels.write_text("index\tname\n0\tBackground\n30\tlate\n10\tearly\n")
    more = ["--confounds", *MOTION, "--high-pass", "60", "--low-pass", "6", "--tr", "4"]
    more += ["--several", "first", "--labels", str(labels)]
    assert study_of(rest, tmp_path / "study", *more) == 0
    study = read_resting(tmp_path / "study")
    assert (study.tr, study.regions) == (4.0, ("early", "late"))
    path = image(rest[0], "03", 1)
    table = np.genfromtxt(
        str(path).replace("_bold.nii.gz", "_desc-confounds_timeseries.tsv"), skip_header=1
    )
    table[0, -1] = table[1:, -1].mean()
    expected = reference(path, rest[1], 2.0, table, 60.0, 6.0)[[0, 2]]
    expected = resample_series(expected, tr=2.0, new_tr=4.0)
    np.testing.assert_allclose(study.series["sub-03"], expected, atol=1e-4)


def test_an_interrupted_extraction_goes_on(rest, tmp_path, monkeypatch, capsys):
    whole, out = tmp_path / "whole", tmp_path / "study"
    assert study_of(rest, whole) == 0
    read, seen = module.parcel_series, []

    def stops(volumes, parcellation):
        seen.append(volumes.path)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return read(volumes, parcellation)

    monkeypatch.setattr(module, "parcel_series", stops)
    assert study_of(rest, out) == 130
    assert not out.exists()
    assert study_of(rest, out) == 1  # finished runs are not overwritten by accident
    assert study_of(rest, out, "--resume", "--units", "zscore") == 1
    assert "same atlas and options" in capsys.readouterr().err
    assert study_of(rest, out, "--resume") == 0
    assert len(seen) == 3 + 4  # the run that was interrupted, and the three after it
    for name in ("series/sub-01.npy", "series/sub-03.npy", "participants.tsv", "study.json"):
        assert (out / name).read_bytes() == (whole / name).read_bytes()


def test_a_runs_table_needs_no_events(rest, tmp_path):
    root, atlas = rest
    rows = [["subject", "run", "bold"]]
    rows += [["01", str(run), str(image(root, "01", run))] for run in (1, 2)]
    table = tmp_path / "runs.tsv"
    table.write_text("\n".join("\t".join(row) for row in rows) + "\n")
    more = ["--allow-outside", "--participants", str(root / "participants.tsv")]
    arguments = [str(table), str(tmp_path / "study"), "--atlas", str(atlas), *more]
    assert main(["study", "rest", *arguments]) == 0
    assert list(read_resting(tmp_path / "study").series) == ["sub-01"]


@pytest.mark.parametrize(
    ("people", "match"),
    [
        ("participant_id\tage\nsub-01\t30\nsub-02\t40\n", "sub-03"),
        ("participant_id\tage\n01\t30\nsub-01\t40\n", "sub-01 again"),
        ("name\tage\nsub-01\t30\n", "participant_id"),
    ],
)
def test_people_and_images_must_match(rest, tmp_path, capsys, people, match):
    table = tmp_path / "participants.tsv"
    table.write_text(people)
    assert study_of(rest, tmp_path / "study", "--participants", str(table)) == 1
    assert match in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["participants.tsv"]


def test_people_without_an_image_are_named(rest, tmp_path, capsys):
    table = tmp_path / "participants.tsv"
    table.write_text((rest[0] / "participants.tsv").read_text() + "sub-09\t50\n")
    assert study_of(rest, tmp_path / "study", "--participants", str(table)) == 0
    assert "1 people" in (said := capsys.readouterr().err)
    assert "sub-09" in said
    assert "sub-09" not in read_resting(tmp_path / "study").table


def test_an_image_that_is_missing_is_named(tmp_path, capsys):
    atlas = write_rest_bids(tmp_path / "bids", people=2)
    bold = next((tmp_path / "bids" / "sub-02" / "func").glob("*_bold.nii.gz"))
    bold.unlink()
    bold.symlink_to(tmp_path / "annex" / "absent")
    assert study_of((tmp_path / "bids", atlas), tmp_path / "study") == 1
    assert bold.name in capsys.readouterr().err


def test_runs_of_another_tr_or_grid_are_refused(tmp_path, capsys):
    root = tmp_path / "bids"
    atlas = write_rest_bids(root, people=2)
    other = nib.load(atlas)
    moved = nib.Nifti1Image(other.get_fdata().astype(np.int16), np.diag([2.0, 3, 3, 1]))
    nib.save(moved, tmp_path / "other.nii.gz")
    assert study_of((root, tmp_path / "other.nii.gz"), tmp_path / "study") == 1
    assert "Resample it" in capsys.readouterr().err
    path = next((root / "sub-02" / "func").glob("*_bold.nii.gz"))
    loaded = nib.load(path)
    loaded.header["pixdim"][4] = 3.0
    nib.save(nib.Nifti1Image(np.asarray(loaded.dataobj), None, loaded.header), path)
    Path(str(path).replace(".nii.gz", ".json")).write_text('{"RepetitionTime": 3.0}')
    assert study_of((root, atlas), tmp_path / "study") == 1
    assert "2 s in sub-01_run-1 and 3 s in sub-02_run-1" in capsys.readouterr().err


def test_surfaces_are_refused_in_one_line(tmp_path):
    run = RunRecord(
        "sub-01_run-1", "01", "", "1", tmp_path / "a_space-fsLR_bold.dtseries.nii", None
    )
    with pytest.raises(CohortError, match="runs must be volumes, as the regions of --atlas"):
        common_tr([run], RestOptions())


def test_confounds_must_be_whole(rest, tmp_path, capsys):
    assert study_of(rest, tmp_path / "study", "--confounds", "csf") == 1
    assert "none named csf" in capsys.readouterr().err


def test_events_are_needed_unless_said(rest):
    with pytest.raises(CohortError, match="events"):
        runs_from_bids(rest[0])


def test_a_series_without_a_band_or_a_signal_is_refused():
    rng = np.random.default_rng(0)
    series = 100 + rng.standard_normal((3, 40))
    with pytest.raises(InputError, match="below high_pass_s"):
        clean_series(series, tr=2.0, high_pass_s=20.0, low_pass_s=30.0)
    with pytest.raises(InputError, match=r"above two TR \(4 s\).*got 4"):
        clean_series(series, tr=2.0, low_pass_s=4.0)
    with pytest.raises(InputError, match="nuisance terms"):
        clean_series(series, tr=2.0, confounds=rng.standard_normal((40, 37)))
    with pytest.raises(VolumeError, match="first region 1"):
        clean_series(np.stack([series[0], 2.0 * np.arange(40)]), tr=2.0)
    for units in ("psc", "zscore"):
        with pytest.raises(VolumeError, match="signal left, got none in 1, first region 1"):
            clean_series(np.stack([series[0], np.full(40, 1000.1)]), tr=2.0, units=units)
    with pytest.raises(VolumeError, match="zscore"):
        clean_series(series - series.mean(axis=1, keepdims=True), tr=2.0)
    scaled = clean_series(series - 100, tr=2.0, units="zscore")
    np.testing.assert_allclose(scaled.std(axis=1), 1)
