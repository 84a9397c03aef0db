"""Check every kernel on this machine against its reference in double precision.

fastbrain selftest

fastbrain selftest --backend cpu --verbose
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Literal

from ..errors import BackendError

if TYPE_CHECKING:
    from ..ops._selftest import Row


@dataclass(frozen=True)
class Config:
    """Options of ``fastbrain selftest``."""

    backend: Literal["cuda", "triton", "cpu", "reference"] | None = None
    """Check only this backend; default: all."""
    device: Literal["cpu", "cuda"] | None = None
    """Check only on this device; default: the CPU and, if available, the GPU."""
    verbose: bool = False
    """Print every case."""


def run(config: Config) -> int:
    """Run the cases; return 0 if all pass, 1 if one fails."""
    from ..ops._selftest import run_selftest

    backends = None if config.backend is None else [config.backend]
    done: list[Row] = []
    for _, rows in groupby(run_selftest(backends, device=config.device), lambda row: row.op):
        of_op = []
        for row in rows:
            of_op.append(row)
            if config.verbose or not row.passed:
                print(_case_line(row), flush=True)
        for line in summary(of_op):
            print(line, flush=True)
        done += of_op
    if not done:
        raise BackendError(
            f"selftest: backend '{config.backend}' must be able to run a case here, got none. "
            "fastbrain doctor says why."
        )
    failed = sum(not row.passed for row in done)
    seconds = sum(row.seconds for row in done)
    print(f"{len(done) - failed} of {len(done)} cases pass, {seconds:.1f} s")
    return 1 if failed else 0


def summary(rows: Sequence[Row]) -> list[str]:
    """Format one line for each op, backend and device: verdict, cases, worst error and time.

    Parameters
    ----------
    rows : sequence of Row
    """
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.op, row.backend, row.device), []).append(row)
    lines = []
    for (op, backend, device), members in groups.items():
        worst = max(members, key=lambda row: math.inf if math.isnan(row.error) else row.error)
        lines.append(
            f"{_verdict(all(row.passed for row in members))}  {op:<23}  {backend:<9}  {device:<4}  "
            f"{len(members):>3} cases  worst error {worst.error:.1e} ({worst.dtype})  "
            f"{sum(row.seconds for row in members):.2f} s"
        )
    return lines


def _case_line(row: Row) -> str:
    line = (
        f"  {_verdict(row.passed)}  {row.op}-{row.case}  {row.backend}  {row.device}  {row.dtype}  "
        f"error {row.error:.1e}  {row.seconds:.2f} s"
    )
    return f"{line}  {row.note}" if row.note else line


def _verdict(passed: bool) -> str:
    return "PASS" if passed else "FAIL"
