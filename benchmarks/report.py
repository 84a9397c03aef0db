"""Tables of the committed benchmark rows, generated and never typed.

python benchmarks/report.py [--machine NAME]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
# a ceiling and our own second layout are shown but are nobody to lose against
NOT_RIVALS = ("fastbrain", "fastbrain_store", "bare_gemm")


def latest(machine: str | None) -> list[dict[str, Any]]:
    """The newest row of every (machine, threads, op, case, provider)."""
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    for path in sorted(RESULTS.glob(f"{machine or '*'}/*.jsonl")):
        for line in path.read_text().splitlines():
            row = json.loads(line)
            row["machine"] = path.parent.name
            threads = row["env"]["threads"]
            rows[row["machine"], threads, row["op"], row["case"], row["provider"]] = row
    return list(rows.values())


def where_we_lose(rows: list[dict[str, Any]]) -> str:
    """One line that names every rival whose interval does not lie above one."""
    lost = [
        f"{row['case']} against {row['provider']} ({row['ratio_to_fastbrain']:.2f}x, "
        f"{row['ratio_low']:.2f}-{row['ratio_high']:.2f})"
        for row in rows
        if row["provider"] not in NOT_RIVALS and row["ratio_low"] <= 1
    ]
    return "Where we lose or draw: " + ("; ".join(lost) if lost else "nowhere in these rows") + "."


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown table of one machine, one op and one thread count."""
    providers = list(dict.fromkeys(row["provider"] for row in rows))
    cells = {(row["case"], row["provider"]): row for row in rows}
    lines = [
        "| case | kept | " + " | ".join(providers) + " |",
        "|---|---|" + "---|" * len(providers),
    ]
    for case in dict.fromkeys(row["case"] for row in rows):
        line = [case, f"{next(r['kept'] for r in rows if r['case'] == case):.0%}"]
        for provider in providers:
            row = cells.get((case, provider))
            if row is None:
                line.append("")
            elif provider == "fastbrain":
                line.append(f"**{row['ms_p50']:.2f} ms**")
            else:
                line.append(
                    f"{row['ms_p50']:.2f} ms, {row['ratio_to_fastbrain']:.2f}x "
                    f"({row['ratio_low']:.2f}-{row['ratio_high']:.2f})"
                )
        lines.append("| " + " | ".join(line) + " |")
    return "\n".join(lines)


def report(machine: str | None = None) -> str:
    """All tables, each under what it was measured on."""
    rows = latest(machine)
    if not rows:
        return "No benchmark rows are committed."
    parts = []
    groups = dict.fromkeys((row["machine"], row["op"], row["env"]["threads"]) for row in rows)
    for name, op, threads in groups:
        own = [
            row
            for row in rows
            if (row["machine"], row["op"], row["env"]["threads"]) == (name, op, threads)
        ]
        env = own[-1]["env"]
        parts += [
            f"### {op} on {env['cpu']}",
            f"{threads} threads, {env['isa']}, torch {env['torch']}, commit {env['commit']}, "
            f"{env['date'][:10]}; medians, and times fastbrain's with a 95 % interval.",
            table(own),
            where_we_lose(own),
        ]
    return "\n\n".join(parts)


def main() -> None:
    """Print the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--machine", help="folder below benchmarks/results; default: all")
    print(report(parser.parse_args().machine))


if __name__ == "__main__":
    main()
