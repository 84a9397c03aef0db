"""Brain data without stimulus information: phase-randomised, Gaussian and zero.

A decoder that scores equally well on these and on the true brain has decoded nothing.
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
        Origin of the moments, for instance ``"train"``.
    """

    mean: npt.NDArray[np.float64]
    std: npt.NDArray[np.float64]
    fitted_on: str

    @classmethod
    def of(cls, values: npt.ArrayLike, *, fitted_on: str) -> Moments:
        """Compute moments over the first axis of training values (N, ...)."""
        data = np.asarray(values, dtype=np.float64)
        if data.ndim < 2 or len(data) < 2 or not np.isfinite(data).all():
            raise InputError(
                f"Moments.of: values must be finite (N >= 2, ...), got shape {data.shape}."
            )
        return cls(data.mean(axis=0), data.std(axis=0), fitted_on)

    @classmethod
    def of_store(cls, store: VoxelStore) -> Moments:
        """Compute the moments (n_tokens, P) of a store's training windows, in stored units."""
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
    """Randomise the Fourier phases; spectra and voxel correlations stay the same.

    The Fourier phases are rotated by random angles, one per frequency, the same for all voxels
    (Prichard & Theiler 1994). The mean is unchanged, and with an even number of volumes also the
    highest frequency: both coefficients are real. Remove the mean of each run first, as a voxel
    store does: it still identifies the run, and with it the topic. If runs are short and the
    signal is strong, the correlations between voxels may also identify the run.

    Parameters
    ----------
    series : array_like, (T, ...) or (B, F, ...)
        A run, or windows with ``axis=1``.
    blocks : sequence, (T,), optional
        Run of each row; every run gets separate angles. For arrays with one row per sample, in
        temporal order. Default: all rows are one run.
    axis : {0, 1}
        Time axis. With 1 each window is a separate series and keeps its mean image. In short
        windows the mean image is most of the decoder's input, so randomise runs instead
        (:func:`noise_store`).
    seed : int

    Returns
    -------
    ndarray, same shape
        float32, or float64 if `series` is float64.

    Raises
    ------
    InputError
        A series has fewer than 3 volumes, so that no phase can be randomised.
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
    free = slice(1, (length + 1) // 2)  # neither the mean nor, at even lengths, the last one
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
    """Draw independent normal values with the mean and variance of every voxel, (n, ...).

    Parameters
    ----------
    n : int
        Number of volumes or rows.
    moments : Moments
        Moments of the training part.
    seed : int
    """
    draw = np.random.default_rng(seed).standard_normal((n, *moments.mean.shape), dtype=np.float32)
    return moments.mean.astype(np.float32) + moments.std.astype(np.float32) * draw


@checked(least={"n": 0})
def zero_brain(n: int, moments: Moments) -> npt.NDArray[np.float32]:
    """Return the training mean in every voxel, which z-scoring maps to 0; (n, ...)."""
    return np.broadcast_to(moments.mean.astype(np.float32), (n, *moments.mean.shape)).copy()


@checked
def noise_store(store: VoxelStore, kind: Noise, *, seed: int = 0) -> StoreView:
    """View a store with noise instead of brain data; windows, texts and split are unchanged.

    Parameters
    ----------
    store : VoxelStore
    kind : str
        ``"phase-randomised brain"``: each run is randomised as a whole, then windows are cut from
        it. ``"noise brain"``: Gaussian, with the moments of the training windows.
        ``"zero brain"``: the training mean.
    seed : int

    Returns
    -------
    StoreView
        Pass it to a ``WindowLoader``.

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
        # runs must not share angles: their windows would be similar
        own = int(np.random.default_rng([seed, order[run_id]]).integers(2**63))
        if kind == "zero brain":
            return zero_brain(len(run), moments)
        if kind == "noise brain":
            return gaussian_noise(len(run), moments, seed=own)
        return phase_randomised(run, seed=own)

    return changed_store(store, f"{kind}, seed {seed}", change)


@checked
def noisier_store(store: VoxelStore, level: float, *, seed: int = 0) -> StoreView:
    """View a store with noise added to its recordings: a lower signal-to-noise ratio.

    The noise of a run is the run itself with random phases, so that it has the spectrum of every
    voxel and the correlations between voxels of real recordings. White noise would be averaged
    away over voxels and volumes.

    Parameters
    ----------
    store : VoxelStore
    level : float
        Standard deviation of the noise over that of the recording, in every voxel. 0: unchanged.
        The share of the recording in the variance is ``1 / (1 + level²)``.
    seed : int

    Returns
    -------
    StoreView
        Pass it to a ``WindowLoader``. Voxel statistics remain those of training.

    Raises
    ------
    InputError
        `level` is negative or not finite.
    """
    if not 0 <= level < float("inf"):
        raise InputError(f"noisier_store: level must be 0 or more, got {level}.")
    order = {run_id: i for i, run_id in enumerate(sorted(store.info.runs))}

    def change(run_id: str, run: npt.NDArray[np.int16]) -> npt.NDArray[np.floating]:
        if level == 0:
            return run.astype(np.float32)
        own = int(np.random.default_rng([seed, order[run_id]]).integers(2**63))
        # the mean of the run is no signal and stays
        return run + level * (phase_randomised(run, seed=own) - run.mean(axis=0, dtype=np.float32))

    return changed_store(store, f"noise of {level:g} standard deviations, seed {seed}", change)
