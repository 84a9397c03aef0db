"""Does an adversary help, can a language model read age? The poster's table on simulated people.

    python studies/vq_simulated.py --out metrics.json [--seeds 0 1 2] [--people 60]

Per seed: people at rest whose connectivity depends on age (``fastbrain.data.simulate_rest``). A
small autoencoder, without and with a domain classifier, a language model whose vocabulary is
extended by its codes, and LoRA tuning: what ``fastbrain train vq-lm`` does. On people never seen:
R² of the codes against mean and AR(1), codes in use, the accuracy of the adversary and of a probe
trained afterwards, and the mean absolute error of age, in years, of every way to tell it. Written
to ``--out``: one row a seed and condition. Rows are written as they are known; a study that was cut
goes on where it was.
"""

from __future__ import annotations

import argparse
import tempfile
from itertools import product
from pathlib import Path
from time import perf_counter
from typing import Any

from checked_input import positive

from fastbrain._io import read_json, write_json
from fastbrain._runfiles import read_log
from fastbrain.data import RestDesign, resting_study, simulate_rest
from fastbrain.errors import FastbrainError
from fastbrain.integrations.peft import accelerate_peft
from fastbrain.vqlm.evaluate import evaluate_vqlm
from fastbrain.vqlm.training.config import VQLMConfig
from fastbrain.vqlm.training.pipeline import train_vqlm


def main() -> None:
    """Simulate, train, score, tell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="default: only print")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--domain", type=float, nargs="+", default=[0.0, 1.0], help="weights of the adversary"
    )
    parser.add_argument(
        "--starts",
        nargs="+",
        default=["aligned", "rotated"],
        choices=["aligned", "rotated", "random"],
        help="initial embeddings of the codes; aligned only with an adversary",
    )
    parser.add_argument("--people", type=positive, default=60)
    args = parser.parse_args()
    asked = product(args.seeds, args.domain, args.starts)
    conditions = [one for one in asked if one[1] or one[2] != "aligned"]
    if not conditions:
        parser.error("--starts aligned needs an adversary: give --domain a weight above 0")
    rows = read_json(args.out) if args.out and args.out.exists() else []
    there = {(row["seed"], row["domain"], row["start"], row["people"]) for row in rows}
    for seed, weight, start in conditions:
        if (seed, weight, start, args.people) in there:
            continue
        rows.append(one(seed, weight, start, args.people))
        if args.out:
            write_json(args.out, rows)


def one(seed: int, weight: float, code_start: str, people: int) -> dict[str, Any]:
    """Train and score one model."""
    start = perf_counter()
    study = resting_study(simulate_rest(RestDesign(people=people, seed=seed)))
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        config = VQLMConfig(domain=weight, code_start=code_start, seed=seed)
        train_vqlm(study, run, config, fused=accelerate_peft)
        result = evaluate_vqlm(run, study)
        split = read_json(run / "split.json")
        tuned = read_log(run / "tune" / "log.jsonl", function="vq_simulated")
    told = f"seed {seed}, adversary {weight:g}, codes start {code_start}"
    print(f"\n{told}\n\n{result.table()}\n", flush=True)
    coding = result.coding
    return {
        "seed": seed,
        "domain": weight,
        "start": code_start,
        "people": people,
        "parts": {part: len(ids) for part, ids in split.items()},
        "seconds": round(perf_counter() - start, 1),
        "r2_mean": coding["r2_mean"],
        "r2_ar1": coding["r2_ar1"],
        "usage": coding["usage"]["share"],
        "adversary": coding["adversary"],
        "probe": coding["probe"]["accuracy"],
        # validation people, nats per code, by epoch
        "code_loss": [row["val_code_loss"] for row in tuned],
        **{
            metric: {
                score.group: {name: getattr(score, name) for name in ("value", "chance", "p")}
                for score in result.scores
                if score.metric == metric
            }
            for metric in ("mae", "r")
        },
    }


if __name__ == "__main__":
    try:
        main()
    except FastbrainError as error:
        raise SystemExit(str(error)) from None
