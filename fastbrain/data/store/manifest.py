"""Manifest of a voxel store: settings, runs and file digests."""

from __future__ import annotations

import itertools
import os
import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, get_args

from ..._digests import read_sealed, write_sealed
from ..._io import read_json
from ..._rules import Rule, count, list_of, none_or, number, record_of, table_of, text
from ...errors import CohortError, InputError, StoreError
from ...layout import Geometry
from ..readers.trial_windows import WindowSpec
from .denoising.strategy import Denoising
from .detrend import Units
from .highpass import DriftFilter
from .stored_steps import LARGEST_STEP, StoredType
from .window_limits import WindowLimits

LAYOUT_VERSION = 4  # 4: int8, resampling, denoising, quality, excluded runs, surfaces and parcels
MANIFEST = "manifest.json"
COLLECTION = "collection.json"  # of stores, in the folder above them
GRIDS = "grids"  # folder of a collection with its stores
# all files of a store except manifest and runs
SMALL_FILES = (
    *("grid.npz", "mean.npy", "inv_std.npy", "mean_image.npy"),
    *("trials.parquet", "split.json"),
)
GEOMETRIES = ("volume", *get_args(Geometry))
_SHA256 = re.compile(r"[0-9a-f]{64}")
_RUN_ID = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True)
class Manifest:
    """Contents of a store and settings of its preparation; ``manifest.json``.

    Parameters
    ----------
    layout_version : int
    fastbrain : str
        Version that prepared the store.
    tr : float
        Seconds.
    window : dict
        Fields of :class:`WindowSpec`.
    units : str
        ``"psc"`` or ``"zscore"``.
    scale : float
        Store units per stored step.
    high_pass_s : float or None
    shape, kernel, stride : list of int
        (z, y, x).
    n_tokens, patch_voxels : int
    grid : str
        Fingerprint of the token grid.
    root : str
        Absolute path of the cohort when it was prepared, "" if it had no single root; clips lie in
        its folder ``stimuli``.
    fit : dict
        Runs and number of volumes from which mean and inv_std were computed; those of another
        store if this one was prepared like it.
    runs : dict
        By run id: subject, source, source_bytes, n_volumes, step (of `scale`, for a stored step;
        1 for int16), clipped, dead_voxels, image_correlation (of its mean image with that of the
        training runs), notes, censored (volumes), confounds (number of regressors), quality
        (columns of ``quality.tsv``); snr_db of int8.
    files : dict
        sha256 by file name of exactly the files that are read when the store is used.
    filter : dict
        How `high_pass_s` was chosen and what it removes of the training design: fields of
        :class:`fastbrain.data.DriftFilter`.
    limits : dict
        Fields of :class:`fastbrain.data.WindowLimits`.
    smoothing_mm : float or None
        Full width at half maximum of the Gaussian that smoothed every volume, mm.
    resampled : str
        Name of the grid that the runs were interpolated to; "" if none was.
    beta_divisor : float or None
        For betas of single trials, stored units per percent in their files; `tr` is then 1, and a
        volume is a trial. None: volumes of runs.
    origin_mm : list of 3 float
        World position (x, y, z) from which positions of tokens are counted, mm; 0 for images in a
        space that all people share.
    dtype : str
        ``"int16"`` or ``"int8"``, of the run files.
    denoising : dict or None
        Fields of :class:`fastbrain.data.Denoising`.
    excluded : dict
        Runs of the cohort that were left out of the store, with the reason of each.
    excluded_quality : dict
        By run id, for those of them that were measured before: subject, n_volumes and quality.
    space, resolution : str
        Those of the images, as their names or runs table state them: ``MNI152NLin2009cAsym`` and
        ``2``; "" if they do not.
    geometry : str
        ``"volume"``, ``"surface"`` or ``"parcels"``: what the tokens cover.
    """

    layout_version: int
    fastbrain: str
    tr: float
    window: dict[str, Any]
    units: Units
    scale: float
    high_pass_s: float | None
    shape: list[int]
    kernel: list[int]
    stride: list[int]
    n_tokens: int
    patch_voxels: int
    grid: str
    root: str
    fit: dict[str, Any]
    runs: dict[str, dict[str, Any]]
    files: dict[str, str]
    filter: dict[str, Any]
    limits: dict[str, Any]
    smoothing_mm: float | None
    resampled: str
    origin_mm: list[float]
    dtype: StoredType
    beta_divisor: float | None
    denoising: dict[str, Any] | None
    excluded: dict[str, str]
    excluded_quality: dict[str, dict[str, Any]]
    geometry: str
    space: str
    resolution: str

    def to_json(self) -> dict[str, Any]:
        """Convert to plain JSON values."""
        return asdict(self)

    def write(self, root: Path) -> None:
        """Write ``manifest.json`` with its own digest."""
        write_sealed(root / MANIFEST, self.to_json())

    @classmethod
    def read(cls, root: Path) -> Manifest:
        """Read and check ``manifest.json``; raises :class:`StoreError` if it is invalid."""
        path = root / MANIFEST
        if not path.exists():
            if not root.is_dir():
                raise StoreError(
                    f"VoxelStore.open: {root} must be a folder that fastbrain prepare wrote, got "
                    f"{'a file' if root.exists() else 'no such folder'}. Correct the path."
                )
            if (root / COLLECTION).is_file():
                raise StoreError(
                    f"VoxelStore.open: {root} must be one store, got a collection of stores on "
                    f"several grids. Name one of them, {root / GRIDS}/NAME."
                )
            found = "none. Name a folder that fastbrain prepare wrote."
            if (root / "prepare.json").is_file():
                found = "an unfinished store. Pass --resume to finish it."
            raise StoreError(f"VoxelStore.open: {root} must hold a manifest, got {found}")
        try:
            value = read_json(path)
        except CohortError as error:
            raise StoreError(f"VoxelStore.open: {error}") from error
        if isinstance(value, dict) and "store_fingerprint" in value:
            raise StoreError(
                f"VoxelStore.open: {root} must be a voxel store, got a run folder. Name the store "
                f"of its training, {value.get('store')}."
            )
        version = value.get("layout_version") if isinstance(value, dict) else None
        if version != LAYOUT_VERSION:
            raise StoreError(
                f"VoxelStore.open: {path} must have layout_version {LAYOUT_VERSION}, got "
                f"{version!r}. Prepare the store again with this version."
            )
        value = read_sealed(path, error=StoreError)
        names = {f.name for f in fields(cls)}
        if set(value) != names:
            odd = sorted(set(value) ^ names)
            raise StoreError(
                f"VoxelStore.open: {path} has unknown or missing keys {odd}. Prepare the store "
                "again with this version."
            )
        for name, fits in _RULES.items():
            if name in value and not fits(value[name]):
                raise StoreError(
                    f"VoxelStore.open: {path} {name} is damaged, got {value[name]!r:.80}."
                )
        listed = {*SMALL_FILES, *(f"runs/{run_id}.npy" for run_id in value["runs"])}
        if set(value["files"]) != listed:
            odd = sorted(set(value["files"]) ^ listed)
            raise StoreError(
                f"VoxelStore.open: {path} must list each file of the store and no other, got "
                f"{len(odd)} missing or unknown, first {odd[0]!r:.80}. Prepare the store again."
            )
        return cls(**value)


