"""How long one volume of a running scan takes: motion, interpolation, statistics, window.

    python benchmarks/systems/realtime_preprocess.py [--machine NAME] [--volumes 200] [--threads 1]

Volumes of 64 x 64 x 36 (3.2 x 3.2 x 3.5 mm) of a simulated head that moves by 0.05 mm and
0.03 degrees, with noise of 1 %, as a scanner with a repetition time of 0.8 s would send them. All
settings receive every volume in turn. Rows hold medians and 99th percentiles of each stage,
processor time, the share of the repetition time, and the error of the motion.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "helpers"))
from recording import Recorder
from simulated_head import affine_of, head

from fastbrain.data import RunRecord, VoxelStore, WindowSpec, prepare_store, split_by
from fastbrain.realtime.preprocess import PreprocessSettings, VolumePipeline, rigid_matrix
from fastbrain.realtime.volume import Volume

SHAPE, TR_S = (36, 64, 64), 0.8
AFFINE = affine_of(SHAPE)
DISTINCT, WARM_UP = 16, 30
SETTINGS = {
    "fastbrain": PreprocessSettings(),
    "fastbrain, linear": PreprocessSettings(interpolation="linear"),
    "fastbrain, no motion": PreprocessSettings(motion="none"),
}


def preprocess_rows(recorder: Recorder, *, volumes: int) -> None:
    """Push a run through every setting and record one row for each."""
    with tempfile.TemporaryDirectory() as folder:
        store = small_store(Path(folder))
    motions, images = simulated_volumes()
    pipelines = {
        name: VolumePipeline.from_run(store, settings=settings)
        for name, settings in SETTINGS.items()
    }
    found: dict[str, list[dict[str, float]]] = {name: [] for name in pipelines}
    for index in range(WARM_UP + volumes):
        volume = Volume(index, images[index % DISTINCT], AFFINE, index * TR_S, 0.0, TR_S)
        for name, pipeline in pipelines.items():
            wall, busy = perf_counter(), process_time()
            result = pipeline.push(volume)
            facts = {"total": perf_counter() - wall, "cpu": process_time() - busy}
            if result.motion is not None:
                away = result.motion - motions[index % DISTINCT] + motions[0]
                facts["error_mm"] = float(np.abs(away[:3]).max())
            if index >= WARM_UP:
                found[name].append({**result.stages_s, **facts})
    for name, rows in found.items():
        recorder.row(**summary(name, rows))


def summary(provider: str, rows: list[dict[str, float]]) -> dict[str, Any]:
    """One row from the seconds of every volume."""
    stages = ("motion", "resample", "statistics", "window", "total")
    ms = {stage: 1e3 * np.array([row[stage] for row in rows]) for stage in stages}
    aligned = ms["motion"] + ms["resample"]
    row: dict[str, Any] = {
        "op": "realtime_preprocess",
        "case": "64x64x36, TR 0.8 s",
        "provider": provider,
        "volumes": len(rows),
        "threads": torch.get_num_threads(),
        "align_share_of_tr": float(np.median(aligned)) / (1e3 * TR_S),
        "ms_cpu_p50": 1e3 * float(np.median([r["cpu"] for r in rows])),
    }
    for stage, values in ms.items():
        row |= {
            f"ms_{stage}_p50": float(np.median(values)),
            f"ms_{stage}_p99": float(np.quantile(values, 0.99)),
        }
    errors = [r["error_mm"] for r in rows if "error_mm" in r]
    return row | ({"motion_error_mm_p50": float(np.median(errors))} if errors else {})


def simulated_volumes() -> tuple[np.ndarray, list[np.ndarray]]:
    """Motions (N, 6) and int16 volumes (Z, Y, X); the first is the reference."""
    rng = np.random.default_rng(0)
    motions = rng.normal(0, [0.05] * 3 + [np.deg2rad(0.03)] * 3, (DISTINCT, 6))
    images = []
    for motion in motions:
        values = head(SHAPE, AFFINE, motion=rigid_matrix(motion, np.zeros(3)))
        images.append(((values + rng.normal(0, 10, SHAPE)) * 5).clip(0).astype(np.int16))
    return motions, images


def small_store(folder: Path) -> VoxelStore:
    """Store of three short runs on the grid of the volumes."""
    import nibabel as nib

    rng, still, runs = np.random.default_rng(1), head(SHAPE, AFFINE), []
    events = folder / "events.tsv"
    lines = [f"{4 * i}\t1\tcaption {i}" for i in range(8)]
    events.write_text("\n".join(["onset\tduration\ttext", *lines]) + "\n")
    for run in ("1", "2", "3"):
        noise = rng.normal(0, 10, (60, *SHAPE))
        image = nib.Nifti1Image(((still + noise) * 5).clip(0).astype(np.int16).T, AFFINE)
        image.header.set_xyzt_units("mm", "sec")
        image.header["pixdim"][4] = TR_S
        nib.save(image, folder / f"{run}.nii")
        runs.append(RunRecord(f"run{run}", "01", "", run, folder / f"{run}.nii", events))
    return prepare_store(
        runs,
        folder / "store",
        window=WindowSpec(4.0, 10),
        kernel=(6, 6, 6),
        high_pass_s=128.0,
        mask=still > 300,
        split=lambda trials: split_by(
            trials, "run", train=["1"], val=["2"], test=["3"], closed_set=True
        ),
    )


def main() -> None:
    """Parse the command line and record the rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--machine", help="folder below benchmarks/results; default: only print")
    parser.add_argument("--volumes", type=int, default=200)
    parser.add_argument("--threads", type=int, default=1, help="a second core is for decoding")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    preprocess_rows(Recorder(args.machine), volumes=args.volumes)


if __name__ == "__main__":
    main()
