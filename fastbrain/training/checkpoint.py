"""Checkpoints that are whole or not there, and never a pickle.

A checkpoint is a folder of safetensors and JSON with the sha256 of each file. It is written under
a temporary name, synced and renamed, so that a killed process leaves the previous one newest.
"""

from __future__ import annotations

import fcntl
import os
import random
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .._arguments import checked
from .._io import folder_atomic, read_json, sha256, verify, write_atomic, write_json
from ..errors import CheckpointError, CohortError

LAYOUT = 1
_FILES = ("model.safetensors", "optimizer.safetensors", "rng.safetensors", "state.json")
_NAME = re.compile(r"step-\d{8}")


@dataclass(frozen=True)
class Checkpoint:
    """What is needed to go on as if nothing had happened.

    Parameters
    ----------
    model : dict of str to Tensor
        Parameters and buffers, without the LLM.
    optimizer : dict of str to Tensor
        ``<parameter>/<slot>``.
    rng : dict of str to Tensor
        See :func:`rng_state`.
    state : dict
        JSON values: step, epoch, loader, history.
    """

    model: Mapping[str, Tensor]
    optimizer: Mapping[str, Tensor]
    rng: Mapping[str, Tensor]
    state: Mapping[str, Any]


@checked
def save_checkpoint(
    run_dir: str | Path, checkpoint: Checkpoint, *, step: int, keep: int = 2
) -> Path:
    """Write a checkpoint and remove all but the last `keep`.

    Parameters
    ----------
    run_dir : str or Path
    checkpoint : Checkpoint
    step : int
        Optimiser steps done; it names the folder.
    keep : int

    Returns
    -------
    Path
        The checkpoint's folder.

    Raises
    ------
    CheckpointError
        A weight is not finite.
    DiskError
        The disk is full or read-only; earlier checkpoints are untouched.
    """
    root = Path(run_dir) / "checkpoints"
    final = root / f"step-{step:08d}"
    write_checkpoint(final, checkpoint)
    for old in _folders(root)[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    for torn in root.glob(".step-*"):  # left by a process that was killed
        shutil.rmtree(torn, ignore_errors=True)
    return final


def write_checkpoint(folder: str | Path, checkpoint: Checkpoint) -> Path:
    """Write one checkpoint folder, replacing what had its name."""
    from safetensors.torch import save

    tensors = {
        "model.safetensors": checkpoint.model,
        "optimizer.safetensors": checkpoint.optimizer,
        "rng.safetensors": checkpoint.rng,
    }
    broken = [
        k for k, v in checkpoint.model.items() if v.is_floating_point() and not v.isfinite().all()
    ]
    if broken:
        raise CheckpointError(f"save: weights must be finite, got NaN or infinity in {broken[:5]}.")
    with folder_atomic(folder, replace=True) as temporary:
        for name, values in tensors.items():
            plain = {k: v.detach().cpu().contiguous() for k, v in values.items()}
            write_atomic(temporary / name, save(plain))
        write_json(temporary / "state.json", {"layout": LAYOUT, **checkpoint.state})
        write_json(temporary / "manifest.json", {n: sha256(temporary / n) for n in _FILES})
    return Path(folder)


@checked
def load_checkpoint(folder: str | Path) -> Checkpoint:
    """Read a checkpoint, every byte of it checked.

    Raises
    ------
    CheckpointError
        A file is missing, damaged or of another layout.
    """
    from safetensors.torch import load

    root = Path(folder)
    try:
        manifest = read_json(root / "manifest.json")
        if not isinstance(manifest, dict) or sorted(manifest) != sorted(_FILES):
            raise CheckpointError(
                f"load_checkpoint: {root} must list {', '.join(_FILES)} in its manifest, got "
                "something else. It is damaged: use the one before."
            )
        verify(root, manifest, error=CheckpointError)
        state = read_json(root / "state.json")
    except CohortError as error:
        raise CheckpointError(f"load_checkpoint: {root} must be whole: {error}") from error
    if not isinstance(state, dict) or state.pop("layout", None) != LAYOUT:
        raise CheckpointError(f"load_checkpoint: {root} must have layout {LAYOUT}.")
    model, optimizer, rng = (load((root / name).read_bytes()) for name in _FILES[:3])
    return Checkpoint(model, optimizer, rng, state)


@checked
def latest_checkpoint(run_dir: str | Path) -> Path | None:
    """Newest checkpoint of a run that is whole; None when there is none."""
    for folder in reversed(_folders(Path(run_dir) / "checkpoints")):
        try:
            load_checkpoint(folder)
        except CheckpointError:
            continue
        return folder
    return None


def _folders(root: Path) -> list[Path]:
    return sorted(p for p in root.glob("step-*") if _NAME.fullmatch(p.name) and p.is_dir())


@contextmanager
def run_lock(run_dir: str | Path) -> Iterator[None]:
    """Hold a run's folder; a second process is refused rather than mixed in.

    Raises
    ------
    CheckpointError
        Another process trains in this folder now.
    """
    path = Path(run_dir) / ".lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise CheckpointError(
                f"fit: {run_dir} must be trained by one process at a time, got a second. "
                "Choose another run folder, or wait for the first to end."
            ) from error
        yield
    finally:
        os.close(handle)


def rng_state() -> dict[str, Tensor]:
    """States of every random number generator training draws from."""
    version, words, gauss = random.getstate()
    _, keys, position, has_gauss, cached = np.random.get_state()  # noqa: NPY002
    state = {
        "torch": torch.get_rng_state(),
        "python": torch.tensor([version, *words], dtype=torch.int64),
        "python_gauss": torch.tensor([] if gauss is None else [gauss], dtype=torch.float64),
        "numpy": torch.from_numpy(np.asarray(keys, dtype=np.int64)),
        "numpy_gauss": torch.tensor([position, has_gauss, cached], dtype=torch.float64),
    }
    for i in range(torch.cuda.device_count() if torch.cuda.is_initialized() else 0):
        state[f"cuda:{i}"] = torch.cuda.get_rng_state(i)
    return state


def set_rng_state(state: Mapping[str, Tensor]) -> None:
    """Put the generators back where :func:`rng_state` found them."""
    torch.set_rng_state(state["torch"])
    version, *words = state["python"].tolist()
    gauss = state["python_gauss"].tolist()
    random.setstate((version, tuple(words), gauss[0] if gauss else None))
    position, has_gauss, cached = state["numpy_gauss"].tolist()
    keys = state["numpy"].numpy().astype(np.uint32)
    np.random.set_state(("MT19937", keys, int(position), int(has_gauss), cached))  # noqa: NPY002
    for i in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        if f"cuda:{i}" in state:
            torch.cuda.set_rng_state(state[f"cuda:{i}"], i)
