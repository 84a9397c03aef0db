"""Kill -9 in saves and trainings, restarts by torchrun, and flipped bits: large numbers of each.

    python benchmarks/systems/kills.py [--kills 50] [--flips 200] [--restarts 12] [--machine NAME]

For each of the three systems, on tiny models: `kills` saves of the folder ``model/`` and as many
trainings are killed at a random call inside a save. What is there afterwards must be the last
version or the new one, whole, and a training that goes on must end in the bits of one that was
never killed. A bit is flipped in a random file of a checkpoint or of a ``model/``: loading must
raise an error, `flips` times. Then torchrun trains with two processes, one of which kills itself
in the first two attempts, `restarts` times: every launch must end, in the same bits. A failure
ends the script. Tests run the same with small numbers (tests/faults/test_kill_systems.py).
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "helpers"))
import kill_cases
import process_cases
from recording import Recorder

from fastbrain.errors import FastbrainError
from fastbrain.training import Checkpoint, latest_checkpoint, load_checkpoint

CASE = "stage2"
LIMIT_S = 300.0


def main() -> None:
    """Run all, and write a row for each count."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--flips", type=int, default=200)
    parser.add_argument("--restarts", type=int, default=12)
    parser.add_argument("--machine", help="folder below benchmarks/results; default: only print")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        work(args.worker)
        return
    torch.set_num_threads(1)
    record = Recorder(args.machine).row
    with tempfile.TemporaryDirectory() as name, kill_cases.server() as run:
        root = Path(name)
        for system in kill_cases.STAGES:
            (root / system).mkdir()
            torn = kill_cases.kill_saves(run, system, root / system, args.kills)
            record(op="kill_save", case=system, kills=args.kills, recovered=args.kills, torn=torn)
            kill_cases.kill_training(run, system, root / f"{system}-run", args.kills)
            record(op="kill_training", case=system, kills=args.kills, recovered=args.kills)
        found = flip(root, args.flips)
        record(op="flipped_bits", case="all", flips=args.flips, detected=found)
        seconds = restart(root / "restarts", args.restarts)
        record(op="restart", case=CASE, launches=args.restarts, kills=2 * args.restarts,
               recovered=args.restarts, longest_s=seconds)  # fmt: skip


def flip(root: Path, flips: int) -> int:
    """Flip single bits of checkpoints and models; return how many loading detects."""
    rng = random.Random(0)
    loads = {name: load for name, (_, load) in kill_cases.systems().items()}
    found = 0
    for i in range(flips):
        system = list(loads)[i % len(loads)]
        if i % 2:
            folder: Path | None = root / system / "model"
        else:
            folder = latest_checkpoint(root / f"{system}-run" / "whole" / kill_cases.STAGES[system])
        assert folder is not None
        # README.md is for people, and may be edited
        files = [p for p in sorted(folder.rglob("*")) if p.is_file() and p.name != "README.md"]
        path = rng.choice(files)
        was = path.read_bytes()
        bit = rng.randrange(8 * len(was))
        broken = bytearray(was)
        broken[bit // 8] ^= 1 << bit % 8
        path.write_bytes(broken)
        try:
            loads[system](folder) if i % 2 else load_checkpoint(folder)
        except FastbrainError:
            found += 1
        else:
            raise SystemExit(f"bit {bit} of {path} was flipped, and nothing noticed it")
        finally:
            path.write_bytes(was)
    return found


def restart(root: Path, launches: int) -> float:
    """Let torchrun restart killed processes; return the seconds of the longest launch."""
    wanted = launch(root / "whole", kills="")
    rng, longest = random.Random(0), 0.0
    for i in range(launches):
        # rank and batch of the kill in each attempt
        kills = ",".join(f"{rng.randrange(2)}:{rng.randint(1, 2)}" for _ in range(2))
        start = time.monotonic()
        found = launch(root / f"cut-{i}", kills=kills)
        longest = max(longest, time.monotonic() - start)
        assert all(torch.equal(found.model[k], wanted.model[k]) for k in wanted.model), kills
    return longest


def launch(folder: Path, *, kills: str) -> Checkpoint:
    """Train in two processes under torchrun."""
    folder.mkdir(parents=True)
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
               "--max-restarts", "2", __file__, "--worker", str(folder)]  # fmt: skip
    env = {**os.environ, "OMP_NUM_THREADS": "1", "KILLS": kills}
    done = subprocess.run(
        [sys.executable, *command], env=env, capture_output=True, text=True, timeout=LIMIT_S
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    newest = latest_checkpoint(folder / CASE)
    assert newest is not None
    return load_checkpoint(newest)


def work(folder: Path) -> None:
    """Train in one of the processes, and kill it where this attempt says."""
    torch.set_num_threads(1)
    attempt = int(os.environ["TORCHELASTIC_RESTART_COUNT"])
    kills = [tuple(map(int, k.split(":"))) for k in os.environ["KILLS"].split(",") if k]
    if attempt < len(kills):
        process_cases.kill(*kills[attempt])
    process_cases.train(folder, CASE, resume=True)


if __name__ == "__main__":
    main()
