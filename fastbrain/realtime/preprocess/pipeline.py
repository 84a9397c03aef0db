"""Preprocess a run volume by volume, in memory that does not grow."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ..._arguments import checked
from ..._arrays import brain_of
from ...data import VoxelStore
from ...data.readers.masks import same_affine
from ...data.readers.timing import TR_TOLERANCE_S
from ...data.store.geometry import NO_SURFACES, need_volumes
from ...errors import InputError
from ...inference.open_decoder import preparation_for
from ..volume import Volume
from .alignment import Aligned, Alignment
from .guard import Guard
from .moments import Moments
from .preprocessed import Preprocessed
from .settings import PreprocessSettings
from .window import RunWindow

_BRIGHT = 0.3  # of the 98th percentile: voxels of the head, without a mask


class VolumePipeline:
    """Preprocess the volumes of one run; use :meth:`from_run` or :meth:`monitor`.

    Each volume is aligned with the first one (or `reference`), interpolated at the brain voxels,
    and judged. Good volumes enter the statistics; a volume that is missing, not finite, a spike, or
    with sudden motion does not, and the last good one stands in its place.
    """

    def __init__(
        self,
        settings: PreprocessSettings,
        *,
        like: VoxelStore | None,
        mask: npt.NDArray[np.bool_] | None,
        reference: Volume | None,
    ) -> None:
        self._settings, self._like, self._mask = settings, like, mask
        self._window = None if like is None else RunWindow(like, settings)
        self._guard = Guard(settings.max_displacement_mm)
        self._alignment: Alignment | None = None
        self._moments = Moments(0)
        self._shape: tuple[int, ...] = ()
        self._affine = np.eye(4)
        self._last = -1
        if reference is not None:
            self._check(reference)
            self._begin(reference)

    @classmethod
    @checked
    def from_run(
        cls,
        run: str | Path | VoxelStore,
        *,
        settings: PreprocessSettings | None = None,
        reference: Volume | None = None,
    ) -> VolumePipeline:
        """Prepare volumes for the decoder of a trained run, as ``fastbrain decode --bold`` does.

        Parameters
        ----------
        run : str, Path or VoxelStore
            Run folder of LLM4Brain or BrainLLM; or its preparation, opened.
        settings : PreprocessSettings, optional
        reference : Volume, optional
            Volume with which the others are aligned. Default: the first one.

        Raises
        ------
        CheckpointError
            Training is not finished, or a file of the run is missing or damaged.
        InputError
            `n_volumes` is too small for the filter of the run, or the reference cannot be used.
        """
        like = run if isinstance(run, VoxelStore) else preparation_for(run)
        if like.info.beta_divisor is not None:
            raise InputError(
                "VolumePipeline.from_run: run must be a model of volumes, got one of betas, which "
                "are estimated from whole runs. Train one on the volumes."
            )
        need_volumes(like, function="VolumePipeline", remedy=NO_SURFACES)
        return cls(settings or PreprocessSettings(), like=like, mask=None, reference=reference)

    @classmethod
    @checked
    def monitor(
        cls,
        *,
        settings: PreprocessSettings | None = None,
        mask: npt.NDArray[Any] | None = None,
        reference: Volume | None = None,
    ) -> VolumePipeline:
        """Follow motion, tSNR and spikes of a run without a model.

        Parameters
        ----------
        settings : PreprocessSettings, optional
        mask : ndarray, (Z, Y, X) bool, optional
            Brain voxels on the grid of the volumes. Default: voxels of the reference that are
            brighter than 0.3 times its 98th percentile.
        reference : Volume, optional
            Default: the first volume.

        Raises
        ------
        InputError
            The mask is empty, or not of 0 and 1; or the reference cannot be used.
        """
        brain = None
        if mask is not None:
            brain = brain_of(mask, where="VolumePipeline.monitor: mask", error=InputError)
            if brain.ndim != 3 or not brain.any():
                raise InputError(
                    "VolumePipeline.monitor: mask must be (Z, Y, X) and hold a voxel, got shape "
                    f"{brain.shape} with {int(brain.sum())}. Is it the right mask?"
                )
        return cls(settings or PreprocessSettings(), like=None, mask=brain, reference=reference)

    @checked
    def push(self, volume: Volume) -> Preprocessed:
        """Preprocess the next volume.

        Volumes come in the order of their index. If some are missing in between, the last good one
        stands in their place.

        Parameters
        ----------
        volume : Volume

        Returns
        -------
        Preprocessed

        Raises
        ------
        InputError
            The volume cannot be one of this run: not 3-D or not of numbers, of another shape,
            position or repetition time than the first, or not after the last one; or the first one
            cannot be used as reference. The pipeline is as before the call.
        """
        self._check(volume)
        if volume.index <= self._last:
            raise InputError(
                f"VolumePipeline.push: volume must come after volume {self._last}, got "
                f"{volume.index}. Leave out volumes that come twice or late."
            )
        if self._alignment is None:
            self._begin(volume)
        assert self._alignment is not None
        aligned = self._alignment.align(volume)
        begin = perf_counter()
        fault, spike = self._guard.judge(aligned.values, aligned.displacement_mm)
        fault = fault or aligned.fault
        if not spike:
            # the motion of a spike is no start for the next volume
            self._alignment.follow(aligned)
        self._remember(volume.index, aligned, good=not fault)
        tsnr = self._statistics.tsnr()
        updated = perf_counter()
        window, held, onset = self._decodable(volume.index, fault)
        stages = {"statistics": updated - begin, "window": perf_counter() - updated}
        return Preprocessed(
            index=volume.index,
            window=window,
            held=held or None,
            motion=aligned.motion,
            displacement_mm=aligned.displacement_mm,
            tsnr=tsnr,
            spike=spike,
            replaced=bool(fault),
            onset_s=onset,
            stages_s=aligned.stages_s | stages,
        )

    @property
    def _statistics(self) -> Moments:
        return self._moments if self._window is None else self._window.drift.moments

    def _check(self, volume: Volume) -> None:
        where = "VolumePipeline.push: volume"
        planned = self._settings.n_volumes
        if planned is not None and volume.index >= planned:
            raise InputError(
                f"{where} must be one of the {planned} planned volumes, got volume {volume.index}. "
                "Plan a longer run, or use decaying statistics."
            )
        tr, wanted = volume.tr_s, None if self._like is None else self._like.tr
        if tr is not None and wanted is not None and not abs(tr - wanted) <= TR_TOLERANCE_S:
            raise InputError(
                f"{where} must have the repetition time of training, {wanted:g} s, got {tr:g} s. "
                "Use the protocol of training."
            )
        if self._alignment is None:
            return
        shape: Any = volume.data.shape
        if shape != self._shape or not same_affine(volume.affine, self._affine, shape):
            raise InputError(
                f"{where} must have the shape {self._shape} and position of the first one, got "
                f"{shape}{'' if shape != self._shape else ' at another position'}. Start a new run."
            )

    def _begin(self, reference: Volume) -> None:
        """Take the place of the brain from a reference."""
        shape: Any = reference.data.shape
        if self._window is not None and self._like is not None:
            grid_shape, affine = self._like.grid.shape, self._like.affine
            voxels = np.stack(np.unravel_index(self._window.voxels, grid_shape), axis=1)
        else:
            voxels, grid_shape, affine = self._brain(reference), shape, reference.affine
        self._alignment = Alignment(
            reference,
            voxels,
            grid_shape=grid_shape,
            grid_affine=affine,
            settings=self._settings,
            smoothing_mm=None if self._like is None else self._like.info.smoothing_mm,
        )
        self._moments = Moments(len(voxels) if self._window is None else 0)
        self._shape, self._affine = shape, np.array(reference.affine, dtype=np.float64)

    def _brain(self, reference: Volume) -> npt.NDArray[np.int64]:
        if self._mask is not None:
            if self._mask.shape != reference.data.shape:
                raise InputError(
                    f"VolumePipeline.push: volume must have the shape {self._mask.shape} of the "
                    f"mask, got {reference.data.shape}. Give the mask of this run."
                )
            return np.argwhere(self._mask)
        data = np.nan_to_num(reference.data.astype(np.float32), posinf=0.0, neginf=0.0)
        bright = data > max(_BRIGHT * float(np.quantile(data, 0.98)), 0.0)
        if not bright.any():
            raise InputError(
                "VolumePipeline.push: volume must show a head as reference, got no bright voxel. "
                "Take another volume as reference."
            )
        return np.argwhere(bright)

    def _remember(self, index: int, aligned: Aligned, *, good: bool) -> None:
        if self._window is not None:
            # volumes before the first one of the session are not missing: it joined later
            missing = index - self._last - 1 if self._statistics.count else 0
            self._window.skip(index, missing)
            self._window.add(index, aligned.values if good else None)
        elif good:
            self._moments.update(torch.from_numpy(aligned.values).to(torch.float64))
        if good:
            self._guard.accept(aligned.values)
        self._last = index

    def _decodable(
        self, index: int, fault: str
    ) -> tuple[npt.NDArray[np.int16] | None, str, float | None]:
        if self._window is None:
            return None, f"volume {index}: {fault}" if fault else "", None
        onset = self._window.onset_s()
        if fault:
            return None, f"volume {index}: {fault}", onset
        return *self._window.window(), onset
