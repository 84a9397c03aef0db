"""Options of denoising and of runs that are left out, shared by several commands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..data import Denoising, Exclusion
from ..errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class DenoisingOptions:
    """Confounds that are regressed out, volumes that are censored, and runs that are left out."""

    confounds: tuple[str, ...] = ()
    """Preset (minimal, standard, compcor, scrubbing) or terms, of the confounds table of each run:
    motion:6|12|24, wm_csf, global_signal, compcor:anat_combined:5, cosine; fd:0.5 (mm), dvars:1.5
    and scrub:5 censor volumes."""
    censor: Literal["drop", "interpolate", "keep"] | None = None
    """Windows with censored volumes: left out and listed (default), or the volumes interpolated in
    time, or kept as they are."""
    exclude_fd: float | None = None
    """Leave out runs with a larger mean framewise displacement, mm."""
    exclude_max_fd: float | None = None
    """Leave out runs with a larger displacement between two volumes, mm."""
    exclude_censored: float | None = None
    """Leave out runs with a larger share of censored volumes, 0 to 1."""
    exclude_tsnr: float | None = None
    """Leave out runs with a smaller tSNR of the cleaned signal; known after conversion."""
    exclude_dvars: float | None = None
    """Leave out runs with larger mean DVARS before cleaning, % of the mean brightness."""
    exclude_max_dvars: float | None = None
    """Leave out runs with larger DVARS between two volumes, %."""
    exclude: tuple[str, ...] = ()
    """Runs to leave out by name, RUN or RUN:REASON; several reasons of a run are joined."""

    def denoising(self) -> Denoising | None:
        """Return the declared strategy, None if there is none."""
        if not self.confounds:
            if self.censor is not None:
                raise ConfigError(
                    "prepare: --censor must come with a threshold, got none. Give one "
                    "(--confounds fd:0.5)."
                )
            return None
        found = Denoising.parse(self.confounds, censor=self.censor)
        if self.censor is not None and not found.censors:
            raise ConfigError(
                "prepare: --censor must come with a threshold, got none. Give one (fd:0.5)."
            )
        return found

    def exclusion(self) -> Exclusion | None:
        """Return the limits for runs, None if there are none."""
        reasons: dict[str, list[str]] = {}
        for name, _, reason in (text.partition(":") for text in self.exclude):
            known = reasons.setdefault(name, [])
            known += [reason] if reason and reason not in known else []
        named = {name: "; ".join(known) for name, known in reasons.items()}
        limits = {
            "mean_fd_mm": self.exclude_fd,
            "max_fd_mm": self.exclude_max_fd,
            "censored_share": self.exclude_censored,
            "least_tsnr": self.exclude_tsnr,
            "mean_dvars": self.exclude_dvars,
            "max_dvars": self.exclude_max_dvars,
        }
        if not named and all(limit is None for limit in limits.values()):
            return None
        return Exclusion(runs=named, **limits)
