"""A synthetic scanner that exports NIfTI files at the pace of a repetition time."""

from __future__ import annotations

import io
import threading
from pathlib import Path

import nibabel as nib
import numpy as np
import numpy.typing as npt

from ..._io import as_disk_error
from ...data import VoxelStore
from ..volume import Clock, MonotonicClock
from .faults import FaultPlan

_BASELINE = 4000.0  # intensity of the median voxel
_PIECES = 8
_KEPT = 64  # volumes that stay in the folder
_WRITING = 0.5  # of a TR: time in which the pieces of a file are written
_CUT = 0.6  # of a file: where a truncated one ends
_AFTER = 0.5  # of a TR: distance of a swapped volume behind the one that overtakes it


class SyntheticBrain:
    """Volumes of no person that look like those that a model was trained on.

    The mean image of the training runs, and noise with the standard deviation that each voxel has
    in the training windows: their windows keep the limits of training, and hold no stimulus.

    Parameters
    ----------
    like : VoxelStore
        Preparation of a run.
    seed : int
    """

    def __init__(self, like: VoxelStore, seed: int = 0) -> None:
        self.affine, self.shape = like.affine, like.grid.shape
        self._rng = np.random.default_rng(seed)
        inside = like.grid.patch_mask
        place = like.grid.offsets[inside]
        mean, std = np.zeros((2, int(np.prod(self.shape))), dtype=np.float32)
        mean[place] = like.mean_image[inside]
        inv_std = like.inv_std[inside]
        spread = np.divide(1.0, inv_std, out=np.zeros_like(inv_std), where=inv_std > 0)
        # percent of the voxel's mean; in z-scores a usual one
        std[place] = spread / 100 if like.units == "psc" else 0.01
        self._mean = _BASELINE * mean
        self._std = self._mean * std

    def volume(self) -> npt.NDArray[np.int16]:
        """Draw the next volume, (Z, Y, X)."""
        noise = self._rng.standard_normal(len(self._mean), dtype=np.float32)
        values = self._mean + self._std * noise
        return np.clip(values.round(), 0, 32767).astype(np.int16).reshape(self.shape)


class FolderScanner:
    """Writes volumes into a folder in a thread, with the faults of a plan.

    The newest 64 volumes stay in the folder.

    Parameters
    ----------
    folder : Path
    brain : SyntheticBrain
    plan : FaultPlan
    pace_s : float
        Seconds from one volume to the next.
    clock : Clock, optional

    Attributes
    ----------
    finished : threading.Event
        Set when the last volume is written, or writing failed.
    """

    def __init__(
        self,
        folder: Path,
        brain: SyntheticBrain,
        plan: FaultPlan,
        *,
        pace_s: float,
        clock: Clock | None = None,
    ) -> None:
        self.folder, self.brain, self.plan, self.pace_s = folder, brain, plan, pace_s
        self.clock: Clock = MonotonicClock() if clock is None else clock
        self.finished = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="scanner", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def stop(self) -> None:
        """End, also before the last volume."""
        self._stop.set()
        self._thread.join()

    def scan(self) -> None:
        """Write all volumes, each at its time."""
        start = self.clock.now()
        delayed: bytes | None = None
        for index in range(self.plan.volumes):
            if self._stop.is_set():
                return
            content = self._file(self.brain.volume())
            self._wait(start + index * self.pace_s)
            kind = self.plan.kinds.get(index)
            if kind == "swaps":
                delayed = content
                continue
            self._export(index, content, kind)
            for name in (
                f"volume_{index - _KEPT:06d}.nii",
                f"again_volume_{index - _KEPT:06d}.nii",
            ):
                (self.folder / name).unlink(missing_ok=True)
            if delayed is not None:
                self._wait(start + (index + _AFTER) * self.pace_s)
                self._write(f"volume_{index - 1:06d}.nii", delayed)
                delayed = None

    def _run(self) -> None:
        try:
            self.scan()
        finally:
            self.finished.set()

    def _export(self, index: int, content: bytes, kind: str | None) -> None:
        name = f"volume_{index:06d}.nii"
        if kind == "drops":
            return
        if kind == "truncated":
            self._write(name, content[: int(_CUT * len(content))])
        elif kind == "half_written":
            self._write(name, content, pieces=_PIECES)
        else:
            self._write(name, content)
            if kind == "duplicates":
                self._write(f"again_{name}", content)

    def _write(self, name: str, content: bytes, *, pieces: int = 1) -> None:
        size = -(-len(content) // pieces)
        with as_disk_error(self.folder), open(self.folder / name, "wb") as file:
            for start in range(0, len(content), size):
                file.write(content[start : start + size])
                if pieces > 1:
                    file.flush()
                    self.clock.sleep(_WRITING * self.pace_s / pieces)

    def _wait(self, until: float) -> None:
        left = until - self.clock.now()
        if left > 0:
            self.clock.sleep(left)

    def _file(self, data: npt.NDArray[np.int16]) -> bytes:
        image = nib.Nifti1Image(data.T, self.brain.affine)
        image.header.set_xyzt_units("mm", "sec")
        buffer = io.BytesIO()
        image.to_stream(buffer)
        return buffer.getvalue()
