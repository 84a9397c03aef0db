"""Comparison of runs on their shared samples, with paired tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..._arguments import checked
from ..._runfiles import read_metrics
from ...errors import InputError
from ...stats.inference import Interval, adjusted_p, bootstrap_interval
from ..controls.conditions import paired_p
from ..records import read_samples, sample_scores

# their signature names the encoder and its layer
_BY_MODEL = ("bertscore", "cosine")
_AMONG = ("meaning_", "words_")  # found among the scored texts of the run


@dataclass(frozen=True)
class Difference:
    """Difference of one metric between a run and the first run, over the shared samples.

    Parameters
    ----------
    metric, run : str
    value, first : float
        Mean over samples, of this run and of the first run.
    interval : Interval or None
        Interval of the difference, resampling whole blocks; None for a single block.
    p : float
        Two-sided, by sign flips of whole blocks.
    adjusted : float
        p after Benjamini-Hochberg over all differences of the comparison.
    """

    metric: str
    run: str
    value: float
    first: float
    interval: Interval | None
    p: float
    adjusted: float


@dataclass(frozen=True)
class Comparison:
    """Comparison of runs on the same samples.

    Parameters
    ----------
    runs : tuple of str
        The others are compared with the first.
    n : int
        Samples that all runs scored.
    n_blocks : int
    values : dict
        Metric name to the mean of each run.
    differences : tuple of Difference
    notes : tuple of str
        Reasons why the runs may not be comparable.
    """

    runs: tuple[str, ...]
    n: int
    n_blocks: int
    values: dict[str, tuple[float, ...]]
    differences: tuple[Difference, ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


@checked
def compare_runs(runs: Sequence[str | Path], *, seed: int = 0) -> Comparison:
    """Compare evaluated runs sample by sample.

    Parameters
    ----------
    runs : sequence of str or Path
        Folders with ``metrics.json`` and ``samples.parquet``; the first is the reference.
    seed : int
        Seed of the intervals and sign flips.

    Returns
    -------
    Comparison

    Raises
    ------
    InputError
        There are fewer than two runs, one is not evaluated, a run is given twice, a shared sample
        has a different true text or block, or fewer than two samples are shared.
    CheckpointError
        A ``metrics.json`` is missing or damaged.
    """
    folders = different(runs)
    tables = [read_samples(folder / "samples.parquet") for folder in folders]
    shared = _shared(folders, tables)
    blocks = [tables[0]["block"][i] for i in shared[0]]
    scores = [
        {name: values[rows] for name, values in sample_scores(table).items()}
        for table, rows in zip(tables, shared, strict=True)
    ]
    # the linear baseline is a property of the data, not of a run
    names = [
        name
        for name in scores[0]
        if all(name in other for other in scores) and not name.startswith("linear_")
    ]
    notes = _notes(folders, [len(table["trial_id"]) for table in tables], len(blocks))
    for start, what in ((_BY_MODEL, "encoders"), (_AMONG, "encoders or candidates")):
        if unlike := _unlike(folders, names, start):
            notes += (f"Not compared, as their {what} differ: {', '.join(unlike)}.",)
        names = [name for name in names if name not in unlike]
    scores = [{name: other[name] for name in names} for other in scores]
    return paired_differences(folders, scores, blocks, notes=notes, seed=seed)


def different(runs: Sequence[str | Path]) -> list[Path]:
    """Return the folders of runs to compare; raise :class:`InputError` for less than two."""
    folders = [Path(run) for run in runs]
    if len({folder.resolve() for folder in folders}) != len(folders) or len(folders) < 2:
        raise InputError(
            "compare_runs: runs must be two or more different folders, got "
            f"{', '.join(map(str, runs)) or 'none'}."
        )
    return folders


def paired_differences(
    folders: Sequence[Path],
    scores: Sequence[Mapping[str, npt.NDArray[np.float64]]],
    blocks: Sequence[str],
    *,
    notes: Sequence[str],
    seed: int,
) -> Comparison:
    """Compare the scores of runs with those of the first run.

    Parameters
    ----------
    folders : sequence of Path
    scores : sequence of mapping of str to ndarray, (N,)
        For each run, the values of each metric on the shared samples.
    blocks : sequence of str, (N,)
        Flipped and resampled as a whole.
    notes : sequence of str
    seed : int
    """
    names = list(scores[0])
    found = [
        _difference(name, str(folder), scores[0][name], other[name], blocks, seed)
        for folder, other in zip(folders[1:], scores[1:], strict=True)
        for name in names
    ]
    family = adjusted_p([d["p"] for d in found]) if found else np.empty(0)
    return Comparison(
        runs=tuple(map(str, folders)),
        n=len(blocks),
        n_blocks=len(set(blocks)),
        values={name: tuple(float(s[name].mean()) for s in scores) for name in names},
        differences=tuple(
            Difference(**d, adjusted=float(q)) for d, q in zip(found, family, strict=True)
        ),
        notes=tuple(notes),
    )


def _shared(
    folders: Sequence[Path], tables: Sequence[dict[str, list[Any]]]
) -> list[npt.NDArray[np.int64]]:
    """Rows of the shared samples in each table, in the order of the first table."""
    places = [{name: i for i, name in enumerate(table["trial_id"])} for table in tables]
    common = [name for name in places[0] if all(name in other for other in places[1:])]
    if len(common) < 2:
        raise InputError(
            f"compare_runs: runs must share at least two samples, got {len(common)}. Were they "
            "evaluated on different splits?"
        )
    for folder, table, place in zip(folders[1:], tables[1:], places[1:], strict=True):
        for what in ("truth", "block"):
            odd = [
                name
                for name in common
                if table[what][place[name]] != tables[0][what][places[0][name]]
            ]
            if odd:
                raise InputError(
                    f"compare_runs: a sample must have the same {what} in every run, got another "
                    f"for {odd[0]} in {folder}. The cohorts differ."
                )
    return [np.array([place[name] for name in common]) for place in places]


def _difference(
    metric: str,
    run: str,
    first: npt.NDArray[np.float64],
    other: npt.NDArray[np.float64],
    blocks: Sequence[str],
    seed: int,
) -> dict[str, Any]:
    change = other - first
    return {
        "metric": metric,
        "run": run,
        "value": float(other.mean()),
        "first": float(first.mean()),
        "interval": bootstrap_interval(change, blocks=blocks, seed=seed),
        "p": paired_p(change, blocks, seed=seed),
    }


def _unlike(folders: Sequence[Path], names: Sequence[str], start: tuple[str, ...]) -> list[str]:
    """Metrics with such a start that do not have the same signature in all runs."""
    signatures: dict[str, set[str]] = {}
    for folder in folders:
        for row in read_metrics(folder / "metrics.json", function="compare_runs")["scores"]:
            if row["metric"] in names and row["metric"].startswith(start):
                signatures.setdefault(row["metric"], set()).add(row.get("signature", ""))
    return [name for name in names if len(signatures.get(name, ())) > 1]


def _notes(folders: Sequence[Path], sizes: Sequence[int], shared: int) -> tuple[str, ...]:
    facts = [read_metrics(folder / "metrics.json", function="compare_runs") for folder in folders]
    notes = []
    if set(sizes) != {shared}:
        notes.append(f"The runs scored {', '.join(map(str, sizes))} samples; {shared} are shared.")
    splits = [fact.get("split") for fact in facts]
    if any(split != splits[0] for split in splits):
        notes.append("The runs were trained on different splits.")
    if len({fact.get("adaptation") for fact in facts}) > 1:
        notes.append("Some runs adapted to unlabelled test windows, others did not.")
    for folder, fact in zip(folders, facts, strict=True):
        audit = fact.get("audit")
        if audit is None:
            notes.append(f"{folder}: trained without a leak audit.")
        elif not audit["clean"]:
            notes.append(f"{folder}: the split leaks, allowed because: {audit.get('allowed')}.")
    return tuple(notes)
