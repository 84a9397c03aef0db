"""Validated reading of the JSON files of a run folder.

Run folders may be moved, copied or edited. Each function returns values of the declared types, or
raises :class:`CheckpointError` with the names of the file and the entry.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ._io import read_json
from ._rules import (
    Rule,
    count,
    fault_in,
    flag,
    list_of,
    none_or,
    number,
    positive,
    record_of,
    table_of,
    text,
)
from ._runs_inside import runs_inside
from .errors import CheckpointError, CohortError, some


def changed_entries(now: Mapping[str, Any], before: Any, *, exact: bool = False) -> list[str]:
    """List the entries of a configuration that differ from those read from disk, sorted.

    `now` is compared as JSON stores it, with lists instead of tuples. Entries that only `before`
    has count with `exact` alone.
    """
    before = before if isinstance(before, Mapping) else {}
    stored = json.loads(json.dumps(now))
    keys = {*stored, *before} if exact else stored
    return sorted(key for key in keys if stored.get(key) != before.get(key))


interval = record_of({"low": number, "high": number})
score = record_of(
    {"metric": text, "mode": text, "value": number, "n": count, "chance": none_or(number),
     "control": text},
    optional={"p": none_or(number), "adjusted": none_or(number), "effect": none_or(number),
              "interval": none_or(interval), "signature": text, "group": text},
)  # fmt: skip
split = record_of(
    {"train": list_of(text), "val": list_of(text), "test": list_of(text), "keys": list_of(text)}
)
audit = record_of(
    {"clean": flag, "allowed": none_or(text), "findings": list_of(table_of(lambda _: True))},
    optional={"guard_trs": count, "closed_set": flag, "texts": count, "unchecked": list_of(text),
              "fits": table_of(count), "samples": table_of(count)},
)  # fmt: skip
UPLOADED = "run"
LANGUAGE_MODEL = {"kind": text, "name": text, "revision": text, "files": table_of(text)}

_MANIFEST: dict[str, Rule] = {
    "store": text,
    "store_fingerprint": text,
    "llm": text,
    "scored_trials": list_of(text, least=1),
}
_MANIFEST_MORE: dict[str, Rule] = {
    "kind": text,
    "store_beside": none_or(text),
    "language_model": record_of(LANGUAGE_MODEL),
    # runs trained with versions without an audit lack these
    "split": none_or(split),
    "audit": none_or(audit),
    "adaptation": text,
    "adapt_trials": list_of(text),
    "fit_runs": list_of(text),
    "readout": record_of({"r2": number, "windows": count}),
    "adapted": record_of({"subject": text, "runs": list_of(text)}),
    "grids": table_of(text),
    "joint": record_of({"run": text, "grid": text}),
    "explained": number,
    "constant_voxels": count,
}


_VQLM = record_of(
    {"kind": lambda value: value in ("scale", "label"), "target": text, "question": text,
     "places": positive, "steps": positive, "draws": positive}
)  # fmt: skip
_CODING: dict[str, Rule] = {
    "r2_mean": number,
    "r2_ar1": number,
    "usage": record_of({"share": number}),
    "adversary": none_or(number),
    "probe": none_or(record_of({"accuracy": number})),
}


def read_record(
    path: str | Path,
    rules: Mapping[str, Rule],
    *,
    optional: Mapping[str, Rule] | None = None,
    function: str,
) -> dict[str, Any]:
    """Read a JSON object and validate its entries.

    Parameters
    ----------
    path : str or Path
    rules : mapping of str to callable
        Required keys and the rules of their values.
    optional : mapping of str to callable, optional
        Optional keys and their rules. Keys in neither mapping are not checked.
    function : str
        Name of the calling function, for messages.

    Returns
    -------
    dict

    Raises
    ------
    CheckpointError
        The file is missing or not a JSON object, or an entry is missing or invalid.
    """
    try:
        found = read_json(path)
    except CohortError as error:
        raise CheckpointError(f"{function}: {path} must be readable: {error}") from error
    if not isinstance(found, dict):
        raise CheckpointError(
            f"{function}: {path} must hold a JSON object, got {type(found).__name__}. The file is "
            "damaged or of another program."
        )
    if fault := fault_in(found, rules, optional or {}):
        raise CheckpointError(
            f"{function}: {path} must have '{fault}' as fastbrain writes it, got "
            f"{_shown(found, fault)}. The file is damaged or was edited."
        )
    return found


def read_manifest(run: str | Path, *, function: str) -> dict[str, Any]:
    """Read ``manifest.json`` of a finished run of LLM4Brain or BrainLLM.

    Raises
    ------
    CheckpointError
        `run` is no folder or a voxel store, training is not finished, or the file is damaged.
    """
    path = manifest_path(run, function=function)
    return read_record(path, _MANIFEST, optional=_MANIFEST_MORE, function=function)


def manifest_path(run: str | Path, *, function: str) -> Path:
    """Return the path of ``manifest.json`` in a run folder.

    Raises
    ------
    CheckpointError
        `run` is no folder, a voxel store or a folder of runs, or training is not finished.
    """
    path = Path(run) / "manifest.json"
    if not Path(run).is_dir():
        raise CheckpointError(
            f"{function}: {run} must be a run folder, got no folder. Name one that fastbrain train "
            "wrote."
        )
    if (Path(run) / "prepare.json").is_file():
        raise CheckpointError(
            f"{function}: {run} must be a run folder, got a voxel store. Name the folder that "
            "fastbrain train wrote."
        )
    if not path.is_file():
        if inside := runs_inside(run):
            raise CheckpointError(
                f"{function}: {run} must be a run folder, got one that holds "
                f"{'a run' if len(inside) == 1 else f'{len(inside)} runs'}. Name "
                f"{'it' if len(inside) == 1 else 'one of them'}: {some(inside, 3)}."
            )
        raise CheckpointError(
            f"{function}: {path} must exist. Is training finished? fastbrain train --resume goes "
            "on."
        )
    return path


def model_folder(run: str | Path) -> Path:
    """Return the folder of the model of a run: ``model`` in it, or its parent in an upload.

    An uploaded model has its files at the top, and what ``fastbrain decode`` reads of its run in
    the folder ``run``.
    """
    inside = Path(run) / "model"
    uploaded = Path(run).name == UPLOADED and (Path(run).parent / "model.safetensors").is_file()
    return Path(run).parent if uploaded and not inside.is_dir() else inside


def read_metrics(path: str | Path, *, function: str) -> dict[str, Any]:
    """Read ``metrics.json`` of an evaluated run.

    Raises
    ------
    CheckpointError
        The file is missing or damaged.
    """
    more = {"split": none_or(table_of(lambda _: True)), "adaptation": text}
    more |= {"audit": none_or(record_of({"clean": flag})), "n": count, "kind": text}
    return read_record(path, {"scores": list_of(score)}, optional=more, function=function)


def read_pooled_scores(path: str | Path, *, function: str) -> list[dict[str, Any]]:
    """Read ``scores.json``: the scores of a run on several grids, or of several runs.

    Raises
    ------
    CheckpointError
        The file is missing or damaged.
    """
    try:
        found = read_json(path)
    except CohortError as error:
        raise CheckpointError(f"{function}: {path} must be readable: {error}") from error
    if not list_of(score)(found):
        raise CheckpointError(
            f"{function}: {path} must hold scores as fastbrain writes them, got others. The file "
            "is damaged or was edited."
        )
    return list(found)


def read_vqlm(run: str | Path, *, function: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read ``config.json`` and ``split.json`` of a run of ``fastbrain train vq-lm``.

    Raises
    ------
    CheckpointError
        Training is not finished, or a file is damaged.
    """
    run, some = Path(run), list_of(text, least=1)
    config = read_record(run / "config.json", {"config": _VQLM}, function=function)
    parts = dict.fromkeys(("train", "val", "test"), some)
    split = read_record(run / "split.json", parts, function=function)
    return config["config"], split


