"""Comparison of evaluated runs of the fMRI language model, paired by test person."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .._arguments import checked
from .._rules import list_of, number, table_of, text
from .._runfiles import read_record
from ..errors import InputError
from ..evaluation.report.compare_runs import Comparison, different, paired_differences

# computed from the series alone, so a property of the study
_BASELINES = ("mean", "connectivity ridge", "connectivity SVR", "image")
_METRICS = {
    "kind": text,
    "target": text,
    "labels": list_of(text),
    "truth": table_of(lambda value: text(value) or number(value)),
    "families": table_of(text),
    "predicted": table_of(table_of(lambda value: number(value) or list_of(number)(value))),
}


@checked
def compare_vqlm(runs: Sequence[str | Path], *, seed: int = 0) -> Comparison:
    """Compare evaluated runs on the test people that all of them share.

    Numbers are compared by absolute error (lower is better), labels by the probability of the true
    label (higher is better), for each prediction method of both. Families are flipped and resampled
    as a whole.

    Parameters
    ----------
    runs : sequence of str or Path
        Run folders after ``fastbrain evaluate``; the first is the reference.
    seed : int
        Seed of the intervals and sign flips.

    Returns
    -------
    Comparison

    Raises
    ------
    InputError
        There are fewer than two runs, a run is given twice, targets differ, a shared person has
        another true value, or fewer than two test people are shared.
    CheckpointError
        A ``metrics.json`` is missing, damaged, or of an earlier version.
    """
    folders = different(runs)
    found = [
        read_record(folder / "metrics.json", _METRICS, function="compare") for folder in folders
    ]
    if len({(one["kind"], one["target"], tuple(one["labels"])) for one in found}) > 1:
        told = ", ".join(f"{one['target']} ({one['kind']})" for one in found)
        raise InputError(f"compare: runs must predict the same target, got {told}.")
    people = [p for p in found[0]["truth"] if all(p in one["truth"] for one in found)]
    if len(people) < 2:
        raise InputError(
            f"compare: runs must share at least two test people, got {len(people)}. Were they "
            "trained with different splits?"
        )
    for folder, one in zip(folders, found, strict=True):
        odd = [p for p in people if one["truth"][p] != found[0]["truth"][p]]
        if odd:
            raise InputError(
                f"compare: a person must have the same true value in every run, got another for "
                f"{odd[0]} in {folder}. The studies differ."
            )
    ways = [way for way in found[0]["predicted"] if way not in _BASELINES]
    ways = [way for way in ways if all(way in one["predicted"] for one in found)]
    name = "probability of the true label" if found[0]["labels"] else "absolute error"
    scores = [{f"{name}, {way}": _scores(one, way, people) for way in ways} for one in found]
    blocks = [found[0]["families"][p] for p in people]
    sizes = [len(one["truth"]) for one in found]
    notes = []
    if set(sizes) != {len(people)}:
        notes.append(
            f"The runs have {', '.join(map(str, sizes))} test people; {len(people)} are shared, "
            "and their training people differ."
        )
    return paired_differences(folders, scores, blocks, notes=notes, seed=seed)


def _scores(metrics: dict[str, Any], way: str, people: Sequence[str]) -> npt.NDArray[np.float64]:
    predicted, truth = metrics["predicted"][way], metrics["truth"]
    if metrics["labels"]:
        return np.array([predicted[p][metrics["labels"].index(truth[p])] for p in people])
    return np.array([abs(predicted[p] - truth[p]) for p in people])
