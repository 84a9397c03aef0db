"""Smoothing and resampling of single volumes, beside nilearn and SciPy on the same volume.

    python benchmarks/grids.py [--machine NAME] [--rounds 9] [--peak]

A volume of 97 x 115 x 97 voxels of 2 mm is smoothed by 6 mm, and interpolated at the 292,000 brain
voxels of a rotated grid of the same size. Our weights of interpolation are computed once for a run
and are not part of a call; nilearn and SciPy compute theirs in each call, for the whole grid. Calls
are interleaved; values are compared first. With --peak, the peak of
traced memory is measured for a run of 100 volumes.
"""

from __future__ import annotations

import argparse
import tempfile
import tracemalloc
from pathlib import Path
from statistics import median

import nibabel as nib
import numpy as np

SHAPE = (97, 115, 97)  # (X, Y, Z), MNI152NLin2009cAsym at 2 mm
FWHM_MM, RUN = 6.0, 100


def affines() -> tuple[np.ndarray, np.ndarray]:
    """Affine of the volume, and that of a grid turned by three degrees about z."""
    own = np.diag([2.0, 2.0, 2.0, 1.0])
    own[:3, 3] = (-96, -132, -78)
    turn = np.eye(4)
    angle = np.deg2rad(3)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return own, turn @ own


def brain() -> np.ndarray:
    """Flat (Z, Y, X) indices of an ellipsoid of the size of a brain."""
    axes = [np.linspace(-1, 1, n) for n in SHAPE[::-1]]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    return np.flatnonzero((z / 0.82) ** 2 + (y / 0.83) ** 2 + (x / 0.78) ** 2 < 1)


def main() -> None:
    """Parse the command line, compare and time both steps, record a row for each provider."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--machine", help="folder below benchmarks/results; default: only print")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--peak", action="store_true", help="measure memory too")
    args = parser.parse_args()
    from recording import Recorder

    from fastbrain.bench.statistics import ratio
    from fastbrain.bench.timing import interleaved

    recorder = Recorder(args.machine)
    for op, providers in (("smooth volume", smoothing()), ("resample volume", resampling())):
        wanted = providers["fastbrain"]()
        for name, function in providers.items():
            found = np.asarray(function())
            known = np.isfinite(wanted)  # nilearn has zeros outside the field of view
            np.testing.assert_allclose(found[known], wanted[known], rtol=2e-5, err_msg=name)
        seconds = interleaved(providers, rounds=args.rounds)
        for name, own in seconds.items():
            times, low, high = ratio(own, seconds["fastbrain"])
            recorder.row(
                op=op,
                case="97x115x97",
                provider=name,
                ms_p50=1e3 * median(own),
                ratio_to_fastbrain=times,
                ratio_low=low,
                ratio_high=high,
                rounds=len(own),
            )
    for what in ("smooth", "resample") if args.peak else ():
        recorder.row(op=f"{what} run", case=f"{RUN} volumes", provider="fastbrain", **peak(what))


def smoothing() -> dict:
    """Functions that smooth a volume (Z, Y, X)."""
    from nilearn.image import smooth_img

    from fastbrain.data.readers.smooth import smooth_volume

    affine, _ = affines()
    volume = np.random.default_rng(0).normal(1000, 50, SHAPE[::-1]).astype(np.float32)
    image = nib.Nifti1Image(volume.T, affine)
    return {
        "fastbrain": lambda: smooth_volume(volume, affine, FWHM_MM),
        "nilearn smooth_img": lambda: smooth_img(image, FWHM_MM).get_fdata(dtype=np.float32).T,
    }


def resampling() -> dict:
    """Functions that interpolate a volume at brain voxels of another grid."""
    from nilearn.image import resample_img
    from scipy.ndimage import affine_transform

    from fastbrain.data import load_volumes
    from fastbrain.data.readers import resample

    own, target = affines()
    volume = np.random.default_rng(0).normal(1000, 50, SHAPE[::-1]).astype(np.float32)
    image, voxels = nib.Nifti1Image(volume.T, own), brain()
    with tempfile.TemporaryDirectory() as folder:
        header = load_volumes(run_of(Path(folder), volumes=4))
    places = resample._places(header, voxels, SHAPE[::-1], target)
    weights = resample._Interpolation(header, places)
    step = np.linalg.inv(own) @ target

    def scipy() -> np.ndarray:
        matrix, offset = step[:3, :3][::-1, ::-1], step[:3, 3][::-1]
        moved = affine_transform(volume, matrix, offset, order=1, mode="nearest")
        return moved.reshape(-1)[voxels]

    def nilearn() -> np.ndarray:
        moved = resample_img(
            image, target_affine=target, target_shape=SHAPE, interpolation="linear"
        )
        return moved.get_fdata(dtype=np.float32).T.reshape(-1)[voxels]

    return {
        "fastbrain": lambda: weights(volume),
        "scipy affine_transform": scipy,
        "nilearn resample_img": nilearn,
    }


def run_of(folder: Path, *, volumes: int) -> Path:
    """Write a run of int16 volumes."""
    rng = np.random.default_rng(0)
    values = rng.integers(0, 3000, (*SHAPE, volumes), dtype=np.int16)
    image = nib.Nifti1Image(values, affines()[0])
    image.header.set_xyzt_units("mm", "sec")
    image.header["pixdim"][4] = 2.0
    nib.save(image, folder / "run.nii")
    return folder / "run.nii"


def peak(what: str) -> dict[str, float]:
    """Peak memory of one step on a run, beside that of its result and of the whole run, MB."""
    from fastbrain.data import load_volumes
    from fastbrain.data.readers.resample import at_voxels

    own, target = affines()
    voxels = brain()
    options = {"smoothing_mm": FWHM_MM} if what == "smooth" else {}
    affine = own if what == "smooth" else target
    with tempfile.TemporaryDirectory() as folder:
        volumes = load_volumes(run_of(Path(folder), volumes=RUN))
        tracemalloc.start()
        moved, _ = at_voxels(volumes, voxels, SHAPE[::-1], affine, **options)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    return {
        "peak_mb": 1e-6 * most,
        "result_mb": 1e-6 * moved.raw().nbytes,
        "run_int16_mb": 2e-6 * RUN * float(np.prod(SHAPE)),
    }


if __name__ == "__main__":
    main()
