"""The same people with a task and at rest: their cohorts, and a store of each on one grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from fastbrain import cli
from fastbrain.data import CohortDesign, VoxelStore, simulate_cohort, split_by


@pytest.fixture(scope="session")
def cohorts(tmp_path_factory) -> Path:
    """Folder of a task cohort, one of the same people without events, and a store of the task."""
    root = tmp_path_factory.mktemp("rest")
    design = CohortDesign(subjects=3, runs=3, trials=4, resolution_mm=8)
    simulate_cohort(root / "task", design)
    simulate_cohort(root / "rest", replace(design, seed=7))
    for events in (root / "rest").rglob("*_events.tsv"):
        events.unlink()
    table = root / "rest" / "runs.tsv"
    lines = [line.split("\t") for line in table.read_text().splitlines()]
    gone = lines[0].index("events")
    table.write_text(
        "".join("\t".join(w for i, w in enumerate(r) if i != gone) + "\n" for r in lines)
    )
    words = ["--window", "3", "--test-subjects", "03", "--val-fraction", "0.3"]
    command = ["prepare", str(root / "task" / "runs.tsv"), str(root / "store")]
    assert cli.main([*command, *words]) == 0
    return root


def prepare_rest(cohorts: Path, out: Path, *words: str) -> int:
    """Exit code of ``fastbrain prepare --no-events`` on the cohort at rest."""
    command = ["prepare", str(cohorts / "rest" / "runs.tsv"), str(out), "--no-events"]
    return cli.main([*command, *words])


@pytest.fixture(scope="session")
def stores(cohorts) -> tuple[VoxelStore, VoxelStore]:
    """The store of the task, and one at rest on its grid."""
    out = cohorts / "rest-store"
    words = ["--split-by", "subject", "--train", "01", "--val", "02"]
    words += ["--grid-of", str(cohorts / "store"), "--every", "2"]
    assert prepare_rest(cohorts, out, *words) == 0
    return VoxelStore.open(cohorts / "store"), VoxelStore.open(out)


def third_person_trains(trials, *, test: Sequence[str] = ("01",)):
    """Split in which the person that the task tests is the one for training."""
    return split_by(trials, "subject", train=["03"], val=["02"], test=list(test))
