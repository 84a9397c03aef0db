"""The first hour of a BCI developer: a trained run, scans as they come, one window at a time."""

from __future__ import annotations

import json
import shutil

import pytest

pytest.importorskip("nilearn")
pytestmark = pytest.mark.slow(seconds=60)


def test_a_run_alone_decodes_scans_as_they_come(trained):
    folder = trained.folder
    scan = next(folder.glob("cohort/sub-02/func/*run-04_bold.nii.gz"))
    shutil.copy(scan, folder / "scan.nii.gz")
    # on the machine at the scanner there are neither cohort nor store
    shutil.rmtree(folder / "cohort")
    shutil.rmtree(folder / "store")
    trained.run("fastbrain decode run --bold scan.nii.gz --every 1 --out all.json")
    windows = json.loads((folder / "all.json").read_text())["windows"]
    onsets = [window["onset"] for window in windows]
    assert len(windows) > 20
    assert onsets == sorted(onsets)
    for window in windows:
        assert window["p_no_brain"] is not None
        assert window["chance_no_brain"] is not None
    text = trained.python("""
import fastbrain as fb
found = fb.decode("run", "scan.nii.gz", every=1, confidence=False)
print(len(found.texts), len(found.held))
""")
    assert text.split() == [str(len(windows)), "0"]


def test_one_window_at_a_time(trained):
    told = trained.python("""
import warnings
warnings.simplefilter("error")
import numpy as np, torch
import fastbrain as fb
from fastbrain.data import Batch

model, store, manifest = fb.open_run("run")
fb.warmup(model)
trial = store.by_id[manifest["scored_trials"][0]]
run = store.run(trial.run_id)

def batch(window, dtype=np.int16):
    voxels = torch.tensor(np.asarray(window, dtype=dtype))[None]
    return Batch(voxels, (trial.trial_id,), ("",), (trial.subject,), torch.tensor([0]))

live = fb.decode_windows(model, [batch(run[trial.start : trial.start + trial.frames])])
whole = fb.decode_windows(model, fb.WindowLoader(store, [trial.trial_id], batch_size=1,
                                                 shuffle=False))
assert live.texts == whole.texts and live.held == ("",), (live, whole)

rng = np.random.default_rng(0)
shape = (trial.frames, *run.shape[1:])
for name, window in {
    "raw": rng.integers(0, 1000, shape),
    "zero": np.zeros(shape),
    "saturated": np.full(shape, 32767),
}.items():
    found = fb.decode_windows(model, [batch(window)])
    assert found.texts == ("",) and found.held[0], name
    print(name, "|", found.held[0])
try:
    fb.decode_windows(model, [batch(run[:trial.frames] * 0.005, np.float32)])
except fb.FastbrainError as error:
    print("float |", error)
""")
    assert [line.split(" |")[0] for line in told.splitlines()] == [
        "raw",
        "zero",
        "saturated",
        "float",
    ]


def test_a_scan_that_is_not_of_this_scanner(trained):
    trained.python("""
import nibabel as nib, numpy as np
image = nib.load(next(__import__("pathlib").Path("cohort/sub-01/func").glob("*run-04*.nii.gz")))
values = np.asarray(image.dataobj).astype(np.float32)

def save(name, values, tr=float(image.header["pixdim"][4]), affine=image.affine):
    copy = nib.Nifti1Image(values, affine)
    copy.header.set_xyzt_units("mm", "sec")
    copy.header["pixdim"][4] = tr
    nib.save(copy, name)

save("fast.nii", values, tr=0.5)
save("short.nii", values[..., :3])
save("far.nii", values, affine=image.affine + np.array([[0, 0, 0, 400]] * 3 + [[0] * 4]))
""")
    trained.refused("fastbrain decode run --bold fast.nii", "repetition time of training")
    lines = {
        "fastbrain decode run --bold short.nii": "volumes",
        "fastbrain decode run --bold far.nii": "field of view",
        "fastbrain decode run --bold gone.nii": "gone.nii",
        "fastbrain decode run --bold fast.nii --store store": "bold",
    }
    trained.refused_in_turn(lines)
