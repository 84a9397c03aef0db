"""CPU time to index a tree of the size of HAD, raw and with derivatives, beside pybids.

    python benchmarks/systems/index_bids.py [--machine NAME] [--rounds 5] [--people 30 90]

Trees of empty files in the layout of HAD and of fMRIPrep: 12 runs a person, two spaces, masks,
confounds, CIFTI files. That of 30 people has 18,000 clips besides, as HAD has; that of 90 people
has about as many files without them. Sidecars and events hold a few lines. Both sides run in turn;
times are CPU seconds of one process, with a warm cache of the file system. pybids reads the same
tree with and without the derivatives; where it is not installed, its fields are missing.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any

ROOT = Path(__file__).parents[2]
RUNS = range(1, 13)
CLIPS = 18_000
SPACES = ("T1w", "MNI152NLin2009cAsym_res-2")
OF_A_SPACE = (
    "desc-preproc_bold.nii.gz desc-preproc_bold.json desc-brain_mask.nii.gz desc-brain_mask.json "
    "boldref.nii.gz desc-aparcaseg_dseg.nii.gz"
).split()
OF_A_RUN = (
    "desc-confounds_timeseries.tsv desc-confounds_timeseries.json desc-hmc_boldref.nii.gz "
    "from-boldref_to-T1w_mode-image_xfm.txt space-fsLR_den-91k_bold.dtseries.nii "
    "space-fsLR_den-91k_bold.json"
).split()
SIDECAR = '{"RepetitionTime": 2.0, "TaskName": "action"}'
EVENTS = "onset\tduration\ttrial_type\n0.0\t2.0\t1\n4.0\t2.0\t2\n"


def build(root: Path, people: int, clips: int) -> int:
    """Write the tree and return its number of files."""
    files: dict[Path, str] = {
        root / "dataset_description.json": '{"Name": "x", "BIDSVersion": "1.8.0"}',
        root / "derivatives/fmriprep/dataset_description.json": '{"Name": "x", "BIDSVersion": '
        '"1.8.0", "DatasetType": "derivative", "GeneratedBy": [{"Name": "fMRIPrep"}]}',
        root / "participants.tsv": "participant_id\n"
        + "".join(f"sub-{s:02d}\n" for s in range(1, people + 1)),
    }
    for s in range(1, people + 1):
        session = Path(f"sub-{s:02d}/ses-action01")
        start = f"sub-{s:02d}_ses-action01"
        files[root / session / f"{start}_scans.tsv"] = "filename\n"
        files[root / session / f"anat/{start}_T1w.nii.gz"] = ""
        files[root / session / f"anat/{start}_T1w.json"] = "{}"
        for run in RUNS:
            stem = session / f"func/{start}_task-action_run-{run:02d}"
            files[root / f"{stem}_bold.nii.gz"] = ""
            files[root / f"{stem}_bold.json"] = SIDECAR
            files[root / f"{stem}_events.tsv"] = EVENTS
            derived = root / "derivatives/fmriprep"
            for name in OF_A_RUN:
                files[derived / f"{stem}_{name}"] = "{}" if name.endswith(".json") else ""
            for space in SPACES:
                for name in OF_A_SPACE:
                    text = SIDECAR if name == "desc-preproc_bold.json" else "{}"
                    text = text if name.endswith(".json") else ""
                    files[derived / f"{stem}_space-{space}_{name}"] = text
    for clip in range(clips):
        files[root / f"stimuli/action{clip % 180:03d}/clip{clip:05d}.mp4"] = ""
    for folder in {path.parent for path in files}:
        folder.mkdir(parents=True, exist_ok=True)
    for path, text in files.items():
        path.write_text(text)
    return len(files)


def seconds(call: Callable[[], Any]) -> float:
    """CPU seconds of a call."""
    start = process_time()
    call()
    return process_time() - start


def by_pybids(root: Path, derivatives: bool) -> Callable[[], Any] | None:
    """Index by pybids and list the images with their metadata; None where it is not installed."""
    try:
        from bids import BIDSLayout
    except ImportError:
        return None

    def call() -> None:
        layout = BIDSLayout(root, validate=False, derivatives=derivatives)
        chosen = {"desc": "preproc", "space": "MNI152NLin2009cAsym"} if derivatives else {}
        found = layout.get(suffix="bold", extension=".nii.gz", task="action", **chosen)
        for image in found:
            image.get_metadata()
        assert found

    return call


def measure(root: Path, people: int, clips: int, rounds: int) -> list[dict[str, Any]]:
    """Index one tree in turn by both."""
    from fastbrain.data import runs_from_bids

    files = build(root, people, clips)
    rows = []
    for name in ("raw", "derivatives"):
        chosen = {"derivatives": "fmriprep", "space": "MNI152NLin2009cAsym"}
        options = chosen if name == "derivatives" else {}

        def own(options: dict[str, str] = options) -> None:
            assert len(runs_from_bids(root, task="action", **options)) == people * len(RUNS)

        peer = by_pybids(root, name == "derivatives")
        own()
        mine, theirs = [], []
        for _ in range(rounds):
            mine.append(seconds(own))
            if peer is not None:
                theirs.append(seconds(peer))
        row = {"op": "index_bids", "case": f"{name} {people} people", "files": files}
        row |= {"runs": people * len(RUNS), "cpu_s": median(mine), "slowest_cpu_s": max(mine)}
        if theirs:
            row |= {"pybids_cpu_s": median(theirs)}
            row["ratio"] = median(t / m for t, m in zip(theirs, mine, strict=True))
        rows.append(row)
    return rows


def main() -> None:
    """Measure and keep the rows."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    os.environ.setdefault("SQLALCHEMY_SILENCE_UBER_WARNING", "1")
    from recording import Recorder

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--people", type=int, nargs="+", default=[30, 90])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--machine", help="folder below benchmarks/results; default: print only")
    args = parser.parse_args()
    recorder = Recorder(args.machine)
    for people in args.people:
        with tempfile.TemporaryDirectory() as folder:
            clips = CLIPS if people <= 30 else 0
            for row in measure(Path(folder).resolve(), people, clips, args.rounds):
                recorder.row(**row)


if __name__ == "__main__":
    main()