def read_coding(run: str | Path, *, function: str) -> tuple[dict[str, Any], int]:
    """Read the scores of the codes of a run, and the number of frames of a window of its coder.

    Raises
    ------
    CheckpointError
        Training is not finished, or a file is damaged.
    """
    run = Path(run)
    coding = read_record(run / "coding.json", _CODING, function=function)
    windows = {"config": record_of({"frames": positive})}
    stage = read_record(run / "vq" / "config.json", windows, function=function)
    return coding, stage["config"]["frames"]


def read_log(path: str | Path, *, function: str) -> list[dict[str, Any]]:
    """Read the rows of ``log.jsonl`` of a training stage, one for each epoch.

    Raises
    ------
    CheckpointError
        The file cannot be read, or a line is not a valid log row.
    """
    row = record_of({"epoch": count, "step": count})
    rows = []
    try:
        for line in Path(path).read_text(encoding="utf-8").split("\n"):
            if line.strip():
                rows.append(json.loads(line))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{function}: {path} must be readable: {error}") from error
    for i, found in enumerate(rows, 1):
        values = found.values() if isinstance(found, dict) else ()
        if not row(found) or not all(v is None or text(v) or number(v) for v in values):
            raise CheckpointError(
                f"{function}: {path} line {i} must be a row of a training log, got "
                f"{str(found)[:60]!r}. The file is damaged or was edited."
            )
    return rows


def _shown(value: Mapping[str, Any], key: str) -> str:
    return repr(value[key])[:80] if key in value else "none"
