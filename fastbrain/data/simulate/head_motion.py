"""Simulated head motion and its effect on the images, with the table of confounds that lists it.

The columns are those of fMRIPrep: six motion parameters, their backward differences and squares,
framewise displacement (Power et al. 2012), DVARS, mean signals, principal components of the noise
in deep tissue (aCompCor), cosines, and one column for each volume with much motion.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..._io import write_atomic, write_json

Array = npt.NDArray[np.float64]
AXES = ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z")
_HEAD_MM = 50.0  # radius that turns rotations into displacements, as in Power et al. 2012
_STEP = np.array([0.015, 0.02, 0.03, 2e-4, 2e-4, 2e-4])  # std of a step, mm and rad
_JUMP_MM = 0.8
_JUMP_SHARE = 0.02  # share of the volumes with a jump
_OUTLIER_FD_MM = 0.5
_N_COMPONENTS = 6
_CUTOFF_S = 128.0


@dataclass(frozen=True)
class HeadMotion:
    """Motion of the head in one run.

    Parameters
    ----------
    parameters : ndarray, (T, 6) float64
        Translations in mm, rotations in radians.
    """

    parameters: Array

    @classmethod
    def draw(cls, volumes: int, rng: np.random.Generator) -> HeadMotion:
        """Draw a random walk with a few jumps."""
        steps = rng.standard_normal((volumes, 6)) * _STEP
        n_jumps = max(1, round(volumes * _JUMP_SHARE)) if volumes > 4 else 0
        at = rng.choice(np.arange(2, max(volumes, 3)), n_jumps, replace=False)
        steps[at, rng.integers(0, 3, n_jumps)] += _JUMP_MM * rng.choice([-1.0, 1.0], n_jumps)
        steps[0] = 0
        walk = np.cumsum(steps, axis=0)
        return cls(walk - np.linspace(0, 1, volumes)[:, None] * walk[-1])

    @property
    def displacement(self) -> Array:
        """Framewise displacement, (T,) mm; NaN at the first volume."""
        steps = np.abs(np.diff(self.parameters, axis=0))
        return np.concatenate([[np.nan], steps[:, :3].sum(1) + _HEAD_MM * steps[:, 3:].sum(1)])

    def artefact(self, n_voxels: int, psc: float, rng: np.random.Generator) -> Array:
        """Draw the effect on the images, percent signal change (T, n_voxels).

        Every voxel follows a mixture of the standardised parameters and their differences. The
        standard deviation over time and voxels is `psc`.
        """
        steps = np.diff(self.parameters, axis=0, prepend=self.parameters[:1])
        causes = np.concatenate([self.parameters, steps], axis=1)
        causes = (causes - causes.mean(0)) / np.maximum(causes.std(0), 1e-12)
        weights = rng.standard_normal((causes.shape[1], n_voxels)) / np.sqrt(causes.shape[1])
        return psc * (causes @ weights)


def write_confounds(
    path: Path, motion: HeadMotion, intensity: Array, deep: npt.NDArray[np.bool_], *, tr: float
) -> None:
    """Write ``*_desc-confounds_timeseries.tsv`` and the JSON file beside it.

    Parameters
    ----------
    path : Path
        Of the table.
    motion : HeadMotion
    intensity : ndarray, (T, n_voxels) float64
        Voxels inside the brain mask.
    deep : ndarray, (n_voxels,) bool
        Voxels that give the noise components.
    tr : float
        Seconds.
    """
    columns, said = _signals(intensity, deep)
    components, about = _components(intensity[:, deep], tr=tr)
    columns |= components
    columns["framewise_displacement"] = motion.displacement
    columns |= {f"cosine{k:02d}": c for k, c in enumerate(_cosines(len(intensity), tr).T)}
    for axis, values in zip(AXES, motion.parameters.T, strict=True):
        columns |= _expanded(axis, values)
    outliers = np.flatnonzero(np.nan_to_num(motion.displacement) > _OUTLIER_FD_MM)
    for k, volume in enumerate(outliers):
        columns[f"motion_outlier{k:02d}"] = (np.arange(len(intensity)) == volume).astype(float)
    lines = ["\t".join(columns)]
    lines += ["\t".join(map(_cell, row)) for row in np.stack(list(columns.values()), axis=1)]
    write_atomic(path, "\n".join(lines) + "\n")
    write_json(path.with_suffix(".json"), {**said, **about})


def _signals(
    intensity: Array, deep: npt.NDArray[np.bool_]
) -> tuple[dict[str, Array], dict[str, Any]]:
    columns: dict[str, Array] = {}
    half = np.flatnonzero(deep)[: max(1, int(deep.sum()) // 2)]
    means = {
        "global_signal": intensity.mean(1),
        "csf": intensity[:, half].mean(1),
        "white_matter": intensity[:, deep].mean(1),
    }
    for name, values in means.items():
        columns |= _expanded(name, values)
    change = np.sqrt((np.diff(intensity, axis=0) ** 2).mean(1))
    dvars = np.concatenate([[np.nan], change])
    columns |= {"dvars": dvars, "std_dvars": dvars / np.median(change)}
    return columns, {name: {"Method": "Mean"} for name in means}


def _components(noise: Array, *, tr: float) -> tuple[dict[str, Array], dict[str, Any]]:
    """Principal components of standardised, high-pass filtered noise (Behzadi et al. 2007)."""
    cosines = np.column_stack([np.ones(len(noise)), _cosines(len(noise), tr)])
    clean = noise - cosines @ np.linalg.lstsq(cosines, noise, rcond=None)[0]
    clean /= np.maximum(clean.std(0), 1e-12)
    left, values, _ = np.linalg.svd(clean, full_matrices=False)
    explained = values**2 / (values**2).sum()
    columns: dict[str, Array] = {}
    about: dict[str, Any] = {}
    for k in range(min(_N_COMPONENTS, len(values))):
        name = f"a_comp_cor_{k:02d}"
        columns[name] = left[:, k]
        about[name] = {
            "Method": "aCompCor",
            "Mask": "combined",
            "Retained": True,
            "SingularValue": float(values[k]),
            "VarianceExplained": float(explained[k]),
            "CumulativeVarianceExplained": float(explained[: k + 1].sum()),
        }
    return columns, about


def _cosines(volumes: int, tr: float) -> Array:
    """Cosines with periods above 128 s, (T, K), each of unit norm."""
    order = int(2 * volumes * tr / _CUTOFF_S)
    t = np.arange(volumes) + 0.5
    waves = [np.sqrt(2 / volumes) * np.cos(np.pi * k * t / volumes) for k in range(1, order + 1)]
    return np.stack(waves, axis=1) if waves else np.zeros((volumes, 0))


def _expanded(name: str, values: Array) -> dict[str, Array]:
    """Return a column with its backward difference and the squares of both."""
    change = np.concatenate([[np.nan], np.diff(values)])
    return {
        name: values,
        f"{name}_derivative1": change,
        f"{name}_power2": values**2,
        f"{name}_derivative1_power2": change**2,
    }


def _cell(value: float) -> str:
    return "n/a" if np.isnan(value) else f"{value:.10g}"
