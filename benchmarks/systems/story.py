"""How well 20 seconds of a story are found and written, from a listener and from half of them.

    python benchmarks/systems/story.py --data DIR [--study alice_text] [--llm PATH]
        [--decoder retrieve] [--noise SEED] [--machine NAME]

The row is what the study writes: ``alice_text`` by the words, ``alice_motion`` by the brains of
other listeners.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from recording import Recorder

STUDIES = Path(__file__).parents[2] / "studies"


def main() -> None:
    """Run the study and keep its row."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="folder of the Alice listeners")
    parser.add_argument("--study", choices=("alice_text", "alice_motion"), default="alice_text")
    parser.add_argument("--llm", help="folder of a pretrained language model; default: no texts")
    parser.add_argument("--decoder", help="how the model writes; default: retrieve")
    parser.add_argument("--noise", help="phase-randomised listeners")
    parser.add_argument("--machine", help="folder below benchmarks/results; default: only print")
    args = parser.parse_args()
    if args.decoder is not None and args.llm is None:
        parser.error("--decoder needs --llm: without a language model no text is written")
    recorder = Recorder(args.machine)
    options = ["--data", args.data]
    decoder = args.decoder or "retrieve"
    options += [] if args.llm is None else ["--llm", args.llm, "--decoder", decoder]
    options += [] if args.noise is None else ["--noise", args.noise]
    with tempfile.TemporaryDirectory() as work:
        out = Path(work) / "metrics.json"
        command = [str(STUDIES / f"{args.study}.py"), *options, "--out", str(out)]
        subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)
        case = "all listeners" if args.noise is None else f"noise {args.noise}"
        recorder.row(op=args.study, case=case, **json.loads(out.read_text()))


if __name__ == "__main__":
    main()
