"""Atomic checkpoints of safetensors and JSON, without pickle.

A checkpoint is a folder of safetensors and JSON with the sha256 of each file. It is written under
a temporary name, synced and renamed, so that after a kill the previous checkpoint is the newest.
"""

from __future__ import annotations

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
from .._lock import hold
from .._progress import say
from ..errors import CheckpointError, CohortError
from ..nn.saved_folder import load_tensors

LAYOUT = 1
_FILES = ("model.safetensors", "optimizer.safetensors", "rng.safetensors", "state.json")
_NAME = re.compile(r"step-\d{8}")


@dataclass(frozen=True)
class Checkpoint:
    """Complete state for resuming training exactly.

    Parameters
    ----------
    model : dict of str to Tensor
        Parameters and buffers, without the language model.
    optimizer : dict of str to Tensor
        ``<parameter>/<slot>``.
    rng : dict of str to Tensor
        Random generator states; see :func:`rng_state`.
    state : dict
        JSON values: configuration, history and loader state.
    """

    model: Mapping[str, Tensor]
    optimizer: Mapping[str, Tensor]
    rng: Mapping[str, Tensor]
    state: Mapping[str, Any]


class LayoutError(CheckpointError):
    """The checkpoint is complete, but this version does not read its layout."""


@checked
def save_checkpoint(
    run_dir: str | Path, checkpoint: Checkpoint, *, step: int, keep: int = 2
) -> Path:
    """Write a checkpoint and remove all but the newest `keep` complete ones.

    A damaged checkpoint never counts towards `keep`, whatever its step.

    Parameters
    ----------
    run_dir : str or Path
    checkpoint : Checkpoint
    step : int
        Number of optimiser steps done; part of the folder name.
    keep : int
        Number of complete checkpoints to keep, including this one.

    Returns
    -------
    Path
        Folder of the checkpoint.

    Raises
    ------
    CheckpointError
        A weight is not finite.
    DiskError
        The disk is full or read-only; earlier checkpoints are unchanged.
    """
    root = Path(run_dir) / "checkpoints"
    final = root / f"step-{step:08d}"
    write_checkpoint(final, checkpoint)
    others = [folder for folder in reversed(_folders(root)) if folder != final]
    kept = 1
    for old in others if len(others) >= keep else ():
        if kept < keep and _is_whole(old):
            kept += 1
        else:
            shutil.rmtree(old, ignore_errors=True)
    for torn in root.glob(".step-*"):  # left by a process that was killed
        shutil.rmtree(torn, ignore_errors=True)
    return final


def write_checkpoint(folder: str | Path, checkpoint: Checkpoint) -> Path:
    """Write one checkpoint folder, replacing an existing folder of that name."""
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
    _SOUND[str(Path(folder).resolve())] = _state_of(Path(folder))
    return Path(folder)


@checked
def load_checkpoint(folder: str | Path) -> Checkpoint:
    """Read a checkpoint and verify the sha256 of every file.

    Raises
    ------
    CheckpointError
        A file is missing or damaged, or the checkpoint has another layout.
    """
    root = Path(folder)
    state = _read_state(root)
    model, optimizer, rng = (
        load_tensors(root / name, function="load_checkpoint") for name in _FILES[:3]
    )
    _SOUND[str(root.resolve())] = _state_of(root)
    return Checkpoint(model, optimizer, rng, state)


@checked
def latest_checkpoint(run_dir: str | Path) -> Path | None:
    """Find the newest complete checkpoint of a run; None if the run has no checkpoints.

    Damaged checkpoints that are skipped are listed on the terminal.

    Raises
    ------
    CheckpointError
        There are checkpoints but none is complete, or one has another layout.
    """
    faults = []
    for folder in reversed(_folders(Path(run_dir) / "checkpoints")):
        try:
            load_checkpoint(folder)
        except LayoutError:
            raise
        except CheckpointError as error:
            faults.append(f"{folder.name} ({error})")
            continue
        if faults:
            say(f"note: damaged and passed over: {'; '.join(faults)}. Using {folder.name}.")
        return folder
    if faults:
        raise CheckpointError(
            f"latest_checkpoint: {run_dir} must hold a whole checkpoint, got none: "
            f"{'; '.join(faults)}. Put one back from a copy, or use a new run folder."
        )
    return None


def recover_checkpoints(run_dir: str | Path) -> None:
    """Restore a checkpoint if its replacement was killed between the two renames.

    Only for the process with the lock of the run folder: no other process may save meanwhile.
    """
    root = Path(run_dir) / "checkpoints"
    for aside in root.glob(".step-*.old/step-*"):
        if not (root / aside.name).exists():
            aside.rename(root / aside.name)


def _read_state(root: Path) -> dict[str, Any]:
    """Read ``state.json`` of a checkpoint after verifying the digests of all files."""
    try:
        manifest = read_json(root / "manifest.json")
        if not isinstance(manifest, dict) or "state.json" not in manifest:
            raise CheckpointError(
                f"load_checkpoint: {root} must list its files in manifest.json, got something "
                "else. It is damaged: use the one before."
            )
        verify(root, {"state.json": manifest["state.json"]}, error=CheckpointError)
        state = read_json(root / "state.json")
        layout = state.pop("layout", None) if isinstance(state, dict) else None
        if layout != LAYOUT:
            # another layout may have other files, so the layout is checked before the file list
            raise LayoutError(
                f"load_checkpoint: {root} must have layout {LAYOUT}, got {layout!r}. Go on with "
                "the version of fastbrain that wrote it, or use a new run folder."
            )
        if sorted(manifest) != sorted(_FILES):
            raise CheckpointError(
                f"load_checkpoint: {root} must list {', '.join(_FILES)} in its manifest, got "
                f"{', '.join(map(repr, manifest))}. It is damaged: use the one before."
            )
        verify(root, manifest, error=CheckpointError)
    except CheckpointError:
        raise
    except (CohortError, OSError) as error:
        raise CheckpointError(f"load_checkpoint: {root} must be whole: {error}") from error
    return dict(state)


# folder -> state of its files when this process last wrote or verified it
_SOUND: dict[str, tuple[tuple[int, ...], ...]] = {}


def _is_whole(folder: Path) -> bool:
    """Whether a checkpoint is complete; files unchanged since the last check are not reread."""
    known = _SOUND.get(str(folder.resolve()))
    try:
        if known is None or known != _state_of(folder):
            _read_state(folder)
            _SOUND[str(folder.resolve())] = _state_of(folder)
    except (CheckpointError, OSError):
        return False
    return True


def _state_of(folder: Path) -> tuple[tuple[int, ...], ...]:
    states = [os.stat(folder / name) for name in (*_FILES, "manifest.json")]
    return tuple((s.st_size, s.st_mtime_ns, s.st_ino) for s in states)


def _folders(root: Path) -> list[Path]:
    return sorted(p for p in root.glob("step-*") if _NAME.fullmatch(p.name) and p.is_dir())


@contextmanager
def run_lock(run_dir: str | Path) -> Iterator[None]:
    """Lock a run folder, so that a second process cannot train in it.

    Raises
    ------
    CheckpointError
        Another process trains in this folder now.
    """
    folder = Path(run_dir)
    folder.mkdir(parents=True, exist_ok=True)
    with hold(folder / ".lock", what="fit", error=CheckpointError):
        yield


def rng_state() -> dict[str, Tensor]:
    """Collect the states of all random generators used in training."""
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
    """Restore the generator states that :func:`rng_state` returned."""
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
