"""Small cohorts on disk, made of files any scanner could have left."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from fastbrain._digests import write_sealed
from fastbrain._io import read_json, sha256
from fastbrain.data import RunRecord, read_runs_table

TR_S = 2.0
SLOPE, INTER = 0.5, 100.0
SHAPE_ZYX = (5, 6, 7)
N_VOLUMES = 60
AFFINE = np.diag([-3.0, 3.0, 3.5, 1.0])


def write_bold(
    path: Path, stored: np.ndarray, *, tr: float = TR_S, unit: str = "sec", affine=AFFINE
) -> Path:
    """Write stored values (T, Z, Y, X) as they are, with slope and intercept in the header."""
    image = nib.Nifti1Image(stored.T, affine)
    image.header.set_xyzt_units("mm", unit)
    image.header["pixdim"][4] = tr
    image.set_qform(affine, 1)
    image.set_sform(affine, 1)
    header = image.header.copy()
    header.set_slope_inter(SLOPE, INTER)
    header["vox_offset"] = 352
    raw = header.binaryblock + b"\0" * 4 + np.ascontiguousarray(stored).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.name.endswith(".gz"):
        import gzip

        raw = gzip.compress(raw, 1)
    path.write_bytes(raw)
    return path


@pytest.fixture
def write_header() -> Callable[..., Path]:
    """Writer of a NIfTI-1 file whose header fields are set as given, with no repair."""

    def write(path: Path, stored: np.ndarray, affine=AFFINE, **fields) -> Path:
        image = nib.Nifti1Image(stored, affine, dtype=stored.dtype)
        image.header.set_xyzt_units("mm", "sec")
        if stored.ndim > 3:
            image.header["pixdim"][4] = TR_S
        data = bytearray(image.to_bytes())
        header = nib.Nifti1Header(bytes(data[:348]), check=False)
        for name, value in fields.items():
            for index, entry in value.items() if isinstance(value, dict) else [((), value)]:
                header[name][index] = entry
        data[:348] = header.binaryblock
        path.write_bytes(data)
        return path

    return write


def write_mask(path: Path, mask: np.ndarray, affine=AFFINE) -> Path:
    nib.save(nib.Nifti1Image(mask.astype(np.uint8).T, affine), path)
    return path


def brain() -> np.ndarray:
    mask = np.zeros(SHAPE_ZYX, dtype=bool)
    mask[:, 1:5, 1:] = True
    return mask


def bold(seed: int, n: int = N_VOLUMES) -> np.ndarray:
    rng = np.random.default_rng(seed)
    drift = 400 * np.linspace(0, 1, n)[:, None, None, None]
    base = rng.uniform(1500, 3000, SHAPE_ZYX)
    noise = 60 * rng.standard_normal((n, *SHAPE_ZYX))
    return np.rint(base + drift + noise).astype(np.int16)


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("FASTBRAIN_CACHE", str(folder))
    return folder


@pytest.fixture
def reseal() -> Callable[..., None]:
    """Writes the manifest of a store anew, with fresh digests of what its files now are."""

    def write(root: Path, /, **changes: Any) -> None:
        value = read_json(root / "manifest.json")
        del value["digest"]
        fresh = {name: sha256(root / name) for name in value["files"]}
        write_sealed(root / "manifest.json", {**value, "files": fresh, **changes})

    return write


def write_cohort(
    root: Path,
    *,
    subjects: int = 3,
    runs: int = 3,
    trials: int = 8,
    shared: bool = False,
    suffix: str = ".nii.gz",
) -> Path:
    rows = ["subject\tsession\trun\tbold\tevents\tmask"]
    for s in range(1, subjects + 1):
        for r in range(1, runs + 1):
            stem = f"sub-{s:02d}/func/sub-{s:02d}_task-clips_run-{r:02d}"
            write_bold(root / f"{stem}_bold{suffix}", bold(100 * s + r))
            lines = ["onset\tduration\ttrial_type\tstimulus\ttext"]
            for k in range(trials):
                stimulus = f"clip-{r}-{k}" if shared else f"clip-{s}-{r}-{k}"
                lines.append(f"{12.0 * k}\t2.0\trun\t{stimulus}\ta dog runs {k}")
            (root / f"{stem}_events.tsv").write_text("\n".join(lines) + "\n")
            rows.append(
                f"{s:02d}\tn/a\t{r:02d}\t{stem}_bold{suffix}\t{stem}_events.tsv\tmask.nii.gz"
            )
    write_mask(root / "mask.nii.gz", brain())
    (root / "runs.tsv").write_text("\n".join(rows) + "\n")
    return root / "runs.tsv"


@pytest.fixture
def cohort(tmp_path: Path) -> Callable[..., Path]:
    """Factory of a runs table: subjects × runs, one trial every 12 s."""

    def make(*, name: str = "cohort", **options: Any) -> Path:
        return write_cohort(tmp_path / name, **options)

    return make


@pytest.fixture(scope="session")
def write_two_grids() -> Callable[..., list[RunRecord]]:
    """Writer of runs of two people; those of the second are flipped along x, with two more slices.

    The first person has the mask of the cohort; the second has an own one that holds it.
    """

    def write(root: Path, *, runs: int = 3) -> list[RunRecord]:
        found = []
        for run in read_runs_table(write_cohort(root, subjects=2, runs=runs)):
            if run.subject == "02":
                image = nib.load(run.bold)
                values = image.get_fdata()[::-1]
                affine = image.affine.copy()
                affine[:3, 3] += affine[:3, 0] * (image.shape[0] - 1)
                affine[:3, 0] *= -1
                values = np.pad(values, [(0, 0), (0, 0), (0, 2), (0, 0)], mode="edge")
                moved = nib.Nifti1Image(values.astype(np.float32), affine)
                moved.header.set_xyzt_units("mm", "sec")
                moved.header["pixdim"][4] = TR_S
                nib.save(moved, run.bold)
                mask = np.pad(brain()[:, :, ::-1], [(0, 2), (0, 0), (0, 0)], mode="edge")
                path = write_mask(root / "sub-02" / "mask.nii.gz", mask, affine)
                run = replace(run, mask=path)
            found.append(run)
        return found

    return write


@pytest.fixture
def two_grids(write_two_grids, tmp_path: Path) -> list[RunRecord]:
    """Runs of two people on two grids, see :func:`write_two_grids`."""
    return write_two_grids(tmp_path / "two-grids")
