"""Resting-state study from images and an atlas: one series of regions for each person.

Runs are read one after the other, and the series of each finished run is kept beside the study, so
that an interrupted extraction goes on where it was.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..._arguments import checked
from ..._arrays import npy_bytes, read_npy
from ..._io import new_output, read_json, sha256, write_atomic, write_json
from ..._progress import say, track
from ...errors import CheckpointError, CohortError, OutputExistsError
from ..features.clean_series import clean_series, read_confounds
from ..features.parcels import parcel_series, read_parcellation
from ..features.series import resample_series
from ..readers.masks import read_label_names
from ..readers.parcellation import Parcellation
from ..readers.runs_table import RunRecord
from ..readers.timing import TR_TOLERANCE_S
from ..readers.volumes import load_volumes
from ..store.inputs import identities
from .rest_inputs import (
    RestOptions,
    chosen_runs,
    common_tr,
    people_of_table,
)
from .resting_study import RestingStudy, write_resting


@checked
def rest_from_images(
    runs: Sequence[RunRecord],
    atlas: str | Path,
    participants: str | Path,
    out: str | Path,
    *,
    options: RestOptions,
    labels: str | Path | None = None,
    resume: bool = False,
) -> Path:
    """Extract the series of atlas regions of every run and write a study of all people.

    Parameters
    ----------
    runs : sequence of RunRecord
        All on the grid of the atlas. One run at a time is in memory.
    atlas : str or Path
        Label image; 0 means no region.
    participants : str or Path
        Table with ``participant_id`` and the variables of each person.
    out : str or Path
        New folder, for :func:`read_resting`. Finished runs are kept in a folder of the same name
        with ``.partial`` until the study is complete.
    options : RestOptions
    labels : str or Path, optional
        Table (TSV) with ``index`` and ``name`` of the regions to use; default: every label.
    resume : bool
        Go on with the finished runs of ``.partial``.

    Returns
    -------
    Path

    Raises
    ------
    CohortError
        A person with images has no row in the table, a table is damaged, a run has no confounds,
        or runs differ in their TR and none is given.
    VolumeError
        An image cannot be read, is on another grid, or a region has no signal.
    CheckpointError
        The finished runs were made with other settings.
    OutputExistsError
        `out` exists, or ``.partial`` does and `resume` is false.
    """
    out = Path(out)
    if out.exists():
        raise OutputExistsError(f"rest_from_images: {out} must not exist. Choose another name.")
    table = people_of_table(Path(participants), runs)
    chosen = chosen_runs(runs, options)
    tr = common_tr(chosen, options)
    names = None if labels is None else read_label_names(labels)
    partial = new_output(out.with_name(out.name + ".partial"), resume=resume)
    settings = {
        "options": {**asdict(options), "confounds": list(options.confounds)},
        "tr": tr,
        "atlas": sha256(atlas),
        "labels": None if names is None else {str(k): v for k, v in names.items()},
    }
    _claim(partial, settings)
    parcellations: dict[Any, Parcellation] = {}
    for run in track(chosen, "runs"):
        inputs = _inputs(run, options)
        done = partial / f"{run.run_id}.json"
        if done.exists() and read_json(done)["inputs"] == inputs:
            continue
        if done.exists():
            say(f"note: the files of {run.run_id} have changed: its series is made again")
        facts = _extract(run, atlas, names, parcellations, tr, options, partial)
        # last, because it marks the run as finished
        write_json(done, {**facts, "inputs": inputs})
    regions = read_json(partial / f"{chosen[0].run_id}.json")["regions"]
    series: dict[str, npt.NDArray[np.floating]] = {}
    record: dict[str, Any] = {}
    for person in table:
        own = [run.run_id for run in chosen if f"sub-{run.subject}" == person]
        series[person] = _Joined([partial / f"{name}.npy" for name in own])  # type: ignore[assignment]
        record[person] = {name: read_json(partial / f"{name}.json")["frames"] for name in own}
    write_resting(RestingStudy(series, table, tr, tuple(regions)), out)
    write_json(out / "runs.json", {**settings, "frames": record})
    shutil.rmtree(partial)
    return out


def _inputs(run: RunRecord, options: RestOptions) -> dict[str, Any]:
    """Identity of the files that the series of a run depend on."""
    files: dict[str, Any] = dict(identities(run.bold))
    if options.confounds:
        assert run.confounds is not None  # chosen_runs
        files["confounds"] = sha256(run.confounds)
    return files


class _Joined:
    """Runs of a person that are read when numpy asks for the array, one person at a time."""

    def __init__(self, files: list[Path]) -> None:
        self.files = files

    def __array__(self, dtype: Any = None, copy: Any = None) -> npt.NDArray[Any]:
        parts = [read_npy(file, where="rest_from_images", error=CohortError) for file in self.files]
        return np.concatenate(parts, axis=1)


def _extract(
    run: RunRecord,
    atlas: str | Path,
    names: Mapping[int, str] | None,
    parcellations: dict[Any, Parcellation],
    tr: float,
    options: RestOptions,
    partial: Path,
) -> dict[str, Any]:
    """Write the series of one run, and return its facts."""
    volumes = load_volumes(run.bold, tr=run.tr)
    if run.n_volumes is not None and run.n_volumes != volumes.shape[0]:
        raise CohortError(
            f"rest_from_images: {run.bold} must have the {run.n_volumes} volumes of its table or "
            f"sidecar, got {volumes.shape[0]}. Fetch the image again, or correct the number."
        )
    grid = (volumes.shape[1:], volumes.affine.tobytes())
    if grid not in parcellations:
        parcellations[grid] = read_parcellation(atlas, volumes, names=names)
    parcellation = parcellations[grid]
    confounds = None
    if options.confounds:
        assert run.confounds is not None  # chosen_runs
        confounds = read_confounds(run.confounds, options.confounds, volumes=volumes.shape[0])
    values = clean_series(
        parcel_series(volumes, parcellation),
        tr=volumes.tr,
        high_pass_s=options.high_pass_s,
        low_pass_s=options.low_pass_s,
        confounds=confounds,
        units=options.units,
    )
    if abs(volumes.tr - tr) > TR_TOLERANCE_S:
        values = resample_series(values, tr=volumes.tr, new_tr=tr)
    write_atomic(partial / f"{run.run_id}.npy", npy_bytes(values.astype(np.float32)))
    return {"frames": values.shape[1], "regions": list(parcellation.names)}


def _claim(partial: Path, settings: dict[str, Any]) -> None:
    """Write the settings, or compare them with those of the finished runs."""
    path = partial / "settings.json"
    if path.exists() and read_json(path) != settings:
        raise CheckpointError(
            f"rest_from_images: {partial} must be of the same atlas and options, got others. "
            "Repeat the command as it was, or remove the folder."
        )
    write_json(path, settings)
