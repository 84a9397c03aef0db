"""Go or no-go: whether a rehearsal kept its promises, and its latencies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .faults import FaultPlan

_BINS = 12
_WIDTH = 40
_STATUSES_WITHOUT_FAULT = ("ok", "held", "late")


@dataclass(frozen=True)
class Latency:
    """Distribution of one latency in seconds.

    Parameters
    ----------
    name : str
    count : int
    p50, p99, most : float
    """

    name: str
    count: int
    p50: float
    p99: float
    most: float

    @classmethod
    def of(cls, name: str, seconds: Sequence[float]) -> Latency:
        """Summarise some latencies; all 0 where there are none."""
        found = np.asarray(seconds if len(seconds) else [0.0], dtype=np.float64)
        p50, p99 = np.quantile(found, [0.5, 0.99]).tolist()
        return cls(name, len(seconds), p50, p99, float(found.max()))


@dataclass(frozen=True)
class Verdict:
    """Outcome of a rehearsal.

    Parameters
    ----------
    reasons : tuple of str
        Why it is no-go; empty for go.
    latencies : tuple of Latency
        Of complete volume to first word and to sentence, and of each stage.
    seconds : tuple of float
        Complete volume to sentence of each decoded window.
    deadline_s : float
    counters : dict of int
    """

    reasons: tuple[str, ...]
    latencies: tuple[Latency, ...]
    seconds: tuple[float, ...]
    deadline_s: float
    counters: dict[str, int]

    @property
    def go(self) -> bool:
        """Whether every promise was kept."""
        return not self.reasons


def judge(
    records: Sequence[dict[str, Any]],
    plan: FaultPlan,
    *,
    deadline_s: float,
    counters: dict[str, int],
    decodes: bool = True,
) -> Verdict:
    """Compare the records of a rehearsal with its plan.

    It is a go if each expected TR has one record, each injected fault its label and nothing else
    such a label, no deadline was missed, at least one window was decoded, no decoder failed, and
    everything was written.

    Parameters
    ----------
    records : sequence of dict
        Events ``record`` of the session.
    plan : FaultPlan
    deadline_s : float
    counters : dict of int
    decodes : bool
        Whether windows had to be decoded.
    """
    found = {row["index"]: row for row in records}
    reasons = []
    if len(records) != plan.volumes or set(found) != set(range(plan.volumes)):
        reasons.append(f"{len(records)} records of {len(found)} TRs, {plan.volumes} were expected")
    labels = plan.labels
    wrong = [i for i in labels if i in found and found[i]["status"] != labels[i]]
    reasons += [_named(f"{len(wrong)} of {len(labels)} faults have another label", wrong)]
    usual = _STATUSES_WITHOUT_FAULT
    extra = [i for i, row in found.items() if i not in labels and row["status"] not in usual]
    reasons += [_named(f"{len(extra)} volumes without a fault are labelled", extra)]
    missed = [i for i, row in found.items() if row["missed"]]
    reasons += [_named(f"{len(missed)} deadlines of {deadline_s:.3g} s were missed", missed)]
    failed = [i for i, row in found.items() if "failed" in row["reason"]]
    reasons += [_named(f"{len(failed)} volumes failed", failed)]
    if counters.get("unwritten"):
        reasons.append(f"{counters['unwritten']} lines could not be written")
    decoded = [row for row in records if row["text_s"] is not None]
    if decodes and not decoded:
        held = [row["reason"] for row in records if row["status"] == "held"]
        why = f" (last reason: {held[-1]})" if held else ""
        reasons.append(f"no window was decoded{why}: run more volumes")
    seconds = tuple(float(row["text_s"]) for row in decoded)
    first = [float(row["first_word_s"]) for row in decoded if row["first_word_s"] is not None]
    latencies = [Latency.of("to first word", first), Latency.of("to sentence", seconds)]
    stages = dict.fromkeys(name for row in records for name in row["stages_s"])
    for name in stages:
        values = [row["stages_s"][name] for row in records if name in row["stages_s"]]
        latencies.append(Latency.of(f"stage {name}", values))
    kept = tuple(filter(None, reasons))
    return Verdict(kept, tuple(latencies), seconds, deadline_s, counters)


def _named(what: str, indices: Sequence[int]) -> str:
    if not indices:
        return ""
    shown = ", ".join(map(str, sorted(indices)[:5]))
    return f"{what}: TR {shown}{' and others' if len(indices) > 5 else ''}"


def show(verdict: Verdict, *, tr_s: float) -> None:
    """Print the verdict with its latencies and histogram to stdout."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    table = Table("milliseconds", "n", "p50", "p99", "most", "p99 of TR", box=None)
    for one in verdict.latencies:
        values = [f"{1e3 * v:.1f}" for v in (one.p50, one.p99, one.most)]
        table.add_row(one.name, str(one.count), *values, f"{one.p99 / tr_s:.1%}")
    console.print(table)
    for line in histogram(verdict.seconds, verdict.deadline_s):
        console.print(line)
    counts = verdict.counters
    shown = ("records", "ok", "late", "dropped", "duplicate", "out_of_order", "bad_volume", "held")
    console.print(", ".join(f"{name} {counts.get(name, 0)}" for name in (*shown, "missed")))
    for reason in verdict.reasons:
        console.print(f"no-go: {reason}", soft_wrap=True)
    console.print("[bold green]GO[/]" if verdict.go else "[bold red]NO-GO[/]")


def histogram(seconds: Sequence[float], deadline_s: float) -> list[str]:
    """Draw latencies as lines of text, from 0 to the deadline and beyond.

    Parameters
    ----------
    seconds : sequence of float
    deadline_s : float
    """
    if not len(seconds):
        return []
    edges = np.append(np.linspace(0.0, deadline_s, _BINS + 1), np.inf)
    counts, _ = np.histogram(seconds, edges)
    most = int(counts.max())
    lines = ["complete volume to sentence:"]
    for low, count in zip(edges[:-1], counts, strict=True):
        bar = "█" * -(-_WIDTH * int(count) // most)
        mark = " beyond the deadline" if low >= deadline_s else ""
        lines.append(f"{1e3 * low:8.0f} ms {bar} {count}{mark}")
    return lines
