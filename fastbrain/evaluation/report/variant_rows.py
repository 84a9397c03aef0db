"""Rows of a comparison of variants, and their text table."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ...stats.inference import Interval
from .table import LOWER, TITLES, aligned


@dataclass(frozen=True)
class VariantRow:
    """One metric of one variant over all seeds.

    Parameters
    ----------
    variant, metric, mode : str
    values : tuple of float
        One value for each seed, in their order.
    mean : float
    interval : Interval or None
        Student's t over the seeds; None for one seed.
    chance : float or None
        Mean over the seeds of the same score under `control`.
    control : str
    difference : float or None
        Mean over the seeds of the difference from the reference with the same seed; None for the
        reference.
    difference_interval : Interval or None
        Student's t over the seeds.
    p : float or None
        Two-sided, of the differences of single test windows, averaged over the seeds, by sign
        flips of whole blocks; None for a corpus metric, which single windows do not have.
    adjusted : float or None
        p after Benjamini-Hochberg over all differences of the table.
    """

    variant: str
    metric: str
    mode: str
    values: tuple[float, ...]
    mean: float
    interval: Interval | None
    chance: float | None
    control: str
    difference: float | None = None
    difference_interval: Interval | None = None
    p: float | None = None
    adjusted: float | None = None

    @property
    def value(self) -> float:
        """The mean, under the name that a score gives its value."""
        return self.mean


@dataclass(frozen=True)
class VariantTable:
    """All rows of a comparison of variants.

    Parameters
    ----------
    reference : str
        Variant that the others are compared with.
    seeds : tuple of int
    rows : tuple of VariantRow
    """

    reference: str
    seeds: tuple[int, ...]
    rows: tuple[VariantRow, ...]

    def text(self) -> str:
        """Format as aligned text."""
        rows = [_shown(row) for row in self.rows]
        columns = {"metric": "metric", "variant": "variant", "mean": "mean"}
        columns |= {"interval": "95 % over seeds", "chance": "chance"}
        columns |= {"difference": f"from {self.reference}", "between": "95 % over seeds"}
        columns |= {"p": "p", "adjusted": "p adjusted"}
        n = len(self.seeds)
        return f"{aligned(rows, columns)}\n{n} seed{'s' if n > 1 else ''}, p over test windows"

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


def _shown(row: VariantRow) -> dict[str, str]:
    def between(interval: Interval | None, sign: str = "") -> str:
        return f"{interval.low:{sign}.3f} to {interval.high:{sign}.3f}" if interval else "-"

    name = TITLES.get(row.metric, row.metric) + (", lower is better" if row.metric in LOWER else "")
    name += " (teacher-forced)" if row.mode == "teacher-forced" else ""
    other = row.difference is not None
    return {
        "metric": name,
        "variant": row.variant,
        "mean": f"{row.mean:.3f}",
        "interval": between(row.interval),
        "chance": "-" if row.chance is None else f"{row.chance:.3f}",
        "difference": f"{row.difference:+.3f}" if row.difference is not None else "reference",
        "between": between(row.difference_interval, "+") if other else "",
        "p": "" if row.p is None else f"{row.p:.4f}",
        "adjusted": "" if row.adjusted is None else f"{row.adjusted:.4f}",
    }
