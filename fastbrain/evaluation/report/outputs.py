"""Write the results of one evaluation into its run folder: scores, samples, report and paper."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..._environment import check_file
from ..._io import write_atomic, write_json
from ..._runfiles import read_log
from ...data import VoxelStore
from ...data.studies.own_clips import origin_of
from ...errors import some
from ...stats.derangements import check_count
from ..analyses.by_subject import subject_table
from ..judged import check_fluency_model
from ..protocol import Evaluation
from ..records import write_samples
from .html import ReportParts, drawn, write_report
from .paper import check_paper, write_paper
from .print_style import check_matplotlib
from .run_facts import RunFacts
from .table import group_table

# columns of the table of runs, from their quality
_QUALITY = {
    "tsnr": "tSNR",
    "fd_mean": "mean FD (mm)",
    "dvars_mean": "mean DVARS (%)",
    "design_lost": "design variance lost",
}
OUTPUTS = ("metrics.json", "samples.parquet", "subjects.md", "report.html")
_STAGES = ("pretrain", "video", "calibrate", "warmup", "stage1", "stage2", "tune", "adapt")


def check_outputs(run: str | Path, *, function: str, count: int, judge: str | None = None) -> None:
    """Raise unless an evaluation can be made and written; call it before the long work.

    Parameters
    ----------
    run : str or Path
    function : str
        Name of the calling function, for error messages.
    count : int
        Number of derangements.
    judge : str, optional
        Second language model, for the fluency of the texts.

    Raises
    ------
    InputError
        There are too few derangements, or the language model cannot be found.
    DiskError
        The folder is not writable.
    MissingPartError
        matplotlib is not installed.
    """
    check_count(count, function=function)
    check_fluency_model(judge, function=function)
    check_matplotlib()
    for name in OUTPUTS:
        check_file(Path(run) / name, function=function)
    check_paper(run, function=function)


def write_outputs(
    run: str | Path, evaluation: Evaluation, parts: ReportParts, facts: RunFacts
) -> None:
    """Write all of ``OUTPUTS``, and ``paper/``."""
    run = Path(run)
    write_json(run / "metrics.json", evaluation.to_json())
    write_samples(run / "samples.parquet", evaluation)
    other = evaluation.facts.get("cross_data_set")
    tables = (
        _other_data(other) if other else "",
        subject_table(evaluation.scores),
        group_table(evaluation.scores, evaluation.facts),
    )
    write_atomic(run / "subjects.md", "\n\n".join(filter(None, tables)) + "\n")
    figures = drawn(evaluation, parts)
    write_report(run / "report.html", evaluation, parts, figures)
    write_paper(run, evaluation, parts, facts, figures)


def run_parts(
    run: str | Path,
    store: VoxelStore,
    manifest: Mapping[str, Any],
    parts: ReportParts | None = None,
    *,
    held: Mapping[str, str] | None = None,
) -> ReportParts:
    """Add the facts of a run folder and its store to the parts of a report.

    Parameters
    ----------
    run : str or Path
    store : VoxelStore
    manifest : mapping
        Manifest of the run.
    parts : ReportParts, optional
        Title, notes and pictures that the caller has.
    held : mapping of str to str, optional
        Reason for each test window that was not scored.

    Raises
    ------
    CheckpointError
        A training log is damaged.
    """
    parts = parts or ReportParts()
    notes = [*parts.notes]
    if other := manifest.get("cross_data_set"):
        notes.append(_other_data(other))
    notes += store.filter.warnings()
    notes += [f"run {name} was left out: {why}" for name, why in store.info.excluded.items()]
    if held:
        shown = some([f"{trial} ({reason})" for trial, reason in held.items()])
        notes.append(
            f"{len(held)} test windows were not scored, because they are far from all training "
            f"windows: {shown}"
        )
    return replace(
        parts,
        notes=tuple(notes),
        data=data_facts(store, manifest),
        quality=_quality(store),
        audit=manifest.get("audit"),
        history=histories(Path(run)),
        grid=store.grid,
        affine=store.affine,
    )


def _other_data(facts: Mapping[str, str]) -> str:
    return (
        f"Cross-data-set evaluation: the scored windows are those of {facts['name']} (store "
        f"{facts['store_fingerprint']}), not of the data set of training (store "
        f"{facts['trained_on']}). The audit compares them with the training part."
    )


def data_facts(store: VoxelStore, manifest: Mapping[str, Any]) -> dict[str, str]:
    """Describe cohort, split, windows and model of a run, one line per entry."""
    spec, split = store.window_spec, store.split
    subjects = sorted({store.by_id[t].subject for t in split.test})
    adapted = len(manifest.get("adapt_trials") or ())
    facts = {
        "split": f"{len(split.train)} windows for training, {len(split.val)} for validation, "
        f"{len(split.test)} for testing"
        + (f"; {adapted} of the test windows are for adaptation and not scored" if adapted else ""),
        "held out": ", ".join(split.keys) or "nothing but windows",
        "test subjects": ", ".join(subjects),
        "windows": f"{spec.window_trs} volumes from {spec.delay_s} s after onset "
        f"(offset {spec.onset_offset_s} s), TR {store.tr} s",
        "tokens": f"{store.grid.n_tokens} of {store.grid.patch_words}"
        + (" (zyx)" if store.grid.geometry == "volume" else ""),
        "units": f"{store.units}, statistics of {len(store.fit_runs)} training runs only",
        **store.filter.describe(),
        **({} if store.denoising is None else store.denoising.describe()),
        "adaptation": manifest.get("adaptation", "inductive"),
        "language model": Path(manifest["llm"]).name,
        "store": manifest["store_fingerprint"],
    }
    if origin := origin_of(store):
        facts["targets"] = origin
    if other := manifest.get("cross_data_set"):
        facts["scored on"] = f"another data set, {other['name']}: {other['store_fingerprint']}"
    if adapted:
        facts["adapted on"] = f"{adapted} unlabelled test windows, not scored"
    if "adapted" in manifest:
        fitted = manifest["adapted"]
        facts["fitted to"] = (
            f"subject {fitted['subject']}, on labelled windows of {', '.join(fitted['runs'])}, "
            "which are not scored"
        )
    if "readout" in manifest:
        fit = manifest["readout"]
        facts["readout start"] = (
            f"ridge, R² {fit['r2']:.3f} cross-validated over training runs, "
            f"{fit['windows']} windows"
        )
        if "dimensions" in fit:
            facts["readout start"] += f", on a random projection to {fit['dimensions']} dimensions"
    return facts


def _quality(store: VoxelStore) -> list[dict[str, Any]]:
    test = {store.by_id[t].run_id for t in store.split.test}
    return [
        {
            "run": name,
            "part": "test" if name in test else "train or validation",
            "volumes": facts["n_volumes"],
            "clipped values": facts.get("clipped", "not known"),
            "dead voxels": facts.get("dead_voxels", "not known"),
            "correlation with the mean image": facts.get("image_correlation", "not known"),
            **{title: facts["quality"].get(key) for key, title in _QUALITY.items()},
            "censored volumes": len(facts["censored"]),
            "notes": "; ".join(facts.get("notes") or ()),
        }
        for name, facts in store.info.runs.items()
    ]


def histories(run: Path) -> dict[str, list[dict[str, Any]]]:
    """Read the log of every training stage of a run, in the order of training."""
    rows = {}
    for folder in sorted((run / "stages").glob("*")):
        log = folder / "log.jsonl"
        if log.is_file():
            rows[folder.name] = read_log(log, function="evaluate")
    return {name: rows[name] for name in _STAGES if name in rows}
