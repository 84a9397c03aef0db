"""Time the ops beside other packages that solve them, and keep one row for each.

fastbrain bench run --out rows.jsonl

fastbrain bench run --op vq_lookup --case 64x1024x64 --threads 1 --cold

Every provider is first compared with a reference; a wrong one is not timed, and its row says
so. The same line goes on where it was interrupted: entries that the file already has from the same
code and machine are skipped. `fastbrain bench compare`, `plot` and `report` read the rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from .._environment import check_file
from .._progress import say
from ..errors import some

if TYPE_CHECKING:
    from ..bench.session import Outcome, Plan


@dataclass(frozen=True)
class Config:
    """Options of ``fastbrain bench run``."""

    op: tuple[str, ...] = ()
    """Ops, as vq_lookup; default: all."""
    case: tuple[str, ...] = ()
    """Cases, as 64x1024x64; default: all of the ops."""
    provider: tuple[str, ...] = ()
    """Other providers than fastbrain, as faiss_flat; default: all that can run."""
    list: bool = False
    """List ops, cases and providers, and time nothing."""
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    """Precision of the floating numbers."""
    device: str = "cpu"
    """Device, e.g. cuda."""
    threads: int | None = None
    """Threads of the CPU; default: those of PyTorch."""
    rounds: int | None = None
    """Rounds in which all providers run once; default: what each case says."""
    budget_s: float | None = None
    """Seconds for all; the rest is left out and said. Default: no limit."""
    cold: bool = False
    """Time calls after the caches were emptied."""
    warm: bool = True
    """Time calls one after the other."""
    compile: bool = False
    """Time the compiled form of plain PyTorch too."""
    out: Path | None = None
    """File of rows to append to; default: only print."""
    machine: str | None = None
    """Name of this machine in the rows; default: that of its processor or GPU."""


def run(config: Config) -> int:
    """Time the entries; return 1 if a provider was wrong or failed."""
    from ..bench.lines import result_lines
    from ..bench.session import Session

    plan = plan_of(config)
    if config.list:
        print("\n".join(listing(plan)))
        return 0
    if config.out is not None:
        check_file(config.out, function="bench run")
    session = Session(plan, lambda rows: print("\n".join(result_lines(rows)), flush=True))
    outcome = session.run()
    for line in ends(outcome):
        say(line)
    if config.out is not None:
        say(f"rows: {config.out}")
    return 1 if outcome.failed else 0


def plan_of(config: Config) -> Plan:
    """The plan that the options describe."""
    from ..bench.session import Plan

    return Plan(
        ops=config.op,
        cases=config.case,
        providers=config.provider,
        device=config.device,
        dtype=config.dtype,
        threads=config.threads,
        rounds=config.rounds,
        budget_s=math.inf if config.budget_s is None else config.budget_s,
        caches=[name for name in ("cold", "warm") if getattr(config, name)],
        compiled=config.compile,
        out=config.out,
        machine=config.machine,
    )


def listing(plan: Plan) -> list[str]:
    """Lines that name every chosen entry, and the providers."""
    from ..bench.assembly import provider_names

    cases: dict[str, list[str]] = {}
    for entry in plan.entries():
        cases.setdefault(entry.op, []).append(entry.case)
    lines = [f"{op}: {', '.join(names)}" for op, names in cases.items()]
    return [*lines, f"providers: {', '.join(provider_names())}"]


def ends(outcome: Outcome) -> list[str]:
    """What is said at the end of a run."""
    lines = []
    if outcome.known:
        lines.append(f"not timed again, the file has them: {some(outcome.known)}")
    if outcome.left:
        lines.append(f"no time for: {some(outcome.left)}. A larger --budget-s goes on with them.")
    if outcome.failed:
        lines.append(f"failed or wrong, and not timed: {some(outcome.failed)}")
    return lines
