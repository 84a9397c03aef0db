"""Two sets of rows against each other: other commits, or other machines."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import stats

from ..errors import InputError
from .rows import OURS, Row, key_of, label_of, machine_of, timed_rows
from .statistics import log_error

# of repeated rows, this many give an interval of their own
_FEWEST_REPEATS = 3


@dataclass(frozen=True)
class Change:
    """A provider on a case, in the second set over the first.

    Parameters
    ----------
    label, provider : str
    before_ms, after_ms : float
        Medians.
    ratio, low, high : float
        ``after / before`` with its 95 % interval; below 1 the second set is faster.
    verdict : str
        ``"faster"``, ``"slower"`` or ``"same"``.
    """

    label: str
    provider: str
    before_ms: float
    after_ms: float
    ratio: float
    low: float
    high: float
    verdict: str


@dataclass(frozen=True)
class Comparison:
    """All changes, and what the sets do not share.

    Parameters
    ----------
    before, after : str
        What the sets are, as ``"epyc-2c, commit abc"``.
    changes : tuple of Change
        Sorted: the most slowed first.
    only_before, only_after : int
        Times without a partner.
    drift : float or None
        Median ratio of the other packages, which are the same in both sets if only fastbrain has
        changed: by how much the machine itself was slower or faster.
    """

    before: str
    after: str
    changes: tuple[Change, ...]
    only_before: int
    only_after: int
    drift: float | None

    def to_json(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return {**asdict(self), "changes": [asdict(change) for change in self.changes]}


def compare_rows(
    before: Iterable[Row], after: Iterable[Row], *, least: float = 0.03, threads: bool = True
) -> Comparison:
    """Compare the times that two sets of rows share.

    Parameters
    ----------
    before, after : iterable of dict
        Rows. Of rows repeated fewer than three times the newest counts, and its interval comes
        from its quantiles, as if rounds were independent. Three or more repeats on both sides are
        compared with each other (Welch's t-test of the logarithms), in pairs if there are as many.
    least : float
        A change below this share is ``"same"``, however certain.
    threads : bool
        Whether the numbers of threads must be equal.

    Returns
    -------
    Comparison

    Raises
    ------
    InputError
        A set has no times, or they share none.
    """
    sets = [timed_rows(rows, function="bench compare") for rows in (before, after)]
    old, new = (_grouped(rows, threads) for rows in sets)
    shared = [key for key in old if key in new]
    if not shared:
        raise InputError(
            "bench compare: both files must have a common op, case, provider, dtype, cache and "
            f"thread count, got {_shown(old)} and {_shown(new)}. Time the same cases in both."
        )
    changes = [_change(key, old[key], new[key], least) for key in shared]
    rivals = [
        change.ratio
        for key, change in zip(shared, changes, strict=True)
        if not (key[2].startswith(OURS) or old[key][-1].get("ceiling"))
    ]
    return Comparison(
        before=_name(sets[0]),
        after=_name(sets[1]),
        changes=tuple(sorted(changes, key=lambda change: -change.ratio)),
        only_before=len(old) - len(shared),
        only_after=len(new) - len(shared),
        drift=float(np.exp(np.median(np.log(rivals)))) if rivals else None,
    )


def _grouped(rows: Sequence[Row], threads: bool) -> dict[tuple[Any, ...], list[Row]]:
    found: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        key = key_of(row)
        found.setdefault(key if threads else (*key[:-1], None), []).append(row)
    return found


def _shown(groups: dict[tuple[Any, ...], list[Row]]) -> str:
    return label_of(next(iter(groups)))


def _name(rows: Sequence[Row]) -> str:
    last = rows[-1]
    return f"{machine_of(last)}, commit {last['env'].get('commit', 'unknown')}"


def _change(key: tuple[Any, ...], old: Sequence[Row], new: Sequence[Row], least: float) -> Change:
    if min(len(old), len(new)) >= _FEWEST_REPEATS:
        change, error, freedom = _of_repeats(old, new)
    else:
        old, new = old[-1:], new[-1:]
        change = math.log(new[0]["ms_p50"] / old[0]["ms_p50"])
        parts = (log_error(r["ms_p20"], r["ms_p80"], r["rounds"]) for r in (old[0], new[0]))
        error, freedom = math.hypot(*parts), math.inf
    wide = float(stats.t.ppf(0.975, freedom)) * error
    low, ratio, high = (math.exp(change + part) for part in (-wide, 0.0, wide))
    if low <= 1 <= high or abs(ratio - 1) < least:
        verdict = "same"
    else:
        verdict = "faster" if ratio < 1 else "slower"
    before, after = (math.exp(float(np.mean(_logs(rows)))) for rows in (old, new))
    return Change(label_of(key), key[2], before, after, ratio, low, high, verdict)


def _logs(rows: Sequence[Row]) -> np.ndarray:
    return np.log([row["ms_p50"] for row in rows])


def _of_repeats(old: Sequence[Row], new: Sequence[Row]) -> tuple[float, float, float]:
    """Change of the logarithm, its standard error and the degrees of freedom."""
    a, b = _logs(old), _logs(new)
    change = float(b.mean() - a.mean())
    if len(a) == len(b):
        # the repeats of both sets were made in turn, so that a slow minute is in both
        return change, float((b - a).std(ddof=1)) / math.sqrt(len(a)), len(a) - 1
    parts = [x.var(ddof=1) / len(x) for x in (a, b)]
    total = sum(parts)
    freedom = sum(p**2 / (len(x) - 1) for p, x in zip(parts, (a, b), strict=True))
    return change, math.sqrt(total), total**2 / freedom if freedom else math.inf


def change_lines(found: Comparison, *, only: Sequence[str] = ()) -> list[str]:
    """The comparison as text: counts, drift, and a line for each change.

    Parameters
    ----------
    found : Comparison
    only : sequence of str
        Verdicts that are listed; default: all.
    """
    ours = [change for change in found.changes if change.provider.startswith(OURS)]
    counts = ", ".join(
        f"{sum(change.verdict == verdict for change in ours)} {verdict}"
        for verdict in ("slower", "faster", "same")
    )
    lines = [f"before: {found.before}", f"after:  {found.after}", f"fastbrain: {counts}"]
    if found.drift is not None:
        lines.append(f"other packages: {found.drift:.3f}x the time, the drift of the machine")
    if found.only_before or found.only_after:
        lines.append(
            f"not compared: {found.only_before} only before, {found.only_after} only after"
        )
    shown = [change for change in found.changes if not only or change.verdict in only]
    names = [f"{change.label} {change.provider}" for change in shown]
    width = max(map(len, names), default=0)
    for name, change in zip(names, shown, strict=True):
        lines.append(
            f"  {change.verdict:<6}  {name:<{width}}  {change.before_ms:9.4g} ms -> "
            f"{change.after_ms:9.4g} ms  {change.ratio:.3f}x ({change.low:.3f}-{change.high:.3f})"
        )
    return lines
