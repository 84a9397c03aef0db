"""Evaluate a run of the fMRI language model, and write its report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .._arguments import checked
from .._environment import check_file
from .._io import write_json
from ..data import ConnectomeStudy, RestingStudy
from .evaluate import VQLMResult, evaluate_vqlm
from .report import REPORTS, check_report, write_report
from .run_records import ANSWERS, PARTS, open_study, read_people


@checked
def evaluate_vqlm_run(
    run: str | Path,
    study: RestingStudy | ConnectomeStudy | str | Path | None = None,
    *,
    permutations: int = 999,
    seed: int = 0,
) -> VQLMResult:
    """Score a run of :func:`train_vqlm` and write the results into its folder.

    The files are ``metrics.json``, ``report.html``, ``subjects.md`` with the true and the predicted
    values of each test person, ``paper/``, and ``answers.json``, which decoding of new people
    needs: the calibration of a number, or the labels.

    Parameters
    ----------
    run : str or Path
    study : RestingStudy, ConnectomeStudy, str or Path, optional
        The study of training, or its current folder; default: where it was at training.
    permutations, seed
        As in :func:`evaluate_vqlm`.

    Returns
    -------
    VQLMResult

    Raises
    ------
    CheckpointError
        Training is not finished, a file is missing or damaged, or the study of training was not
        found.
    DiskError
        The run folder is not writable; this is checked before anything is computed.
    MissingPartError
        matplotlib is not installed.
    """
    run = Path(run)
    for name in ("metrics.json", ANSWERS, *REPORTS):
        if (run / name).parent.is_dir():
            check_file(run / name, function="evaluate_vqlm_run")
    found = open_study(run, study, function="evaluate_vqlm_run")
    check_report()
    result = evaluate_vqlm(run, found, permutations=permutations, seed=seed)
    target, split = read_people(run, function="evaluate_vqlm_run")
    values: Any = found.numbers(target) if result.kind == "scale" else found.labels(target)
    families = found.families()
    labels = [] if result.kind == "scale" else sorted(set(values.values()))
    truth = {p: values[p] for p in split["test"]}
    people = {"target": target, "truth": truth, "labels": labels}
    people["families"] = {p: families[p] for p in split["test"]}
    write_json(run / "metrics.json", result.to_json() | people)
    answers: dict[str, Any] = {"kind": result.kind, "target": target, "labels": labels}
    if result.kind == "scale":
        answers |= _calibration(result) | {"fitted_on": list(split["val"])}
    write_json(run / ANSWERS, answers)
    data = {
        "people": ", ".join(f"{len(split[part])} {part}" for part in PARTS),
        "regions": str(len(found.regions)),
        "target": target,
    }
    if isinstance(found, RestingStudy):
        data["repetition time"] = f"{found.tr:g} s"
    write_report(run, result, truth, target=target, labels=labels, data=data)
    return result


def _calibration(result: VQLMResult) -> dict[str, float]:
    """Slope and intercept between the uncalibrated and the calibrated predictions, a line."""
    people = list(result.predicted["digits"])
    mean = np.array([result.predicted["digits"][p] for p in people])
    fitted = np.array([result.predicted["digits, calibrated"][p] for p in people])
    low, high = int(mean.argmin()), int(mean.argmax())
    spread = float(mean[high] - mean[low])
    slope = float(fitted[high] - fitted[low]) / spread if spread > 0 else 0.0
    return {"slope": slope, "intercept": float(fitted[low] - slope * mean[low])}
