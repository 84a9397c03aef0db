"""How well 20 seconds of a story are found and written, from a listener and from half of them.

    python benchmarks/systems/story.py --data DIR [--llm PATH] [--decoder retrieve] [--noise SEED]
        [--retrieval] [--machine NAME]

A row is what ``examples/alice_text.py --motion`` writes, and with ``--retrieval`` another what
``examples/alice_retrieval.py --motion`` does.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
from _timing import Recorder


def main() -> None:
    """Run the examples one after the other; a row is kept as soon as it is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the Alice listeners")
    parser.add_argument("--llm", help="folder of a pretrained language model; default: no texts")
    parser.add_argument("--decoder", default="retrieve")
    parser.add_argument("--noise", help="phase-randomised listeners")
    parser.add_argument("--retrieval", action="store_true", help="between listeners, too")
    parser.add_argument("--machine", help="folder below benchmarks/results; default: only print")
    args = parser.parse_args()
    recorder = Recorder(args.machine)
    common = ["--data", str(args.data), "--motion"]
    common += [] if args.noise is None else ["--noise", args.noise]
    writing = [] if args.llm is None else ["--llm", args.llm, "--decoder", args.decoder]
    case = "motion removed" + ("" if args.noise is None else f", noise {args.noise}")
    runs = {"alice_retrieval": common} if args.retrieval else {}
    for name, options in {**runs, "alice_text": [*common, *writing]}.items():
        with tempfile.TemporaryDirectory() as work:
            out = Path(work) / "metrics.json"
            command = [str(ROOT / f"examples/{name}.py"), *options, "--out", str(out)]
            subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)
            recorder.row(op=name, case=case, **json.loads(out.read_text()))


if __name__ == "__main__":
    main()
