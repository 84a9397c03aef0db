"""Recordings of Haxby et al. (2001) as a store of fastbrain; for haxby.py and haxby_ridge.py."""

from __future__ import annotations

from pathlib import Path

from checked_input import read_numbers

from fastbrain._io import write_atomic
from fastbrain.data import (
    Split,
    Trial,
    VoxelStore,
    WindowSpec,
    prepare_store,
    read_runs_table,
    split_by,
)
from fastbrain.data.readers.timing import nearest_volume
from fastbrain.errors import CohortError

SENTENCE = "the person is looking at {}"
NOUNS = {  # with the article that English wants
    "house": "a house",
    "scrambledpix": "a scrambled picture",
    "cat": "a cat",
    "shoe": "a shoe",
    "bottle": "a bottle",
    "scissors": "a pair of scissors",
    "chair": "a chair",
    "face": "a face",
}


def read_tr(data: Path) -> float:
    """Repetition time, in seconds."""
    try:
        return float((data / "scan_key.txt").read_text().split()[1])
    except (OSError, ValueError, IndexError) as error:
        raise CohortError(
            f"haxby: {data / 'scan_key.txt'} must be 'TR SECONDS', got: {error}."
        ) from error


def write_tables(data: Path, runs: list[int], tr: float, work: Path) -> Path:
    """Write a runs table and one events file a run: a trial is one volume of a block."""
    subject = min(data.glob("sub[0-9]*"), default=data / "sub001")
    missing = [run for run in runs if not (subject / f"BOLD/task001_run{run:03d}").is_dir()]
    if missing:
        raise CohortError(
            f"haxby: runs must be below {subject / 'BOLD'}, got no folder of {missing}."
        )
    key = data / "models/model001/condition_key.txt"
    try:
        conditions = [line.split()[1:3] for line in key.read_text().splitlines()]
        if not conditions or any(len(row) != 2 for row in conditions):
            raise ValueError("a line without a condition and its category, or no line")
    except (OSError, ValueError) as error:
        raise CohortError(
            f"haxby: {key} must name a condition and its category in every line, got: {error}."
        ) from error
    rows = ["subject\tsession\trun\tbold\tevents\tmask\ttr"]
    for run in runs:
        name = f"task001_run{run:03d}"
        events = ["onset\tduration\ttrial_type\tstimulus\ttext"]
        for condition, category in conditions:
            file = subject / f"model/model001/onsets/{name}/{condition}.txt"
            onsets = read_numbers(file, "haxby")
            for onset, duration in onsets[:, :2]:
                block = f"{category}-{run}-{onset:g}"
                for k in range(nearest_volume(duration, tr)):
                    start = onset + k * tr
                    events.append(f"{start:g}\t{tr:g}\t{category}\t{block}\t{sentence(category)}")
        write_atomic(work / f"{name}_events.tsv", "\n".join(events) + "\n")
        bold = (subject / f"BOLD/{name}/bold_1slice.nii.gz").resolve()
        mask = (data / "mask_1slice.nii.gz").resolve()
        rows.append(f"001\tn/a\t{run:03d}\t{bold}\t{name}_events.tsv\t{mask}\t{tr:g}")
    return write_atomic(work / "runs.tsv", "\n".join(rows) + "\n")


def make_store(
    table: Path, out: Path, test: list[int], delay: float, fold: int = 0, left_out: int = 0
) -> VoxelStore:
    """Prepare a store; every second block of one training run validates.

    A run that is left out goes with the test runs, so that nothing is fitted on it; 0: none.
    """

    def split(trials: list[Trial]) -> Split:
        tested = {f"{run:03d}" for run in (*test, left_out) if run}
        runs = sorted({t.run for t in trials} - tested)
        blocks = {
            run: list(dict.fromkeys(t.stimulus for t in trials if t.run == run)) for run in runs
        }
        val = blocks[runs[fold % len(runs)]][fold // len(runs) % 2 :: 2]
        train = [block for run in runs for block in blocks[run] if block not in val]
        seen = [t.stimulus for t in trials if t.run in tested]
        # eight sentences, all known: what is new in a test block is the scan
        return split_by(
            trials,
            "stimulus",
            train=train,
            val=val,
            test=list(dict.fromkeys(seen)),
            closed_set=True,
        )

    return prepare_store(
        read_runs_table(table, allow_outside=True),
        out,
        window=WindowSpec(delay, window_trs=1),
        kernel=(1, 4, 4),
        split=split,
    )


def sentence(category: str) -> str:
    """What the decoder should say of a category."""
    return SENTENCE.format(NOUNS.get(category, f"a {category}"))


def categories(store: VoxelStore) -> list[str]:
    """All categories, sorted."""
    return sorted({trial.category for trial in store.trials})


def block_of(trial: Trial) -> str:
    """Name of the block a volume belongs to."""
    return f"{trial.run_id}/{trial.stimulus}"


def block_truth(store: VoxelStore, runs: list[str]) -> dict[str, int]:
    """Category index of each block of some runs."""
    names = categories(store)
    return {block_of(t): names.index(t.category) for t in store.trials if t.run_id in runs}


def parts(store: VoxelStore) -> tuple[list[str], list[str]]:
    """Ids of training runs (those that validate are among them) and of test runs."""
    test = {store.by_id[t].run_id for t in store.split.test}
    runs = sorted({t.run_id for t in store.trials})
    return [run for run in runs if run not in test], [run for run in runs if run in test]
