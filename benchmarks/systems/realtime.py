"""A live session on a synthetic scanner: latency by stage, misses, and growth of memory.

    python benchmarks/systems/realtime.py RUN [--volumes 4500] [--tr 0.8] [--speed 8]
        [--faults usual] [--overload 1.5] [--machine NAME]

The scanner writes NIfTI files into a folder, ``--speed`` times as fast as the repetition time; the
deadline stays one TR. So only the time between volumes is shorter than in a true run, and 4,500
volumes of 0.8 s take 7.5 minutes. ``--overload X`` adds X TR to the time of each decoding: every
miss must be in the records. RUN is a run of LLM4Brain or BrainLLM, for example that of the demo.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

Row = dict[str, Any]
_SETTLED = 0.2  # share of the volumes after which memory must not grow
_NAMES = {"to first word": "complete volume → first word", "to sentence": "→ sentence"}


def latency_table(rows: list[Row]) -> str:
    """Latencies of the newest row of each case and TR, and those of the longest one by stage."""
    newest = {(row["case"], row["tr_s"], row["speed"]): row for row in rows}
    lines = [
        "| session | volumes | TR, s | speed | first word p50, p99 ms | sentence p99 ms | of TR | "
        "missed | memory | commit |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in newest.values():
        first, sentence = row["stages_ms"]["to first word"], row["stages_ms"]["to sentence"]
        lines.append(
            f"| {row['case']} | {row['volumes']} | {row['tr_s']:g} | {row['speed']:g}x | "
            f"{first[0]:.0f}, {first[1]:.0f} | {sentence[1]:.0f} | "
            f"{sentence[1] / (1e3 * row['tr_s']):.0%} | {row['missed']} | "
            f"{row['rss_growth_mb']:+.1f} MB | {row['env']['commit']} |"
        )
    longest = max(newest.values(), key=lambda row: row["volumes"])
    env = longest["env"]
    stages = ["| stage | p50 ms | p99 ms | p99 of TR |", "|---|---|---|---|"]
    for name, (p50, p99) in longest["stages_ms"].items():
        share = p99 / (1e3 * longest["tr_s"])
        stages.append(f"| {_NAMES.get(name, name)} | {p50:.1f} | {p99:.1f} | {share:.0%} |")
    about = (
        f"{longest['volumes']} volumes every {longest['tr_s']:g} s, {longest['case']}, by stage; "
        f"{env['threads']} thread(s) of {env['cpu']}, {env['date'][:10]}:"
    )
    return "\n\n".join(["\n".join(lines), about, "\n".join(stages)])


class Memory:
    """An output of a session that reads the resident memory of the process."""

    def __init__(self, volumes: int) -> None:
        self.dropped = 0
        self.after = int(_SETTLED * volumes)
        self.start = self.end = 0.0

    def write(self, event: Row) -> None:
        """Read it at a record."""
        if event["type"] == "record":
            self.end = resident_mb()
            if event["index"] <= self.after:
                self.start = self.end

    def close(self) -> None:
        """Do nothing."""


class Slower:
    """A decoder that takes longer than it must."""

    def __init__(self, decoder: Any, more_s: float) -> None:
        self.decoder, self.more_s = decoder, more_s

    def warm_up(self) -> None:
        """As the decoder does."""
        self.decoder.warm_up()

    def decode(self, window: Any, listener: Any) -> Any:
        """Wait, then decode."""
        import time

        time.sleep(self.more_s)
        return self.decoder.decode(window, listener)


def resident_mb() -> float:
    """Resident memory of this process in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def measure(args: argparse.Namespace) -> Row:
    """Run one session."""
    from fastbrain._run_kind import run_kind
    from fastbrain.inference.open_decoder import preparation_for
    from fastbrain.realtime.preprocess import VolumePipeline
    from fastbrain.realtime.rehearsal import FaultPlan, FaultRates, rehearse
    from fastbrain.realtime.session import Settings, open_window_decoder

    like = preparation_for(args.run)
    plan = FaultPlan.draw(args.volumes, FaultRates.parse(args.faults))
    decoder: Any = open_window_decoder(args.run, like=like)
    if args.overload:
        decoder = Slower(decoder, args.overload * args.tr)
    memory = Memory(args.volumes)
    verdict = rehearse(
        like,
        VolumePipeline.from_run(like),
        decoder,
        plan=plan,
        settings=Settings(tr_s=args.tr),
        speed=args.speed,
        sinks=[memory],
    )
    condition = f"overload {args.overload:g} TR" if args.overload else "nominal load"
    faults = f", faults {args.faults}" if args.faults else ""
    return {
        "op": "realtime",
        "case": f"{run_kind(args.run, function='benchmark')}, {condition}{faults}",
        "volumes": args.volumes,
        "tr_s": args.tr,
        "speed": args.speed,
        "go": verdict.go,
        "reasons": list(verdict.reasons),
        "records": verdict.counters["records"],
        "missed": verdict.counters["missed"],
        "decoded": len(verdict.seconds),
        "counters": verdict.counters,
        "rss_growth_mb": memory.end - memory.start,
        "stages_ms": {one.name: [1e3 * one.p50, 1e3 * one.p99] for one in verdict.latencies},
    }


def main() -> None:
    """Measure and keep the row."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    import torch
    from recording import Recorder

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="run folder")
    parser.add_argument("--volumes", type=int, default=4500)
    parser.add_argument("--tr", type=float, default=0.8, help="seconds")
    parser.add_argument("--speed", type=float, default=8.0)
    parser.add_argument("--faults", default="", help="as for fastbrain live")
    parser.add_argument("--overload", type=float, default=0.0, help="TR added to a decoding")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--machine", help="folder below benchmarks/results; default: print only")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    Recorder(args.machine).row(**measure(args))


if __name__ == "__main__":
    main()