def _number(value: Any) -> bool:
    return number(value) and 0 < value < 1e9


def _triple(value: Any) -> bool:
    return list_of(count)(value) and len(value) == 3


def _window(value: Any) -> bool:
    try:
        WindowSpec(**value)
    except (TypeError, InputError):
        return False
    return count(value["window_trs"])


def _fit(value: Any) -> bool:
    return record_of({"runs": list_of(text), "n_volumes": count})(value) and len(value) == 2


def _json_of(kind: Any) -> Rule:
    """Rule of the JSON of a class with ``from_json``."""

    def fits(value: Any) -> bool:
        try:
            kind.from_json(value)
        except InputError:
            return False
        return True

    return fits


def _runs(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    return all(_RUN_ID.fullmatch(name) and _run(facts) for name, facts in value.items())


def _run(value: Any) -> bool:
    # manifests of earlier versions have no start times
    if not record_of(_OF_A_RUN)(value) or not number(value.get("start_time", 0.0)):
        return False
    # ascending, each once, and inside the run
    volumes = [*value["censored"], value["n_volumes"]]
    return all(a < b for a, b in itertools.pairwise(volumes))


def _step(value: Any) -> bool:
    return count(value) and 1 <= value <= LARGEST_STEP


def _files(value: Any) -> bool:
    return table_of(lambda digest: text(digest) and bool(_SHA256.fullmatch(digest)))(value)


def _root(value: Any) -> bool:
    return text(value) and (value == "" or os.path.isabs(value))


_OF_A_RUN: dict[str, Rule] = {
    "subject": text,
    "n_volumes": count,
    "step": _step,
    "censored": list_of(count),
    "confounds": count,
    "quality": table_of(none_or(number)),
}
_MEASURED = {name: _OF_A_RUN[name] for name in ("subject", "n_volumes", "quality")}
_RULES: dict[str, Rule] = {
    "fastbrain": text,
    "tr": _number,
    "window": _window,
    "units": lambda value: value in get_args(Units),
    "dtype": lambda value: value in get_args(StoredType),
    "scale": _number,
    "high_pass_s": none_or(_number),
    "shape": _triple,
    "kernel": _triple,
    "stride": _triple,
    "n_tokens": count,
    "patch_voxels": count,
    "grid": text,
    "root": _root,
    "fit": _fit,
    "filter": _json_of(DriftFilter),
    "limits": _json_of(WindowLimits),
    "smoothing_mm": none_or(_number),
    "resampled": text,
    "beta_divisor": none_or(_number),
    "origin_mm": lambda value: list_of(number)(value) and len(value) == 3,
    "denoising": none_or(_json_of(Denoising)),
    "excluded": table_of(text),
    "excluded_quality": table_of(record_of(_MEASURED)),
    "space": text,
    "resolution": text,
    "geometry": lambda value: value in GEOMETRIES,
    "runs": _runs,
    "files": _files,
}
