"""Options of fastbrain prepare for grids, smoothing, lags and betas."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from fastbrain.cli import main
from fastbrain.data import StoreCollection, VoxelStore, WindowSpec, write_runs_table

SPLIT = ["--train", "01", "--val", "02", "--test", "03"]
OPTIONS = ["--kernel", "2", "2", "3", "--window", "3", "--high-pass", "none", *SPLIT]


@pytest.fixture
def table(two_grids, tmp_path):
    return str(write_runs_table(tmp_path / "two-grids" / "table.tsv", two_grids))


def test_smoothing_resampling_and_lags(table, tmp_path, capsys):
    words = [table, str(tmp_path / "store"), "--kernel", "2", "2", "3", "--high-pass", "none",
             *SPLIT, "--allow-outside"]  # fmt: skip
    grids = ["--smoothing", "5", "--resample", "mni:3", "--fir", "4", "6", "8"]
    assert main(["prepare", *words, *grids, "--dry-run"]) == 0
    said = capsys.readouterr()
    assert "smoothing    Gaussian of 5 mm FWHM" in said.out
    assert "resampled    to the grid of mni:3" in said.out
    assert "windows      3 volumes from 4 s on" in said.out
    assert "is resampled from (7, 6, 7) voxels" in said.err
    assert main(["prepare", *words, *grids]) == 0
    store = VoxelStore.open(tmp_path / "store")
    assert (store.info.smoothing_mm, store.info.resampled) == (5.0, "mni:3")
    assert store.window_spec == WindowSpec(4.0, 3)
    # without --resample the message says what to do
    assert main(["prepare", *words, "--dry-run"]) != 0
    assert "--native-grids" in capsys.readouterr().err
    assert main(["prepare", *words, *grids, "--window", "3"]) != 0
    assert "--window must be left out for --fir" in capsys.readouterr().err


def test_native_grids(table, tmp_path, capsys):
    words = [table, str(tmp_path / "all"), *OPTIONS, "--allow-outside", "--native-grids"]
    assert main(["prepare", *words, "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "sub-02       (Z, Y, X) = (7, 6, 7)" in said
    assert "confounds    none are regressed out" in said
    assert main(["prepare", *words, "--centred"]) == 0
    found = StoreCollection.open(tmp_path / "all")
    assert (list(found.stores), found.centred) == (["sub-01", "sub-02"], True)
    for option in (["--resample", "first"], ["--mask", "mask.nii"], ["--like", "x"], ["--betas"]):
        assert main(["prepare", *words, *option]) != 0
        assert f"{option[0]} must be left out for --native-grids" in capsys.readouterr().err
    for option in (["--patch-size", "32"], ["--layout", "order"]):
        assert main(["prepare", *words, *option]) != 0
        assert f"{option[0]} must be left out for volumes" in capsys.readouterr().err
    assert main(["prepare", *words[:-1], "--centred"]) != 0
    assert "Add --native-grids" in capsys.readouterr().err


def test_native_grids_of_rest(table, tmp_path, capsys):
    words = [table, str(tmp_path / "rest"), "--kernel", "2", "2", "3", "--allow-outside"]
    rest = ["--no-events", "--native-grids", "--window", "3", "--train", "01", "--val", "02"]
    assert main(["prepare", *words, *rest]) == 0
    found = StoreCollection.open(tmp_path / "rest")
    assert len(found.split.train) == 2 * 20
    assert "collection" in capsys.readouterr().err


def test_betas(tmp_path, capsys):
    rows = ["subject\trun\tbold\tevents\tmask"]
    nib.save(nib.Nifti1Image(np.ones((4, 4, 4), np.uint8), np.eye(4)), tmp_path / "mask.nii")
    for run in ("01", "02", "03"):
        values = np.random.default_rng(int(run)).integers(-900, 900, (4, 4, 4, 12))
        image = nib.Nifti1Image(values.astype(np.int16), np.eye(4))
        nib.save(image, tmp_path / f"betas{run}.nii")
        lines = [f"picture {run} {i}" for i in range(12)]
        (tmp_path / f"trials{run}.tsv").write_text("\n".join(["text", *lines]) + "\n")
        rows.append(f"01\t{run}\tbetas{run}.nii\ttrials{run}.tsv\tmask.nii")
    table = tmp_path / "runs.tsv"
    table.write_text("\n".join(rows) + "\n")
    words = [str(table), str(tmp_path / "store"), "--kernel", "2", "2", "2", *SPLIT]
    betas = ["--betas", "--beta-divisor", "300", "--units", "zscore"]
    assert main(["prepare", *words, *betas]) == 0
    store = VoxelStore.open(tmp_path / "store")
    assert (store.info.beta_divisor, store.units, len(store.trials)) == (300.0, "zscore", 36)
    for option in ("--delay", "--window", "--onset-offset", "--fir", "--high-pass"):
        assert main(["prepare", *words, *betas, option, "3"]) != 0
        assert f"{option} must be left out for --betas" in capsys.readouterr().err
    assert main(["prepare", *words, "--beta-divisor", "300"]) != 0
    assert "Add --betas" in capsys.readouterr().err
