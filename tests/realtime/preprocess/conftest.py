"""Stores of a simulated head, and one more scan of it as volumes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from simulated_head import affine_of, head

from fastbrain.data import (
    RunRecord,
    VoxelStore,
    WindowSpec,
    plan_like,
    prepare_store,
    split_by,
    write_store,
)
from fastbrain.data.store.planning_like import scan_records
from fastbrain.realtime.volume import Volume

TR_S = 2.0
SHAPE = (13, 19, 17)
AFFINE = affine_of(SHAPE, (10.0, 10.0, 10.5))
N_VOLUMES = 120
FRAMES = 4
SLOPE = 0.1


def psc_of(n_voxels: int, seed: int) -> np.ndarray:
    """Percent signal change (T, V): noise of 1 %, a line and half a cosine of 1 %."""
    rng = np.random.default_rng(seed)
    t = np.linspace(0, 1, N_VOLUMES)[:, None]
    slope, bend = rng.normal(size=(2, n_voxels))
    noise = rng.normal(size=(N_VOLUMES, n_voxels))
    for i in range(1, N_VOLUMES):
        noise[i] = 0.3 * noise[i - 1] + np.sqrt(1 - 0.09) * noise[i]
    return noise + slope * (t - 0.5) + bend * np.cos(np.pi * t)


def write_scan(path: Path, seed: int) -> Path:
    """Write a scan of the head (int16 with a slope) and return its path."""
    still = head(SHAPE, AFFINE)
    values = still * (1 + psc_of(still.size, seed).reshape(N_VOLUMES, *SHAPE) / 100)
    image = nib.Nifti1Image(np.round(values / SLOPE).astype(np.int16).T, AFFINE)
    image.header.set_xyzt_units("mm", "sec")
    image.header["pixdim"][4] = TR_S
    image.header.set_slope_inter(1, 0)
    nib.save(image, path)
    return path


@dataclass(frozen=True)
class Prepared:
    """A store of training, a scan, and that scan prepared as ``fastbrain decode --bold`` does."""

    store: VoxelStore
    offline: VoxelStore
    bold: Path
    volumes: tuple[Volume, ...]

    def window(self, last: int) -> np.ndarray:
        """Window (F, n_tokens, P) of the offline preparation that ends with a volume."""
        (run,) = self.offline.info.runs
        return self.offline.run(run)[last + 1 - FRAMES : last + 1]

    def correlation(self, window: np.ndarray, last: int) -> float:
        """Correlation over brain voxels of a window with that of the offline preparation."""
        alive = self.store.inv_std > 0
        pair = [w[:, alive].astype(float).ravel() for w in (window, self.window(last))]
        return float(np.corrcoef(*pair)[0, 1])


def volumes_of(bold: Path) -> tuple[Volume, ...]:
    """Volumes of a scan as a source gives them."""
    data = np.ascontiguousarray(np.asarray(nib.load(bold).dataobj).T)
    return tuple(
        Volume(i, one.astype(np.int16), AFFINE, i * TR_S, 0.0, TR_S) for i, one in enumerate(data)
    )


@pytest.fixture(scope="session")
def scans(tmp_path_factory) -> tuple[Path, ...]:
    root = tmp_path_factory.mktemp("scans")
    return tuple(write_scan(root / f"run-{i}_bold.nii", seed=i) for i in range(4))


@pytest.fixture(scope="session")
def prepared_with(scans, tmp_path_factory) -> Callable[[str, float | None], Prepared]:
    """Prepares once for each pair of units and high-pass filter."""

    @cache
    def made(units: str, high_pass_s: float | None) -> Prepared:
        root = tmp_path_factory.mktemp("prepared")
        return prepare(root, scans, units=units, high_pass_s=high_pass_s)

    return made


@pytest.fixture(
    scope="session",
    params=[("psc", 128.0), ("psc", None), ("zscore", 64.0)],
    ids=["psc 128 s", "psc line", "zscore 64 s"],
)
def prepared(request, prepared_with) -> Prepared:
    return prepared_with(*request.param)


@pytest.fixture(scope="session")
def usual(prepared_with) -> Prepared:
    return prepared_with("psc", 128.0)


def prepare(root: Path, scans: tuple[Path, ...], *, units: str, high_pass_s) -> Prepared:
    """Prepare three scans as a store, and the fourth like it."""
    events = root / "events.tsv"
    rows = [f"{8 * i}\t2\tcaption {i}" for i in range(28)]
    events.write_text("\n".join(["onset\tduration\ttext", *rows]) + "\n")
    runs = [
        RunRecord(f"run{i}", "01", "", str(i), bold, events) for i, bold in enumerate(scans[:3])
    ]
    store = prepare_store(
        runs,
        root / "store",
        window=WindowSpec(4.0, FRAMES),
        kernel=(4, 4, 4),
        units=units,
        high_pass_s=high_pass_s,
        mask=head(SHAPE, AFFINE) > 300,
        split=lambda trials: split_by(
            trials, "run", train=["0"], val=["1"], test=["2"], closed_set=True
        ),
    )
    plan = plan_like(scan_records([scans[3]]), store, every=1)
    return Prepared(store, write_store(plan, root / "offline"), scans[3], volumes_of(scans[3]))
