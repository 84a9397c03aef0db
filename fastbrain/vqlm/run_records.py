"""Records of a run of the fMRI language model: its settings, its study, where that is now."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from .._arguments import checked
from .._io import write_json
from .._rules import Rule, list_of, none_or, record_of, text
from .._run_kind import RunKind, require_kind
from .._runfiles import read_record
from ..data import ConnectomeStudy, RestingStudy
from ..data.studies.connectome_study import read_rest
from ..errors import CheckpointError, FastbrainError

Study: TypeAlias = RestingStudy | ConnectomeStudy
KIND: RunKind = "vq-lm"
PARTS = ("train", "val", "test")
ANSWERS = "answers.json"

_CONFIG = {"config": record_of({"target": text})}
_SPLIT: dict[str, Rule] = dict.fromkeys(PARTS, list_of(text, least=1))
_MANIFEST: dict[str, Rule] = {
    "kind": lambda value: value == KIND,
    "study": none_or(text),
    "study_beside": none_or(text),
    "study_fingerprint": text,
}


def study_fingerprint(study: Study, target: str) -> str:
    """Return a short hash of series (or connectomes), regions, repetition time and target."""
    if isinstance(study, ConnectomeStudy):
        held, facts = study.connectomes, f"connectomes {study.regions}"
    else:
        held, facts = study.series, f"{study.tr} {study.regions}"
    found = hashlib.sha256(facts.encode())
    for person in sorted(held):
        values = np.ascontiguousarray(held[person])
        said = f"{person} {study.table[person].get(target, '')} {values.shape} {values.dtype.str}"
        found.update(said.encode())
        found.update(values.tobytes())
    return found.hexdigest()[:16]


def write_manifest(
    run: Path, study: Study, target: str, split: Mapping[str, Sequence[str]]
) -> None:
    """Write ``manifest.json`` of a finished run: kind, study with its fingerprint, and split."""
    place = None if study.path is None else study.path.resolve()
    beside = None if place is None else os.path.relpath(place, run.resolve())
    facts = {
        "kind": KIND,
        "study": None if place is None else str(place),
        "study_beside": beside,
        "study_fingerprint": study_fingerprint(study, target),
        "target": target,
        "scored_people": list(split["test"]),
    }
    write_json(run / "manifest.json", facts)


def read_people(run: str | Path, *, function: str) -> tuple[str, dict[str, list[str]]]:
    """Read the target of a run and the people of its parts.

    Raises
    ------
    CheckpointError
        A file is missing or damaged.
    """
    config = read_record(Path(run) / "config.json", _CONFIG, function=function)["config"]
    return config["target"], read_record(Path(run) / "split.json", _SPLIT, function=function)


@checked
def open_study(run: str | Path, study: Study | str | Path | None = None, *, function: str) -> Study:
    """Open the study that a run was trained on.

    Parameters
    ----------
    run : str or Path
    study : RestingStudy, ConnectomeStudy, str or Path, optional
        The study or its current folder. Default: the folder at training, then the same path
        relative to the run.
    function : str
        Name of the calling function, for messages.

    Raises
    ------
    CheckpointError
        Training is not finished, a file is damaged, or no study with the people, series and target
        of training was found.
    """
    run = Path(run)
    require_kind(run, KIND, function=function, instead="It needs no study.")
    target, split = read_people(run, function=function)
    path = run / "manifest.json"
    manifest = read_record(path, _MANIFEST, function=function) if path.is_file() else None
    places: list[Study | Path] = []
    if study is not None:
        places.append(Path(study) if isinstance(study, str | Path) else study)
    elif manifest is not None:
        places += [Path(manifest["study"])] if manifest["study"] is not None else []
        beside = manifest["study_beside"]
        places += [run.resolve() / beside] if beside is not None else []
    tried = []
    for place in places:
        try:
            found = read_rest(place) if isinstance(place, Path) else place
        except FastbrainError as error:
            tried.append(f"{place} ({error})")
            continue
        if not (fault := _difference(found, target, split, manifest)):
            return found
        tried.append(f"{place}: {fault}" if isinstance(place, Path) else fault)
    reason = "; ".join(tried) or "none: a run of an earlier version does not name its study"
    raise CheckpointError(
        f"{function}: the study must hold the people of training with their series, got {reason}. "
        "Say where it is now: --study STUDY (study= in Python)."
    )


def _difference(
    study: Study,
    target: str,
    split: Mapping[str, Sequence[str]],
    manifest: Mapping[str, Any] | None,
) -> str:
    """Describe how a study differs from that of training; "" if it does not."""
    people = [p for part in PARTS for p in split[part]]
    if sorted(people) != sorted(study.people):
        absent = sorted(set(people) - set(study.people))
        return f"{len(study.people)} people, without {len(absent)} of the {len(people)} of training"
    if manifest is not None and study_fingerprint(study, target) != manifest["study_fingerprint"]:
        return "the same people with other series or another target"
    return ""
