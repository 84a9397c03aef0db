"""The high-pass filter of a store, and the share of the design that it removes.

The usual 128 s remove 9 to 16 % of the variance that events of up to ten seconds predict, but a
third for blocks of 20 s that occur once in a run of five minutes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from ..._rules import Rule, checked_record, list_of, none_or, number, table_of, text
from ...errors import InputError

HighPass = float | Literal["auto"] | None
USUAL_S = 128.0  # SPM's default
MAX_REMOVED = 0.20  # above this share of a category, another period is chosen or a warning given
KEPT = 0.95  # share of every category that the other period must keep
_FOLLOWS = 2.0  # times the share of white noise, above which confounds follow the events
_SHOWN = 8


@dataclass(frozen=True)
class DriftFilter:
    """A high-pass filter, how it was chosen, and what it removes of the training design.

    A share is the part of the variance of predicted responses, around the mean of each run, that
    line and cosines remove. Shares are computed from training events only.

    Parameters
    ----------
    high_pass_s : float or None
        Period in use, seconds; None removes constant and line only.
    asked : float, "auto" or None
        Requested period.
    runs : tuple of str
        Runs of the training events.
    trials : int
        Training trials.
    removed : dict of str to float
        Share of each category. Categories with fewer than four trials form one group; with fewer
        than two categories, all stimuli form one group.
    stimuli : dict of str to float
        Number of single stimuli ``n``, and their ``median`` and ``worst`` share.
    worst_stimulus : str
    usual : float
        Largest share of a group that 128 s would remove.
    line : float
        Largest share of a group that the line without cosines would remove.
    spares : float or None
        Shortest period from 128 s on that keeps 95 % of every group, seconds; None if none does.
    with_confounds : dict of str to float
        As `removed`, for drifts and confounds together, over the volumes that are not censored;
        empty where no confounds are regressed out. Of merged stores, the largest share of any.
    stimuli_with_confounds : dict of str to float
        As `stimuli`, for drifts and confounds together.
    noise : float
        Share that as many confounds remove of white noise, beside the drifts.
    """

    high_pass_s: float | None
    asked: float | str | None
    runs: tuple[str, ...]
    trials: int
    removed: dict[str, float]
    stimuli: dict[str, float]
    worst_stimulus: str
    usual: float
    line: float
    spares: float | None
    with_confounds: dict[str, float] = field(default_factory=dict)
    stimuli_with_confounds: dict[str, float] = field(default_factory=dict)
    noise: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Convert to plain JSON values."""
        return {**asdict(self), "runs": list(self.runs)}

    def with_most_of(self, others: Sequence[DriftFilter]) -> DriftFilter:
        """Take the largest shares that confounds remove in any of several stores."""
        return replace(
            self,
            with_confounds=_largest([other.with_confounds for other in others]),
            stimuli_with_confounds=_largest([other.stimuli_with_confounds for other in others]),
            noise=max((other.noise for other in others), default=0.0),
        )

    @classmethod
    def from_json(cls, value: Any) -> DriftFilter:
        """Inverse of :meth:`to_json`.

        Raises
        ------
        InputError
            Missing or unknown keys, or values of the wrong type.
        """
        found = checked_record(value, _RULES, where="DriftFilter.from_json", error=InputError)
        return cls(**{**found, "runs": tuple(found["runs"])})

    def describe(self) -> dict[str, str]:
        """Describe the period and what it removes, one line per entry."""
        name = _name(self.high_pass_s)
        if self.asked == "auto":
            name += f" (auto, from the training events of {len(self.runs)} runs"
            if self.high_pass_s != USUAL_S:
                name += f"; {USUAL_S:g} s would remove up to {self.usual:.0%} of a category"
            name += ")"
        if not self.removed:
            return {"high-pass": name, "it removes": "nothing: the events predict no response"}
        shown = f"of what the events predict: {_shares(self.removed)}"
        if self.stimuli["n"]:
            shown += (
                f"; of single stimuli {self.stimuli['median']:.0%} (median of "
                f"{self.stimuli['n']:.0f}), at most {self.stimuli['worst']:.0%} "
                f"({self.worst_stimulus})"
            )
        found = {"high-pass": name, "it removes": shown}
        if self.with_confounds:
            found["with confounds"] = (
                f"of what the events predict: {_shares(self.with_confounds)} (as many "
                f"confounds remove {self.noise:.0%} of white noise)"
            )
        return found

    def warnings(self) -> list[str]:
        """Return the warnings about filter and confounds."""
        return [text for text in (self.warning(), self.confounds_warning()) if text is not None]

    def confounds_warning(self) -> str | None:
        """Return a warning if filter and confounds remove more than 20 % of a category."""
        hurt = {name: share for name, share in self.with_confounds.items() if share > MAX_REMOVED}
        if not hurt:
            return None
        most = max(share - self.removed.get(name, 0.0) for name, share in hurt.items())
        advice = (
            f"the confounds alone add {most:.0%} to the filter, and would remove {self.noise:.0%} "
            "of white noise: "
        )
        if most <= _FOLLOWS * self.noise:
            advice += "choose fewer, or use longer runs"
        else:
            advice += "they vary with the events (motion with the task, a global signal it drives)"
        return (
            f"high-pass {_name(self.high_pass_s)} and confounds together remove more than "
            f"{MAX_REMOVED:.0%} of what the training events predict: {_shares(hurt)}; {advice}"
        )

    def warning(self) -> str | None:
        """Return a warning if more than 20 % of a category is removed, else None."""
        hurt = {name: share for name, share in self.removed.items() if share > MAX_REMOVED}
        if not hurt:
            return None
        if self.spares is not None:
            advice = f"--high-pass {self.spares:g} would keep {KEPT:.0%} of every category"
        elif self.high_pass_s is None:
            advice = "no other filter keeps more: the events are slow, or the runs short"
        else:
            advice = (
                f"no period keeps {KEPT:.0%} of every category; --high-pass none (a line alone) "
                f"removes at most {self.line:.0%}"
            )
        return (
            f"high-pass {_name(self.high_pass_s)} removes more than {MAX_REMOVED:.0%} of what the "
            f"training events predict: {_shares(hurt)}; {advice}"
        )


def _name(seconds: float | None) -> str:
    return "none (a line alone)" if seconds is None else f"{seconds:g} s"


def _shares(shares: Mapping[str, float]) -> str:
    """Format shares in descending order, the first few by name."""
    ranked = sorted(shares.items(), key=lambda item: (-item[1], item[0]))
    shown = ", ".join(f"{name} {share:.0%}" for name, share in ranked[:_SHOWN])
    rest = ranked[_SHOWN:]
    if rest:
        shown += f" and {len(rest)} more of {rest[-1][1]:.0%} to {rest[0][1]:.0%}"
    return shown


def _number(value: Any) -> bool:
    return number(value) and 0 <= value < 1e9


def _stimuli(value: Any) -> bool:
    return table_of(_number)(value) and set(value) == {"n", "median", "worst"}


_RULES: dict[str, Rule] = {
    "high_pass_s": none_or(_number),
    "asked": lambda value: value == "auto" or none_or(_number)(value),
    "runs": list_of(text),
    "trials": _number,
    "removed": table_of(_number),
    "stimuli": _stimuli,
    "worst_stimulus": text,
    "usual": _number,
    "line": _number,
    "spares": none_or(_number),
    "with_confounds": table_of(_number),
    "stimuli_with_confounds": lambda value: value == {} or _stimuli(value),
    "noise": _number,
}


def _largest(shares: Sequence[dict[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for one in shares for name in one)
    return {name: max(one.get(name, 0.0) for one in shares) for name in names}
