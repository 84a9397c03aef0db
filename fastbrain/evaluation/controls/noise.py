"""Brains that know nothing: phase-randomised, Gaussian and zero, like the true one in all else.

A decoder that scores as well on these as on the true brain has decoded nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from ..._arguments import checked
from ...data import VoxelStore
from ...errors import InputError
from .store_views import StoreView, changed_store

Noise = Literal["phase-randomised brain", "noise brain", "zero brain"]
_COLUMNS = 8192  # voxels transformed at once


@dataclass(frozen=True, eq=False)
class Moments:
    """Mean and standard deviation of every voxel.

    Parameters
    ----------
    mean, std : ndarray, (...)
    fitted_on : str
        What they come from, for instance ``"train"``.
    """

    mean: npt.NDArray[np.float64]
    std: npt.NDArray[np.float64]
    fitted_on: str

    @classmethod
    def of(cls, values: npt.ArrayLike, *, fitted_on: str) -> Moments:
        """Moments over the first axis of `values` (N, ...), which must be of the training part."""
        data = np.asarray(values, dtype=np.float64)
        if data.ndim < 2 or len(data) < 2 or not np.isfinite(data).all():
            raise InputError(
                f"Moments.of: values must be finite (N >= 2, ...), got shape {data.shape}."
            )
        return cls(data.mean(axis=0), data.std(axis=0), fitted_on)

    @classmethod
    def of_store(cls, store: VoxelStore) -> Moments:
        """Moments (n_tokens, P) of a store's training windows, in stored units."""
        alive = store.inv_std > 0
        inverse = np.where(alive, store.inv_std, 1.0).astype(np.float64)
        mean = np.where(store.grid.patch_mask, store.mean, 0.0) / store.scale
        runs = len(store.fit_runs)
        return cls(mean, alive / inverse / store.scale, f"training windows of {runs} runs")


@checked
def phase_randomised(
    series: npt.ArrayLike,
    *,
    blocks: Sequence[object] | None = None,
    axis: Literal[0, 1] = 0,
    seed: int = 0,
) -> npt.NDArray[np.floating]:
    """Give series the phases of noise: same spectra, same correlations between voxels.

    The Fourier phases are turned by random angles, one a frequency, the same for all voxels
    (Prichard & Theiler 1994). Means stay, and with an even number of volumes so does the highest
    frequency: both are real. Remove the mean of each run first, as a voxel store does: it would
    still tell runs apart, and with them their topics. Where runs are short and signal is strong,
    so may the correlations between voxels.

    Parameters
    ----------
    series : array_like, (T, ...) or (B, F, ...)
        A run, or windows with ``axis=1``.
    blocks : sequence, (T,), optional
        Run of each row; every run gets angles of its own. For arrays with one row a sample, in
        the order of time. Default: all rows are one run.
    axis : {0, 1}
        Where time is. With 1 each window is a series of its own, and keeps its mean image: where
        windows are short that is most of what a decoder reads, so randomise runs instead
        (:func:`noise_store`).
    seed : int

    Returns
    -------
    ndarray, same shape
        float32, or float64 where `series` is.

    Raises
    ------
    InputError
        A series has fewer than 3 volumes: there is no angle to draw.
    """
    data = np.asarray(series)
    data = data.astype(np.float64 if data.dtype == np.float64 else np.float32)
    if data.ndim < 1 + axis or not np.isfinite(data).all():
        raise InputError(
            f"phase_randomised: series must be finite with time on axis {axis}, got shape "
            f"{data.shape}."
        )
    rng = np.random.default_rng(seed)
    if axis == 1:
        if blocks is not None:
            raise InputError("phase_randomised: blocks must be left out for windows (axis=1).")
        return np.stack([_turned(window, rng) for window in data]) if len(data) else data
    if blocks is None:
        return _turned(data, rng)
    if len(blocks) != len(data):
        raise InputError(
            f"phase_randomised: blocks must name all {len(data)} rows, got {len(blocks)}."
        )
    labels = np.unique([str(b) for b in blocks], return_inverse=True)[1]
    result = np.empty_like(data)
    for block in range(labels.max() + 1):
        result[labels == block] = _turned(data[labels == block], rng)
    return result


def _turned(series: npt.NDArray[np.floating], rng: np.random.Generator) -> npt.NDArray[np.floating]:
    from scipy.fft import irfft, rfft

    length = len(series)
    if length < 3:
        raise InputError(
            f"phase_randomised: a series must have at least 3 volumes, got {length}: a mean has "
            "no phase. Randomise whole runs and cut the windows from them (noise_store), or give "
            "the run of each row as blocks."
        )
    turn = np.ones(length // 2 + 1, dtype=np.complex128)
    free = slice(1, (length + 1) // 2)  # neither the mean nor, at even lengths, the last
    turn[free] = np.exp(2j * np.pi * rng.random(len(turn[free])))
    turn = turn.astype(np.result_type(series, np.complex64))
    flat = series.reshape(length, -1)
    result = np.empty_like(flat)
    for start in range(0, flat.shape[1], _COLUMNS):
        part = slice(start, start + _COLUMNS)
        result[:, part] = irfft(rfft(flat[:, part], axis=0) * turn[:, None], n=length, axis=0)
    return result.reshape(series.shape)


@checked(least={"n": 0})
def gaussian_noise(n: int, moments: Moments, *, seed: int = 0) -> npt.NDArray[np.float32]:
    """Independent normal values with the mean and variance of every voxel, (n, ...).

    Parameters
    ----------
    n : int
        Volumes, or rows.
    moments : Moments
        Of the training part.
    seed : int
    """
    draw = np.random.default_rng(seed).standard_normal((n, *moments.mean.shape), dtype=np.float32)
    return moments.mean.astype(np.float32) + moments.std.astype(np.float32) * draw


@checked(least={"n": 0})
def zero_brain(n: int, moments: Moments) -> npt.NDArray[np.float32]:
    """The training mean in every voxel, 0 once a decoder has z-scored it; (n, ...)."""
    return np.broadcast_to(moments.mean.astype(np.float32), (n, *moments.mean.shape)).copy()


@checked
def noise_store(store: VoxelStore, kind: Noise, *, seed: int = 0) -> StoreView:
    """See a store with noise in the place of brain; windows, texts and split are the store's own.

    Parameters
    ----------
    store : VoxelStore
    kind : str
        ``"phase-randomised brain"``: each run as a whole, then windows are cut from it.
        ``"noise brain"``: Gaussian, moments of the training windows. ``"zero brain"``.
    seed : int

    Returns
    -------
    StoreView
        Give it to a ``WindowLoader``.

    Raises
    ------
    InputError
        The kind is unknown.
    """
    if kind not in get_args(Noise):
        raise InputError(f"noise_store: kind must be one of {get_args(Noise)}, got {kind!r}.")
    moments = Moments.of_store(store)
    order = {run_id: i for i, run_id in enumerate(sorted(store.info.runs))}

    def change(run_id: str, run: npt.NDArray[np.int16]) -> npt.NDArray[np.floating]:
        # runs of one session must not share angles: their windows would be alike
        own = int(np.random.default_rng([seed, order[run_id]]).integers(2**63))
        if kind == "zero brain":
            return zero_brain(len(run), moments)
        if kind == "noise brain":
            return gaussian_noise(len(run), moments, seed=own)
        return phase_randomised(run, seed=own)

    return changed_store(store, f"{kind}, seed {seed}", change)
