"""What is printed of rows while they are made."""

from __future__ import annotations

from collections.abc import Sequence

from .rows import OURS, Row


def result_lines(rows: Sequence[Row]) -> list[str]:
    """A heading for each case, and a line for each provider: its time, or why it has none.

    Parameters
    ----------
    rows : sequence of dict
    """
    lines: list[str] = []
    heading = None
    for row in rows:
        if row["op"] == "roofline":
            best = f"{row['gbytes']:.1f} GB/s, {row['gflops']:.1f} GFLOP/s"
            lines.append(f"this machine, {row['case']}: {best}")
            continue
        kind, op = row["op"].split("_", 1) if "note" in row else ("", row["op"])
        now = (op, row.get("case"), row.get("dtype"))
        if now != heading:
            heading = now
            lines.append(f"{op} {row.get('case')}, {row.get('dtype')}")
        name = row.get("provider") or "setting up"
        said = f"{kind}: {row['note']}" if "note" in row else _time_of(row)
        lines.append(f"  {name:<26} {said}")
    return lines


def _time_of(row: Row) -> str:
    parts = [f"{row['ms_p50']:9.4g} ms ({row['ms_p20']:.4g}-{row['ms_p80']:.4g})"]
    if (over := row.get("ratio_to_fastbrain")) is not None and row["provider"] != OURS:
        spread = f"({row['ratio_low']:.2f}-{row['ratio_high']:.2f})"
        parts.append(f"{over:.2f}x the time of {row.get('against', OURS)} {spread}")
    if "ms_kernel_p50" in row:
        parts.append(f"kernel {row['ms_kernel_p50']:.4g} ms")
    parts.append(f"{row['roofline']:.0%} of roofline")
    if row.get("peak_mb") is not None:
        parts.append(f"peak {row['peak_mb']:.3g} MB")
    usual = (None, "warm", "call")
    parts += [row[name] for name in ("cache", "way") if row.get(name) not in usual]
    return "  ".join(parts)
