"""Open a trained run: its model and the store of its training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .._arguments import checked
from .._runfiles import model_folder, read_manifest
from ..data import VoxelStore
from ..errors import CheckpointError, InputError
from ..evaluation.run_store import one_grid, open_store
from .joint_run import training_folder
from .model import LLM4Brain
from .saving import from_pretrained


@checked
def open_run(
    run: str | Path,
    *,
    store: str | Path | None = None,
    device: str = "cpu",
    unknown_subject: str | None = None,
) -> tuple[LLM4Brain, VoxelStore, dict[str, Any]]:
    """Load the model of a run and the store of its training.

    Parameters
    ----------
    run : str or Path
        Run folder from ``fastbrain train`` or ``fastbrain adapt``; of a run on several grids, the
        folder ``grids/NAME`` in it.
    store : str or Path, optional
        Current path of the store. Default: its path at training, then the same path relative to
        the run folder.
    device : str
    unknown_subject : {"refuse", "mean"}, optional
        What a model with a subject table does for a subject without an entry; default: the setting
        of training.

    Returns
    -------
    model : LLM4Brain
    store : VoxelStore
    manifest : dict

    Raises
    ------
    CheckpointError
        Training is not finished, a file of the run is damaged, the store or language model is
        missing or differs from training, or the run is on several grids.
    """
    manifest = _manifest_of(run)
    found = open_store(run, manifest, store, function="open_run")
    model = open_model(run, like=found, device=device, unknown_subject=unknown_subject)
    return model, found, manifest


@checked
def open_model(
    run: str | Path,
    *,
    like: VoxelStore,
    device: str = "cpu",
    unknown_subject: str | None = None,
    llm: str | None = None,
) -> LLM4Brain:
    """Load the model of a run for windows prepared like those of a store; see :func:`open_run`."""
    manifest = _manifest_of(run)
    model = from_pretrained(
        model_folder(training_folder(run, manifest)),
        llm=llm,
        device=device,
        grid=like.grid,
        tr=like.tr,
        part=manifest.get("joint", {}).get("grid"),
    )
    if unknown_subject is not None:
        _meet_unknown(model, unknown_subject)
    return model


def _manifest_of(run: str | Path) -> dict[str, Any]:
    manifest = read_manifest(run, function="open_run")
    own = {"adaptation", "adapt_trials"} <= set(manifest)
    if not own or "kind" in manifest:
        kind = f"'{manifest['kind']}'" if "kind" in manifest else "another kind"
        raise CheckpointError(f"open_run: {run} must be a run of LLM4Brain, got {kind}.")
    one_grid(run, manifest, function="open_run")
    return manifest


def _meet_unknown(model: LLM4Brain, unknown: str) -> None:
    if model.subjects is None:
        raise InputError(
            f"open_run: unknown_subject must be left out for a model without a subject table, got "
            f"{unknown!r}."
        )
    model.subjects.meet_unknown(unknown)
