"""Prepare stores as a BIDS-App: participant by participant, and a summary of the group.

fastbrain bids-app BIDS OUT participant --participant-label 01 --derivatives fmriprep --delay 4

fastbrain bids-app BIDS OUT group --merge

The command fastbrain-bids is the same. participant writes OUT/sub-LABEL/store for each person; a
store that is there is left as it is if settings and images are the same, and one that was
interrupted is finished. Without a split option the last run of each person is for
testing and the one before for validation. group writes OUT/group_stores.tsv with a row for each
store; with --merge all stores become OUT/store, for which they need one grid (--resample, --mask)
and the same options.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import tyro

from .. import __version__
from .._io import read_json, write_atomic, write_json
from .._progress import say
from ..data import RunRecord, Split, VoxelStore, merge_stores, split_by, write_store
from ..data.readers.bids import natural
from ..data.readers.bids_check import check_bids
from ..data.readers.events import Trial
from ..data.readers.tables import tsv_text
from ..data.store.manifest import MANIFEST
from ..data.store.plan import StorePlan
from ..data.studies.study import is_study
from ..errors import CohortError, ConfigError, OutputExistsError, some
from ._preparation import PreparationOptions
from ._splits import SplitOptions
from ._throughput import JobOptions
from ._work_folder import check_work_folder, move_folder

_DESCRIPTION = "dataset_description.json"
_COLUMNS = (
    *("participant_id", "runs", "volumes", "train", "val", "test", "tokens", "voxels"),
    "fingerprint",
)


@dataclass(frozen=True, kw_only=True)
class Config(SplitOptions, PreparationOptions, JobOptions):
    """Options of ``fastbrain-bids``."""

    level: Annotated[Literal["participant", "group"], tyro.conf.Positional]
    """Level of the analysis."""
    participant_label: tuple[str, ...] = ()
    """People, with or without sub-; default: all."""
    skip_bids_validation: bool = False
    """Do not check dataset_description.json and the names of recordings before work starts; what
    is read is checked in any case."""
    work_dir: Annotated[Path | None, tyro.conf.arg(aliases=["-w"])] = None
    """Folder for unfinished stores, outside BIDS and OUT, e.g. on a fast disk; each store is moved
    to OUT when it is complete. Default: they are made in their place."""
    merge: bool = False
    """At the level of the group: merge all stores into OUT/store."""


def run(config: Config) -> None:
    """Write the stores of people, or the table of the group."""
    people = tuple(label.removeprefix("sub-") for label in config.participant_label)
    if config.work_dir is not None:
        check_work_folder(config.work_dir, config.source, config.out)
    if config.level == "participant":
        if config.merge:
            raise ConfigError("bids-app: --merge must come at the level group, got participant.")
        _participants(config, people)
    else:
        _group(config, people)


def _participants(config: Config, people: tuple[str, ...]) -> None:
    config.refuse_set(("betas", "beta_divisor"), "a BIDS-App", "as betas come by a runs table")
    bids = config.source.is_dir() and not is_study(config.source) and not config.own_layout
    if bids and not config.skip_bids_validation:
        remedy = ", or pass --skip-bids-validation"
        check_bids(config.source, function="bids-app", remedy=remedy)
    runs, trials, window, _ = config.cohort()
    there = sorted({run.subject for run in runs})
    unknown = [label for label in people if label not in there]
    if unknown:
        raise CohortError(
            f"bids-app: --participant-label must be people of {config.source}, got "
            f"{some(unknown)}. There are {some(there)}."
        )
    _describe(config)
    for label in people or there:
        out = config.out / f"sub-{label}" / "store"
        there_already = (out / MANIFEST).is_file()
        own = [run for run in runs if run.subject == label]
        mine = None if trials is None else [t for t in trials if t.subject == label]
        plan = config.planned(own, mine, window, _splitter(config, own))
        store = _written(config, plan, out, label)
        if there_already:
            say(f"note: {out} is there already and left as it is")
        else:
            say(f"store {store.fingerprint()} written to {out}")


def _written(config: Config, plan: StorePlan, out: Path, label: str) -> VoxelStore:
    """Write the store of a person; goes on with an interrupted one, where it was begun."""
    place = out
    if config.work_dir is not None and not out.exists():
        place = config.work_dir / "fastbrain" / f"sub-{label}" / "store"
    # refuses a store of other settings or images
    store = write_store(plan, place, resume=place.exists(), n_jobs=config.n_jobs, dask=config.dask)
    if place == out:
        return store
    move_folder(place, out)
    return VoxelStore.open(out)


def _splitter(config: Config, runs: Sequence[RunRecord]) -> Callable[[list[Trial]], Split]:
    named = (config.test_subjects, config.train, config.val, config.test)
    if any(named) or config.folds is not None:
        return config.splitter("bids-app")
    ordered = [run.run for run in sorted(runs, key=natural)]
    labels = list(dict.fromkeys(ordered))
    if len(labels) < 3:
        raise ConfigError(
            f"bids-app: sub-{runs[0].subject} must have three runs or more for a split by runs, "
            f"got {some(labels)}. Give a split (--split-by session --train ...)."
        )
    *train, val, test = labels
    closed = config.closed_set
    return partial(split_by, key="run", train=train, val=[val], test=[test], closed_set=closed)


def _group(config: Config, people: tuple[str, ...]) -> None:
    folders = sorted(config.out.glob("sub-*/store"))
    if people:
        absent = [p for p in people if not (config.out / f"sub-{p}" / "store").is_dir()]
        if absent:
            raise CohortError(
                f"bids-app: {config.out} must have a store of each person, got none of "
                f"{some(absent)}. Run the level participant for them."
            )
        folders = [config.out / f"sub-{p}" / "store" for p in people]
    if not folders:
        raise CohortError(
            f"bids-app: {config.out} must have stores of people, got none. Run the level "
            "participant first."
        )
    _describe(config)
    stores = [VoxelStore.open(folder) for folder in folders]
    rows = [_row(folder, store) for folder, store in zip(folders, stores, strict=True)]
    write_atomic(config.out / "group_stores.tsv", tsv_text(_COLUMNS, rows))
    for row in rows:
        print("  ".join(f"{name}={cell}" for name, cell in zip(_COLUMNS, row, strict=True)))
    if config.merge:
        out = config.out / "store"
        if out.exists():
            raise OutputExistsError(f"bids-app: {out} must not exist. Remove it, or use it.")
        place = out if config.work_dir is None else config.work_dir / "fastbrain" / "store"
        merged = merge_stores(stores, place, statistics="refit")
        if place != out:
            move_folder(place, out)
        say(f"store {merged.fingerprint()} of {len(stores)} people written to {out}")


def _row(folder: Path, store: VoxelStore) -> list[str]:
    runs = store.info.runs.values()
    parts = [str(len(store.split.part(name))) for name in ("train", "val", "test")]
    return [
        folder.parent.name,
        str(len(runs)),
        str(sum(int(run["n_volumes"]) for run in runs)),
        *parts,
        str(store.grid.n_tokens),
        str(int(store.grid.mask.sum())),
        store.fingerprint(),
    ]


def _describe(config: Config) -> None:
    """Write ``dataset_description.json`` of the derivatives, once."""
    path = config.out / _DESCRIPTION
    if path.exists():
        said = read_json(path)
        if not isinstance(said, dict) or said.get("DatasetType") != "derivative":
            raise ConfigError(
                f"bids-app: OUT must be a folder of derivatives, got {config.out}, which has "
                f"another {_DESCRIPTION}. Name a folder of its own."
            )
        return
    write_json(
        path,
        {
            "Name": "fastbrain stores",
            "BIDSVersion": "1.10.0",
            "DatasetType": "derivative",
            "GeneratedBy": [{"Name": "fastbrain", "Version": __version__}],
            "SourceDatasets": [{"URL": config.source.absolute().as_uri()}],
        },
    )
    write_atomic(config.out / ".bidsignore", "store/\nsub-*/store/\n")
