"""Digests of brain images: images with equal digests are equal byte for byte."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from ..._arguments import checked
from ..._progress import track
from ...errors import InputError
from ..readers.events import Trial
from ..store.store import VoxelStore

_GLANCE = 1024  # values hashed first; they differ between nearly all images


@checked
def scan_digests(images: npt.ArrayLike) -> list[str]:
    """Compute the digest of each image of an array.

    Parameters
    ----------
    images : array_like, (N, ...)
        One image per row: voxels, or components of them.

    Returns
    -------
    list of str, (N,)
        "" for a blank image (0 everywhere), which is not compared.

    Raises
    ------
    InputError
        `images` has fewer than two axes.
    """
    array = np.ascontiguousarray(images)
    if array.ndim < 2:
        raise InputError(f"scan_digests: images must be (N, ...), got shape {array.shape}.")
    return [_digest(image) if image.any() else "" for image in array]


def window_digests(store: VoxelStore, trials: Iterable[Trial]) -> dict[str, tuple[str, ...]]:
    """Compute the digests of the volumes in each trial's window.

    A few kilobytes of each volume are read; only volumes that agree in these are read completely.
    Each run is compared with its digest on first use, which reads it completely.

    Parameters
    ----------
    store : VoxelStore
    trials : iterable of Trial

    Returns
    -------
    dict of str to tuple of str
        By trial id.
    """
    trials = list(trials)
    volumes = {(t.run_id, v) for t in trials for v in range(t.start, t.start + t.frames)}
    for run_id in track(sorted({run_id for run_id, _ in volumes}), "checking runs"):
        store.volumes(run_id)
    glances = {}
    for run_id, v in volumes:
        flat = store.volumes(run_id)[v].reshape(-1)
        middle = max(0, (flat.size - _GLANCE) // 2)
        glances[run_id, v] = _digest(flat[middle : middle + _GLANCE])
    alike = Counter(glances.values())
    digests = {}
    for (run_id, v), glance in glances.items():
        if alike[glance] > 1:
            volume = store.volumes(run_id)[v]
            glance = _digest(volume) if volume.any() else ""
        digests[run_id, v] = glance
    return {
        t.trial_id: tuple(digests[t.run_id, v] for v in range(t.start, t.start + t.frames))
        for t in trials
    }


def _digest(image: npt.NDArray[np.generic]) -> str:
    return hashlib.blake2b(image.tobytes(), digest_size=16).hexdigest()
