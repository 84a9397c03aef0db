"""The denoising strategy of a store: which confounds are regressed out, which volumes censored.

Names and meanings are those of ``nilearn.interfaces.fmriprep.load_confounds``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from ...._arguments import checked
from ...._rules import anything, checked_record, none_or, number
from ....errors import InputError

Terms = Literal["basic", "power2", "derivatives", "full"]
CompCor = Literal[
    "anat_combined",
    "anat_separated",
    "temporal",
    "temporal_anat_combined",
    "temporal_anat_separated",
]
Censor = Literal["drop", "interpolate", "keep"]

_COUNTS: dict[str, Terms] = {"6": "basic", "12": "derivatives", "24": "full"}
_COMPONENTS = 5  # of each kind, where a strategy does not say how many
_WHAT = {
    "motion": "head motion (6 parameters",
    "wm_csf": "mean signals of white matter and CSF (2",
    "global_signal": "global signal (1",
}
_SERIES = {"basic": "", "power2": " and squares", "derivatives": " and temporal derivatives",
           "full": ", temporal derivatives, and squares of both"}  # fmt: skip
_CENSOR = {
    "drop": "windows that touch them are left out",
    "interpolate": "they are interpolated",
    "keep": "they are kept as they are",
}
_USAGE = (
    "Give a preset (minimal, standard, compcor, scrubbing), or terms: motion:6|12|24, wm_csf, "
    "global_signal, compcor:anat_combined:5, cosine, fd:0.5, dvars:1.5, scrub:5"
)


@checked(least={"scrub": 0, "fd_threshold": 0, "std_dvars_threshold": 0})
@dataclass(frozen=True, kw_only=True)
class Denoising:
    """Confounds that are regressed out of every run of a store, and volumes that are censored.

    Regressors and drifts of the high-pass filter are removed in one projection, fitted to the
    volumes of each run that are not censored.

    Parameters
    ----------
    motion : {"basic", "power2", "derivatives", "full"}, optional
        Six parameters of head motion; with their squares (12), temporal derivatives (12), or both
        and the squares of the derivatives (24).
    wm_csf : {"basic", "power2", "derivatives", "full"}, optional
        Mean signals of white matter and cerebrospinal fluid.
    global_signal : {"basic", "power2", "derivatives", "full"}, optional
        Mean signal of the brain.
    compcor : str, optional
        ``"anat_combined"``, ``"anat_separated"`` (white matter and CSF), ``"temporal"``,
        ``"temporal_anat_combined"`` or ``"temporal_anat_separated"``.
    n_compcor : int or "all"
        Components of each kind.
    cosine : bool
        Whether the drift cosines of the table (``cosine00`` ...) are regressed out.
    fd_threshold : float, optional
        Volumes with a larger framewise displacement are censored, mm.
    std_dvars_threshold : float, optional
        Volumes with larger standardised DVARS are censored.
    scrub : int
        Shorter stretches of volumes between censored ones are censored too.
    censor : {"drop", "interpolate", "keep"}
        What happens to windows with censored volumes: they are left out and listed; the volumes
        are interpolated linearly in time; or the volumes stay as they are. Fits and statistics
        never use censored volumes.

    Raises
    ------
    InputError
        Nothing is regressed and nothing censored, or a value is out of range.
    """

    motion: Terms | None = None
    wm_csf: Terms | None = None
    global_signal: Terms | None = None
    compcor: CompCor | None = None
    n_compcor: int | Literal["all"] = _COMPONENTS
    cosine: bool = False
    fd_threshold: float | None = None
    std_dvars_threshold: float | None = None
    scrub: int = 0
    censor: Censor = "drop"

    def __post_init__(self) -> None:
        if isinstance(self.n_compcor, int) and self.n_compcor < 1:
            raise InputError(
                f"Denoising: n_compcor must be 1 or more, or 'all', got {self.n_compcor}."
            )
        if not self.regresses and not self.censors:
            raise InputError(f"Denoising: a strategy must remove something, got none. {_USAGE}.")
        if self.scrub and not self.censors:
            raise InputError(
                "Denoising: scrub must come with fd_threshold or std_dvars_threshold, got neither. "
                "Give one (fd:0.5)."
            )

    @property
    def regresses(self) -> bool:
        """Whether any confound is regressed out."""
        return self.cosine or any((self.motion, self.wm_csf, self.global_signal, self.compcor))

    @property
    def censors(self) -> bool:
        """Whether volumes are censored."""
        return self.fd_threshold is not None or self.std_dvars_threshold is not None

    @classmethod
    @checked
    def parse(cls, terms: Sequence[str], *, censor: Censor | None = None) -> Denoising:
        """Make a strategy from a preset, from terms, or from a preset and terms that change it.

        Parameters
        ----------
        terms : sequence of str
            ``minimal``, ``standard``, ``compcor`` or ``scrubbing`` first, if at all; then terms
            such as ``motion:24``, ``wm_csf:full``, ``compcor:anat_combined:5``, ``fd:0.5``.
        censor : {"drop", "interpolate", "keep"}, optional

        Raises
        ------
        InputError
            A term is unknown or given twice.
        """
        found: dict[str, Any] = {}
        given = list(terms)
        if given and given[0] in PRESETS:
            found.update(PRESETS[given.pop(0)])
        seen: set[str] = set()
        for term in given:
            name, *values = term.split(":")
            if name in seen:
                raise InputError(f"Denoising: a term must be given once, got {name} twice.")
            seen.add(name)
            found |= _term(term, name, values)
        if censor is not None:
            found["censor"] = censor
        return cls(**found)

    def to_json(self) -> dict[str, Any]:
        """Convert to plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Any) -> Denoising:
        """Inverse of :meth:`to_json`.

        Raises
        ------
        InputError
            Missing or unknown keys, or values of the wrong type.
        """
        # the class checks all other values
        rules = {f.name: anything for f in fields(cls)} | {
            name: none_or(number) for name in ("fd_threshold", "std_dvars_threshold")
        }
        return cls(**checked_record(value, rules, where="Denoising.from_json", error=InputError))

    def regressors(self) -> str:
        """Name the confounds that are regressed out; "" for none."""
        parts = []
        for name, what in _WHAT.items():
            terms = getattr(self, name)
            if terms is not None:
                parts.append(f"{what}{_SERIES[terms]})")
        if self.compcor is not None:
            count = "all" if self.n_compcor == "all" else f"the first {self.n_compcor}"
            # one kind: all components come from one mask
            each = "" if self.compcor in ("anat_combined", "temporal") else " of each kind"
            parts.append(f"CompCor {self.compcor.replace('_', ' ')} ({count} components{each})")
        if self.cosine:
            parts.append("cosines of the confounds table")
        return ", ".join(parts)

    def censoring(self) -> str:
        """Describe which volumes are censored, and what happens to them; "" for none."""
        limits = []
        if self.fd_threshold is not None:
            limits.append(f"framewise displacement above {self.fd_threshold:g} mm")
        if self.std_dvars_threshold is not None:
            limits.append(f"standardised DVARS above {self.std_dvars_threshold:g}")
        if not limits:
            return ""
        short = f", and stretches of fewer than {self.scrub} between them" if self.scrub else ""
        return f"volumes with {' or '.join(limits)}{short}; {_CENSOR[self.censor]}"

    def describe(self) -> dict[str, str]:
        """Describe the strategy, one line per entry."""
        found = {"confounds": self.regressors() or "none are regressed out"}
        if self.censors:
            found["censored"] = self.censoring()
        return found


