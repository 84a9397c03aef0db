"""Tell which system a run folder is of."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from ._runfiles import manifest_path, read_record
from .errors import CheckpointError

RunKind = Literal["llm4brain", "brainllm", "vq-lm"]
_OLD_LLM4BRAIN = {"adaptation", "adapt_trials"}  # its manifests have no kind


def run_kind(run: str | Path, *, function: str) -> RunKind:
    """Return which system a finished run folder is of.

    Parameters
    ----------
    run : str or Path
    function : str
        Name of the calling function, for messages.

    Returns
    -------
    {"llm4brain", "brainllm", "vq-lm"}

    Raises
    ------
    CheckpointError
        `run` is no folder or a voxel store, training is not finished, or its ``manifest.json`` is
        damaged or of another program.
    """
    run = Path(run)
    if _is_unmarked_vqlm(run):
        # runs of earlier versions have no manifest
        if (run / "llm").is_dir() and (run / "coding.json").is_file():
            return "vq-lm"
        raise CheckpointError(
            f"{function}: {run} must be a finished run, got an unfinished one. fastbrain "
            "train vq-lm --resume goes on."
        )
    path = manifest_path(run, function=function)
    found = read_record(path, {}, function=function)
    kind = found.get("kind")
    if kind is None and set(found) >= _OLD_LLM4BRAIN:
        return "llm4brain"
    for known in get_args(RunKind):
        if kind == known:
            return known
    raise CheckpointError(
        f"{function}: {path} must be of a run of {', '.join(get_args(RunKind))}, got "
        f"{'a folder of another kind' if kind is None else repr(kind)[:40]}. Name the folder that "
        "fastbrain train wrote."
    )


def require_kind(run: str | Path, *kinds: RunKind, function: str, instead: str) -> RunKind:
    """Return the kind of a run, or raise if a command cannot work on it.

    Parameters
    ----------
    run : str or Path
    *kinds : str
        Kinds that the command works on.
    function : str
        Name of the calling function, for messages.
    instead : str
        What to do with a run of another kind; a sentence.

    Raises
    ------
    CheckpointError
        The run is of another kind, or see :func:`run_kind`.
    """
    kind = run_kind(run, function=function)
    if kind not in kinds:
        raise CheckpointError(
            f"{function}: {run} must be a run of {' or '.join(kinds)}, got one of {kind}. {instead}"
        )
    return kind


def _is_unmarked_vqlm(run: Path) -> bool:
    own = (run / "split.json").is_file() and (run / "config.json").is_file()
    others = (run / name for name in ("prepare.json", "manifest.json"))
    return own and not any(path.is_file() for path in others)
