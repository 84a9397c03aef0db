"""Does training wait for its data? The default run of LLM4Brain, epoch by epoch.

    python benchmarks/training.py --work DIR [--machine NAME] [--cases demo head]

``demo`` is the cohort of ``fastbrain demo``, 4 mm; ``head`` whole brains at 2 mm, windows as large
as those of HAD. Cohort and store are made once and stay in DIR. Every stage of ``RunConfig()`` runs
as long as it does by default: the first epoch decodes clips and reads the store for the first time.
Rows hold what the training loop itself records. A window is a trial, a token one that the language
model reads (BOS, prefix, prompt, answer, no padding), waiting is the time in which the loop had
no batch; validation and checkpoints do not count. ``load_before`` is what else the machine did.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path

from recording import Recorder

from fastbrain.data import (
    CohortDesign,
    VoxelStore,
    WindowSpec,
    prepare_store,
    read_runs_table,
    simulate_cohort,
    split_unseen,
)
from fastbrain.llm4brain.training import RunConfig, preset, train_llm4brain

DESIGNS = {
    "demo": (CohortDesign(snr=0.25), WindowSpec(4.0, 4), (6, 6, 6)),
    "head": (
        CohortDesign(subjects=3, runs=2, trials=16, resolution_mm=2),
        WindowSpec(4.0, 2),
        (10, 10, 10),
    ),
}
STAGES = ("pretrain", "video", "stage1", "stage2")


def main() -> None:
    """Make what is missing, train, record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder of cohorts and stores")
    parser.add_argument("--machine", help="folder below benchmarks/results; default: only print")
    parser.add_argument("--cases", nargs="+", choices=DESIGNS, default=list(DESIGNS))
    parser.add_argument("--prepare", action="store_true", help="make the stores and stop")
    args = parser.parse_args()
    recorder = None if args.prepare else Recorder(args.machine)
    for case in args.cases:
        store = _store(args.work / case, case)
        if recorder is None:
            continue
        load = os.getloadavg()[0]
        with tempfile.TemporaryDirectory() as work:
            train_llm4brain(store, Path(work) / "run", _config())
            for stage in STAGES:
                log = Path(work) / "run" / "stages" / stage / "log.jsonl"
                recorder.row(
                    op="training",
                    case=f"{case} {stage}",
                    window_mb=_megabytes(store),
                    batch_size=preset(stage).batch_size,
                    load_before=load,
                    **_pace([json.loads(line) for line in log.read_text().splitlines()]),
                )


def _pace(epochs: list[dict]) -> dict:
    """Throughput of the last epoch; waiting in the first one, and over all."""
    seconds = [1 / row["windows_per_s"] for row in epochs]  # of equally many windows
    waited = sum(row["wait"] * s for row, s in zip(epochs, seconds, strict=True))
    return {
        **{k: epochs[-1][k] for k in ("windows_per_s", "tokens_per_s")},
        "epochs": len(epochs),
        "wait_first": epochs[0]["wait"],
        "wait": waited / sum(seconds),
    }


def _store(folder: Path, case: str) -> VoxelStore:
    design, window, kernel = DESIGNS[case]
    if (folder / "store" / "manifest.json").is_file():
        return VoxelStore.open(folder / "store")
    if not (folder / "cohort").exists():
        simulate_cohort(folder / "cohort", design)
    unseen = f"{design.subjects:02d}"
    return prepare_store(
        read_runs_table(folder / "cohort" / "runs.tsv"),
        folder / "store",
        window=window,
        kernel=kernel,
        split=lambda trials: split_unseen(trials, test_subjects=[unseen], val_fraction=0.25),
        resume=(folder / "store").exists(),
    )


def _config() -> RunConfig:
    return RunConfig(**{stage: preset(stage) for stage in STAGES})


def _megabytes(store: VoxelStore) -> float:
    trial = store.trials[0]
    return trial.frames * store.grid.n_tokens * store.grid.patch_voxels * 2 / 1e6


if __name__ == "__main__":
    main()
