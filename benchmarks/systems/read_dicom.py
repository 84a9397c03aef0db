"""Time from a complete DICOM file to an array, beside spawning dcm2niix for it.

    python benchmarks/systems/read_dicom.py [--machine NAME] [--files 100] [--dcm2niix PATH]

Mosaics of 36 slices of 64 x 64 voxels, as the tests write them, each in a file of its own. Both
sides read every file in turn. The rival's time is that of one process of dcm2niix (uncompressed, no
sidecar), with and without loading its NIfTI with nibabel; without dcm2niix on the path, its fields
are missing.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter
from typing import Any

import nibabel as nib
import numpy as np

ROOT = Path(__file__).parents[2]
SHAPE = (36, 64, 64)


def spawned(exe: str, file: Path, out: Path) -> tuple[float, float]:
    """Seconds of dcm2niix, and with the loading of what it wrote."""
    out.mkdir()
    start = perf_counter()
    command = [exe, "-s", "y", "-b", "n", "-z", "n", "-f", "x", "-o", str(out), str(file)]
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    made = perf_counter() - start
    (image,) = out.glob("*.nii")
    np.asanyarray(nib.load(image).dataobj)
    return made, perf_counter() - start


def measure(files: int, exe: str | None) -> dict[str, Any]:
    """Read every file by both."""
    import make_dicom

    from fastbrain.realtime import read_dicom

    own, rival, loaded = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for i in range(files):
            path = root / f"{i:04d}.dcm"
            path.write_bytes(make_dicom.mosaic(make_dicom.voxels(SHAPE, seed=i), index=i))
            read_dicom(path)
            start = perf_counter()
            read_dicom(path)
            own.append(perf_counter() - start)
            if exe is not None:
                made, whole = spawned(exe, path, root / f"out{i}")
                rival.append(made)
                loaded.append(whole)
    row = {"op": "read_dicom", "case": "mosaic 64 x 64 x 36", "files": files}
    row |= {"ms": 1e3 * median(own), "p99_ms": 1e3 * quantiles(own, n=100)[-1]}
    if rival:
        row |= {"dcm2niix_ms": 1e3 * median(rival), "dcm2niix_and_load_ms": 1e3 * median(loaded)}
        row["ratio"] = median(r / o for r, o in zip(rival, own, strict=True))
    return row


def main() -> None:
    """Measure and keep the row."""
    sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT / "tests" / "realtime")]
    from recording import Recorder

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=100)
    parser.add_argument("--dcm2niix", default=shutil.which("dcm2niix"))
    parser.add_argument("--machine", help="folder below benchmarks/results; default: print only")
    args = parser.parse_args()
    Recorder(args.machine).row(**measure(args.files, args.dcm2niix))


if __name__ == "__main__":
    main()
