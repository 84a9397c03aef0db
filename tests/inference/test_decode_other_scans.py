"""Decode scans unlike those of training: resampled, held back, or refused."""

from __future__ import annotations

import json
import shutil

import nibabel as nib
import numpy as np
import pytest

from fastbrain.cli import main
from fastbrain.errors import CohortError, VolumeError
from fastbrain.inference import decode

pytestmark = pytest.mark.slow


def changed_scan(path, out, change, **options):
    """A copy of a scan with changed voxels (X, Y, Z, T)."""
    image = nib.load(path)
    values = change(np.asarray(image.dataobj).astype(np.float32))
    copy = nib.Nifti1Image(values.astype(np.float32), options.get("affine", image.affine))
    copy.header.set_xyzt_units("mm", "sec")
    copy.header["pixdim"][4] = options.get("tr", float(image.header["pixdim"][4]))
    nib.save(copy, out)
    return out


def mixed_up(values):
    """The same courses in other voxels of the brain, as in a scan of another space."""
    brain = values.std(axis=3) > 0
    values[brain] = np.random.default_rng(0).permutation(values[brain])
    return values


def jumping(values):
    """Activity ten times as strong."""
    mean = values.mean(axis=3, keepdims=True)
    return mean + 10 * (values - mean)


def partly_flat(values):
    """Signal is lost after the first two thirds."""
    kept = values.shape[3] * 2 // 3
    values[..., kept:] = values[..., :kept].mean(axis=3, keepdims=True)
    return values


@pytest.mark.parametrize(
    ("change", "words"),
    [(mixed_up, "mean image correlates"), (jumping, "spread"), (partly_flat, "spread")],
)
def test_a_scan_unlike_those_of_training_is_held(trained, tmp_path, change, words):
    (image,), _ = trained.scans("04")
    odd = changed_scan(image, tmp_path / "odd.nii", change)
    found = decode(trained.run("llm4brain"), odd, every=2)
    assert found.held
    for window in found.held:
        assert words in window.held
        assert window.text == ""
        assert window.margin_no_brain is None


def test_another_grid_in_the_same_space_is_resampled(trained, tmp_path, capsys):
    (image,), (events,) = trained.scans("04")
    affine = nib.load(image).affine.copy()
    fine = affine.copy()
    fine[:3, :3] /= 2
    fine[:3, 3] -= affine[:3, :3] @ np.full(3, 0.25)

    def doubled(values):
        return values.repeat(2, 0).repeat(2, 1).repeat(2, 2)

    odd = changed_scan(image, tmp_path / "fine.nii", doubled, affine=fine)
    run = trained.run("llm4brain")
    found = decode(run, odd, events=events, confidence=False)
    assert "is resampled from" in capsys.readouterr().err
    assert found.texts == decode(run, image, events=events, confidence=False).texts


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"tr": 1.0}, CohortError, "repetition time of training, 2 s, got 1 s"),
        ({"far": True}, VolumeError, "outside the field of view"),
        ({"volumes": 3}, CohortError, "odd.nii must be long enough"),
    ],
)
def test_a_scan_that_cannot_be_read_is_refused(trained, tmp_path, options, error, words):
    (image,), _ = trained.scans("04")
    affine = nib.load(image).affine.copy()
    if options.pop("far", False):
        affine[:3, 3] += 500
    kept = options.pop("volumes", None)
    odd = changed_scan(
        image, tmp_path / "odd.nii", lambda v: v[..., :kept], affine=affine, **options
    )
    with pytest.raises(error, match=words):
        decode(trained.run("llm4brain"), odd)


def test_another_start_of_the_first_volume_than_in_training_is_said(trained, tmp_path, capsys):
    (image,), (events,) = trained.scans("04")
    run = tmp_path / "run"
    shutil.copytree(trained.run("llm4brain"), run)
    starts = run / "preparation" / "start_times.json"
    assert json.loads(starts.read_text()) == [0.0]
    starts.write_text("[1.0]")
    scan = tmp_path / "newscan.nii.gz"
    shutil.copy(image, scan)
    decode(run, scan, events=events, confidence=False)
    told = capsys.readouterr().err
    assert told.count("newscan.nii.gz: its first volume is taken to be at 0 s") == 1
    assert told.count("the training runs started at 1 s, and newscan at 0 s") == 1
    (tmp_path / "newscan.json").write_text('{"StartTime": 1.0}')
    decode(run, scan, events=events, confidence=False)
    told = capsys.readouterr().err
    assert "StartTime is 1 s" in told
    assert "at 0 s" not in told


def test_a_repetition_time_other_than_the_header_says_is_left_out(trained, tmp_path):
    (image,), _ = trained.scans("04")
    with pytest.raises(VolumeError, match=r"agree with tr=1.5 .* --tr \(tr=\), leave that out"):
        decode(trained.run("llm4brain"), image, tr=1.5)


@pytest.mark.parametrize("name", ["{0}.json", "bold.json", "../func/{0}.json"])
def test_texts_are_not_written_over_the_sidecar(trained, capsys, name):
    (image,), _ = trained.scans("04")
    assert image.parent.name == "func"
    out = image.parent / name.format(image.name.split(".")[0])
    command = ["decode", str(trained.run("llm4brain")), "--bold", str(image), "--out", str(out)]
    assert main(command) == 1
    assert "must not be the name of a sidecar" in capsys.readouterr().err
    assert not out.exists()
