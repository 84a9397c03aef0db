"""Whole recipes as rows: the demo, and real recordings where they are given.

    python benchmarks/recipes.py [--machine NAME] [--haxby DIR] [--pereira DIR] [--alice DIR]

Rows hold the metrics the recipes wrote themselves, and are kept under ``benchmarks/results/NAME``
where a machine is named.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from recording import Recorder

from fastbrain.evaluation import Score, find_score

ROOT = Path(__file__).parent.parent
KEPT = ("n", "seconds", "snr", "n_derangements", "adaptation")
SCORES = ("bleu1", "rougeL_f", "bertscore_f", "exact_match")


def main() -> None:
    """Run the recipes one after the other; a row is kept as soon as it is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--machine", help="folder below benchmarks/results; default: only print")
    parser.add_argument("--haxby", type=Path, help="folder of the Haxby recordings")
    parser.add_argument("--pereira", type=Path, help="folder of the Pereira sentences")
    parser.add_argument("--alice", type=Path, help="folder of the Alice listeners")
    parser.add_argument("--no-demo", action="store_true", help="leave the simulated cohort out")
    args = parser.parse_args()
    recorder = Recorder(args.machine)
    with tempfile.TemporaryDirectory() as work:
        for snr in () if args.no_demo else (0.25, 0.0):
            out = Path(work) / f"demo-{snr}"
            command = ["-m", "fastbrain.cli", "demo", "--out", str(out), "--snr", str(snr)]
            metrics = _run(command, out / "metrics.json")
            recorder.row(op="demo", **{k: metrics[k] for k in KEPT}, **_headlines(metrics))
        if args.haxby is not None:
            out = Path(work) / "haxby.json"
            command = [str(ROOT / "studies/haxby.py"), "--data", str(args.haxby), "--all-pairs"]
            for metrics in _run([*command, "--out", str(out)], out)["pairs"]:
                recorder.row(op="haxby", **metrics)
        real = {
            "pereira_ridge": args.pereira,
            "alice_retrieval": args.alice,
            "alice_story": args.alice,
        }
        for op, data in real.items():
            if data is not None:
                out = Path(work) / f"{op}.json"
                command = [str(ROOT / f"studies/{op}.py"), "--data", str(data)]
                recorder.row(op=op, **_run([*command, "--out", str(out)], out))


def _headlines(metrics: dict) -> dict:
    """The scores against deranged brains, as flat columns."""
    scores = [Score.from_json(row) for row in metrics["scores"]]
    pairwise = find_score(scores, "pairwise")
    interval = pairwise.interval
    assert interval is not None
    row = {"pairwise_accuracy": pairwise.value, "pairwise_p": pairwise.p}
    row["pairwise_ci"] = interval.as_list()
    for name in SCORES:
        score = find_score(scores, name)
        assert score.interval is not None
        row |= {name: score.value, f"{name}_permuted": score.chance}
        row[f"{name}_ci"] = score.interval.as_list()
    return row


def _run(command: list[str], result: Path) -> dict:
    subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)
    return json.loads(result.read_text())


if __name__ == "__main__":
    main()