# the usual thresholds are those of fMRIPrep's motion outliers
PRESETS: dict[str, dict[str, Any]] = {
    "minimal": {"motion": "basic"},
    "standard": {"motion": "full", "wm_csf": "basic"},
    "compcor": {"motion": "full", "compcor": "anat_combined", "n_compcor": 5},
    "scrubbing": {
        **{"motion": "full", "wm_csf": "full", "scrub": 5},
        **{"fd_threshold": 0.5, "std_dvars_threshold": 1.5},
    },
}


def _term(term: str, name: str, values: list[str]) -> dict[str, Any]:
    """Read one term."""
    if name in _WHAT and len(values) <= 1:
        terms = values[0] if values else "basic"
        terms = _COUNTS.get(terms, terms) if name == "motion" else terms
        if terms in get_args(Terms):
            return {name: terms}
    elif name == "compcor" and len(values) <= 2:
        kind = values[0] if values else "anat_combined"
        count = values[1] if values[1:] else str(_COMPONENTS)
        if kind in get_args(CompCor) and (count == "all" or re.fullmatch(r"[1-9]\d{0,3}", count)):
            return {"compcor": kind, "n_compcor": count if count == "all" else int(count)}
    elif name in ("cosine", "high_pass") and not values:
        return {"cosine": True}
    elif name in ("fd", "dvars") and len(values) == 1 and re.fullmatch(r"\d+(\.\d+)?", values[0]):
        return {"fd_threshold" if name == "fd" else "std_dvars_threshold": float(values[0])}
    elif name == "scrub" and len(values) == 1 and re.fullmatch(r"\d{1,4}", values[0]):
        return {"scrub": int(values[0])}
    raise InputError(f"Denoising: terms must be known ones, got {term!r:.80}. {_USAGE}.")
