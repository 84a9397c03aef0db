"""Simulated resting-state cohort in which connectivity depends on age.

The generative model, per subject of age ``a``, region ``r`` and volume ``t``::

    networks:  s_0, own_1, own_2 ...  slow AR(1) sources of variance one
    s_k = c_k s_0 + √(1 − c_k²) own_k,    c_k = 0.5 + effect · 0.4 · (2 (a − 20)/60 − 1) · ±1
    series(r, t) = 100 + 0.8 s_net(r) + 0.6 own slow source of the region + noise / snr

The sign alternates over networks, so that the mean of all correlations hardly depends on age. With
``effect=0`` nothing in the series depends on age, and no decoder can be better than chance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..._arguments import checked
from ...errors import InputError

YOUNGEST, OLDEST = 20.0, 80.0  # years


@checked
@dataclass(frozen=True)
class RestDesign:
    """Settings of a simulated resting-state cohort.

    Parameters
    ----------
    people, regions, networks, frames : int
    ar1 : float
        Lag-one autocorrelation of the sources.
    snr : float
        Standard deviation of the signal over that of white measurement noise.
    effect : float
        Effect of age on the coupling of networks, in [0, 1].
    seed : int
    """

    people: int = 60
    regions: int = 12
    networks: int = 4
    frames: int = 200
    ar1: float = 0.8
    snr: float = 3.0
    effect: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("people", "networks", "frames"):
            if getattr(self, name) < 2:
                raise InputError(f"RestDesign: {name} must be >= 2, got {getattr(self, name)}.")
        if self.regions < self.networks:
            raise InputError(
                f"RestDesign: regions must be >= networks, got {self.regions} and {self.networks}."
            )
        if not (0 <= self.ar1 < 1 and 0 <= self.effect <= 1 and self.snr > 0):
            raise InputError(
                "RestDesign: ar1 must be in [0, 1), effect in [0, 1] and snr > 0, got "
                f"{self.ar1}, {self.effect} and {self.snr}."
            )


@dataclass(frozen=True)
class RestCohort:
    """A simulated resting-state cohort.

    Parameters
    ----------
    series : dict of str to ndarray, (R, T) float64
        Region time courses by subject.
    age : ndarray, (N,) float64
        Years, in the order of `series`.
    """

    series: dict[str, npt.NDArray[np.float64]]
    age: npt.NDArray[np.float64]


@checked
def simulate_rest(design: RestDesign | None = None) -> RestCohort:
    """Draw subjects, their ages and their region time courses.

    Parameters
    ----------
    design : RestDesign, optional
    """
    design = design or RestDesign()
    rng = np.random.default_rng(design.seed)
    age = rng.uniform(YOUNGEST, OLDEST, design.people)
    network = np.arange(design.regions) % design.networks
    sign = np.where(np.arange(design.networks) % 2, 1.0, -1.0)
    series = {}
    for i, years in enumerate(age):
        position = 2 * (years - YOUNGEST) / (OLDEST - YOUNGEST) - 1
        coupling = 0.5 + 0.4 * design.effect * position * sign
        coupling[0] = 0.0
        own = _slow(design.networks + design.regions, design, rng)
        sources, private = own[: design.networks], own[design.networks :]
        joined = coupling[:, None] * sources[:1] + np.sqrt(1 - coupling**2)[:, None] * sources
        noise = rng.standard_normal(private.shape) / design.snr
        series[f"person-{i:03d}"] = 100 + 0.8 * joined[network] + 0.6 * private + noise
    return RestCohort(series, age)


def _slow(count: int, design: RestDesign, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Draw AR(1) series of variance one, (count, frames)."""
    values = rng.standard_normal((count, design.frames))
    for t in range(1, design.frames):
        values[:, t] = design.ar1 * values[:, t - 1] + np.sqrt(1 - design.ar1**2) * values[:, t]
    return values
