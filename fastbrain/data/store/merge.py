"""Merge stores of one grid and one preparation into a new one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from ... import __version__
from ..._arguments import checked
from ..._digests import read_sealed, write_sealed
from ..._io import as_disk_error, folder_atomic, sha256, write_atomic, write_json
from ..._progress import track
from ...errors import InputError, SplitError, StoreError, some
from ..readers.events import Trial
from ..splits.split import PARTS, Split
from .choose_highpass import choose_filter
from .convert import read_mean_image
from .finish import write_statistics
from .grid_file import write_grid
from .image_space import joined_space
from .plan import training_volumes, trials_digest
from .preparation import check_like
from .quality import QUALITY, quality_table
from .resume import IMAGES, SETTINGS
from .statistics import Statistics, fit_statistics, read_run, statistics_of
from .store import VoxelStore
from .trials_table import write_trials_table

Fitting = Literal["refit", "first"]


@checked
def merge_stores(
    stores: Sequence[VoxelStore], out: str | Path, *, statistics: Fitting
) -> VoxelStore:
    """Merge stores with the same grid, windows, units, filter and kind of split.

    Parts of the same name are joined, and the joined split is checked for leaks. Run files are
    hard links where the file system allows it, and copies elsewhere.

    Parameters
    ----------
    stores : sequence of VoxelStore
        Two or more, without a run or trial in common.
    out : str or Path
        New folder; it is complete or does not exist.
    statistics : {"refit", "first"}
        ``"refit"`` computes mean, standard deviation, mean image and limits from the training
        windows of all stores, and gives the bytes of a store prepared at once with the same split.
        ``"first"`` keeps those of the first store, for a model that was trained on it.

    Returns
    -------
    VoxelStore

    Raises
    ------
    StoreError
        The stores differ in a setting, share runs or trials, lack the records that a refit needs,
        or would need another filter together.
    LeakError, SplitError
        The joined split leaks, or its rules differ between the stores.
    OutputExistsError
        `out` exists.
    """
    if len(stores) < 2:
        raise InputError(f"merge_stores: stores must be two or more, got {len(stores)}.")
    _check_alike(stores, "merge_stores")
    return join_stores(stores, out, joined_split(stores), statistics, function="merge_stores")


def joined_split(stores: Sequence[VoxelStore]) -> Split:
    """Join the parts of the same name; raise if the rules of the splits differ."""
    first = stores[0].split
    for store in stores[1:]:
        for rule in ("guard_trs", "keys", "val_keys", "closed_set"):
            own, wanted = getattr(store.split, rule), getattr(first, rule)
            if own != wanted:
                raise SplitError(
                    f"merge_stores: {store.path} must have a split with {rule} {wanted!r} like "
                    f"{stores[0].path}, got {own!r}. Prepare it with the same kind of split."
                )
    train, val, test = (
        tuple(i for store in stores for i in store.split.part(name)) for name in PARTS
    )
    unused = sum(store.split.unused for store in stores)
    return replace(first, train=train, val=val, test=test, unused=unused)


def join_stores(
    stores: Sequence[VoxelStore],
    out: str | Path,
    split: Split,
    statistics: Fitting,
    *,
    function: str,
) -> VoxelStore:
    """Write the runs and trials of several stores into a new one with the given split."""
    first = stores[0]
    trials = [trial for store in stores for trial in store.trials]
    _check_alike(stores, function)
    space = joined_space(stores, function=function)
    for what, names in (
        ("run", [run for store in stores for run in store.info.runs]),
        ("trial", [trial.trial_id for trial in trials]),
    ):
        twice = sorted({name for name in names if names.count(name) > 1}) if _twice(names) else []
        if twice:
            raise StoreError(
                f"{function}: stores must share no {what}, got {some(twice)} twice. Give the runs "
                "of each cohort names of their own (subject labels) before preparing them."
            )
    split.check(trials)
    changes = _refitted(stores, trials, split, function) if statistics == "refit" else {}
    with folder_atomic(out, function=function) as root:
        results: dict[str, dict[str, Any]] = {}
        for store in stores:
            results |= _take_runs(store, root, function)
        write_grid(root / "grid.npz", first.grid, first.affine)
        write_trials_table(root / "trials.parquet", trials)
        write_json(root / "split.json", split.to_json())
        found = statistics_of(first)
        if statistics == "refit":
            found = _fitted(root, first, results, trials, split)
        runs, files = write_statistics(root, found, results, first.grid)
        roots = {store.info.root for store in stores}
        excluded = {name: why for store in stores for name, why in store.info.excluded.items()}
        measured = {n: q for store in stores for n, q in store.info.excluded_quality.items()}
        info = replace(first.info, fastbrain=__version__, runs=runs, files=files, excluded=excluded)
        info = replace(info, excluded_quality=measured)
        write_atomic(root / QUALITY, quality_table(info))
        moved = next((s.info.resampled for s in stores if s.info.resampled), "")
        info = replace(
            info,
            root=first.info.root if len(roots) == 1 else "",
            resampled=moved,
            **asdict(space),
            **changes,
        )
        replace(info, limits=found.limits.to_json()).write(root)
        _write_settings(
            root, stores, trials, split, {"resampled": moved, "excluded": excluded} | asdict(space)
        )
    return VoxelStore.open(out)


def _twice(names: Sequence[str]) -> bool:
    return len(set(names)) < len(names)


def _check_alike(stores: Sequence[VoxelStore], function: str) -> None:
    first = stores[0]
    for store in stores[1:]:
        remedy = "Prepare both with the same settings"
        check_like(store, first, owner=str(first.path), remedy=remedy)
        if (store.affine != first.affine).any():
            raise StoreError(
                f"{function}: {store.path} must have the affine of {first.path}, got one that "
                "differs a little. Prepare it with --like, which takes that of the other."
            )
        for key in ("window", "dtype", "origin_mm"):
            own, wanted = getattr(store.info, key), getattr(first.info, key)
            if own != wanted:
                raise StoreError(
                    f"{function}: {store.path} must have the {key} {wanted} of {first.path}, got "
                    f"{own}. Prepare both with the same settings."
                )


def _refitted(
    stores: Sequence[VoxelStore], trials: Sequence[Trial], split: Split, function: str
) -> dict[str, Any]:
    """Entries of the manifest that depend on the training events of all stores."""
    first, chosen = stores[0], set(split.train)
    if not chosen:
        raise SplitError(
            f"{function}: a refit must have training windows, got none in {len(stores)} stores. "
            "Keep the statistics of the first one."
        )
    lengths = {
        run: facts["n_volumes"] for store in stores for run, facts in store.info.runs.items()
    }
    # manifests of earlier versions have no start times
    starts = {
        run: facts.get("start_time", 0.0)
        for store in stores
        for run, facts in store.info.runs.items()
    }
    found = choose_filter(
        first.filter.asked,  # type: ignore[arg-type]
        # betas are not filtered, and windows without texts are not events
        [t for t in trials if t.trial_id in chosen and t.text and first.info.beta_divisor is None],
        lengths=lengths,
        tr=first.tr,
        window=first.window_spec,
        starts=starts,
    )
    if found.high_pass_s != first.info.high_pass_s:
        raise StoreError(
            f"{function}: the training events of all stores must choose the filter of "
            f"{first.path}, {first.info.high_pass_s} s, got {found.high_pass_s} s. Prepare the "
            "stores with a fixed --high-pass."
        )
    censored = {
        run: facts["censored"] for store in stores for run, facts in store.info.runs.items()
    }
    fitted = training_volumes(list(lengths), trials, split, censored)
    fit = {"runs": list(fitted), "n_volumes": sum(len(v) for v in fitted.values())}
    found = found.with_most_of([store.filter for store in stores])
    return {"filter": found.to_json(), "fit": fit}


def _fitted(
    root: Path,
    first: VoxelStore,
    results: dict[str, dict[str, Any]],
    trials: Sequence[Trial],
    split: Split,
) -> Statistics:
    chosen = set(split.train)
    return fit_statistics(
        partial(read_run, root, steps={name: facts["step"] for name, facts in results.items()}),
        partial(read_mean_image, root, grid=first.grid),
        volumes=training_volumes(
            *(list(results), trials, split),
            {name: facts["censored"] for name, facts in results.items()},
        ),
        windows=[t for t in trials if t.trial_id in chosen],
        grid=first.grid,
        units=first.units,
    )


def _take_runs(store: VoxelStore, root: Path, function: str) -> dict[str, dict[str, Any]]:
    """Link or copy the files of all runs, compared with their digests; return their records."""
    results = {}
    for run_id in track(store.info.runs, "merging runs"):
        record, image = (
            store.path / "runs" / f"{run_id}.json",
            store.path / IMAGES / f"{run_id}.npy",
        )
        if not (record.is_file() and image.is_file()):
            raise StoreError(
                f"{function}: {store.path} must hold the record and the mean image of {run_id}, "
                "got none. A store without them can be used, but not merged: prepare it again."
            )
        found = read_sealed(record, error=StoreError)
        voxels = store.path / "runs" / f"{run_id}.npy"
        for source, digest in (
            (voxels, store.info.files[f"runs/{run_id}.npy"]),
            (image, found.get("mean_image")),
        ):
            target = root / source.relative_to(store.path)
            _link(source, target)
            if sha256(target) != digest:
                raise StoreError(
                    f"{function}: {source} must match its sha256, got another file. See "
                    f"fastbrain store verify {store.path}."
                )
        write_sealed(root / "runs" / f"{run_id}.json", found)
        results[run_id] = found
    return results


def _link(source: Path, target: Path) -> None:
    with as_disk_error(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(os.path.realpath(source), target)
        except OSError:  # another file system, or one without links
            shutil.copyfile(source, target)


def _write_settings(
    root: Path,
    stores: Sequence[VoxelStore],
    trials: Sequence[Trial],
    split: Split,
    joined: dict[str, Any],
) -> None:
    """Write the settings that ``prepare --resume`` compares, if all stores have theirs."""
    if not all((store.path / SETTINGS).is_file() for store in stores):
        return
    known = [read_sealed(store.path / SETTINGS, error=StoreError) for store in stores]
    runs = {run: facts for settings in known for run, facts in settings["runs"].items()}
    digest = trials_digest(trials, split)
    own = {**known[0], **joined, "trials_and_split": digest, "runs": runs}
    write_sealed(root / SETTINGS, own)
