"""Go or no-go: whether a rehearsal met its conditions, and its latencies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .faults import FaultPlan
from .tally import Tally

_BINS = 12
_WIDTH = 40
_ROOM = 1.1  # of the largest latency: upper end of the histogram
_WITHOUT_FAULT = ("ok", "held", "late")
_NAMES = {"first_word_s": "to first word", "text_s": "to sentence"}


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
    def of(cls, name: str, seconds: npt.NDArray[np.float64]) -> Latency:
        """Summarise some latencies; all 0 where there are none."""
        found = seconds if len(seconds) else np.zeros(1)
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
    held : tuple of (int, str)
        Number of held TRs and the last reason, of each kind.
    """

    reasons: tuple[str, ...]
    latencies: tuple[Latency, ...]
    seconds: tuple[float, ...]
    deadline_s: float
    counters: dict[str, int]
    held: tuple[tuple[int, str], ...] = ()

    @property
    def go(self) -> bool:
        """Whether all conditions were met."""
        return not self.reasons


def judge(
    tally: Tally,
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
    tally : Tally
    plan : FaultPlan
    deadline_s : float
    counters : dict of int
    decodes : bool
        Whether windows had to be decoded.
    """
    labels, found = plan.labels, tally.statuses
    others = np.flatnonzero(tally.counts != 1).tolist()
    wrong = [i for i, label in labels.items() if found[i] != label]
    extra = [i for i, s in enumerate(found) if i not in labels and s not in _WITHOUT_FAULT]
    missed, failed = (np.flatnonzero(x).tolist() for x in (tally.missed, tally.failed))
    reasons = [
        _named(f"{len(others)} of {plan.volumes} TRs have no record or several", others),
        f"{tally.outside} records are of TRs that do not exist" if tally.outside else "",
        _named(f"{len(wrong)} of {len(labels)} faults have another label", wrong),
        _named(f"{len(extra)} volumes without a fault are labelled", extra),
        _named(f"{len(missed)} deadlines of {deadline_s:.3g} s were missed", missed),
        _named(f"{len(failed)} volumes failed", failed),
    ]
    if counters.get("unwritten"):
        reasons.append(f"{counters['unwritten']} lines could not be written")
    seconds = tally.of("text_s")
    if decodes and not len(seconds):
        last = [*tally.held.values()][-1:]
        why = f" (last reason: {last[0][1]})" if last else ""
        reasons.append(f"no window was decoded{why}. Rehearse more volumes")
    latencies = [
        Latency.of(_NAMES.get(name, f"stage {name}"), tally.of(name))
        for name in sorted(tally.seconds, key=lambda name: (name not in _NAMES, name == "text"))
    ]
    kept = tuple(filter(None, reasons))
    held = tuple(tally.held.values())
    texts = tuple(seconds.tolist())
    return Verdict(kept, tuple(latencies), texts, deadline_s, counters, held)


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
    for count, reason in verdict.held:
        console.print(f"held {count}, the last one because: {reason}", soft_wrap=True)
    for reason in verdict.reasons:
        console.print(f"no-go: {reason}", soft_wrap=True)
    console.print("[bold green]GO[/]" if verdict.go else "[bold red]NO-GO[/]")


def histogram(seconds: Sequence[float], deadline_s: float) -> list[str]:
    """Draw latencies as lines of text; those beyond the deadline have a line of their own.

    Parameters
    ----------
    seconds : sequence of float
    deadline_s : float
    """
    if not len(seconds):
        return []
    top = min(deadline_s, _ROOM * max(seconds))
    edges = [*np.linspace(0.0, top, _BINS + 1).tolist(), np.inf]
    counts = np.histogram(seconds, edges)[0].tolist()
    lines = ["complete volume to sentence:"]
    for low, high, count in zip(edges, edges[1:], counts, strict=False):
        bar = "█" * -(-_WIDTH * count // max(counts))
        place = f"{1e3 * low:6.0f} to {1e3 * high:.0f}" if high < np.inf else "   beyond"
        lines.append(f"{place:>16} ms {bar} {count}")
    return [*lines, f"deadline: {1e3 * deadline_s:.0f} ms"]
