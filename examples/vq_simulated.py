"""Does an adversary help, can a language model read age? The poster's table on simulated people.

    python examples/vq_simulated.py --out metrics.json [--seeds 3] [--people 60]

Per seed: people at rest whose connectivity depends on age (``fastbrain.data.simulate_rest``). A
small autoencoder, without and with a domain classifier, a language model whose vocabulary is
extended by its codes, and LoRA tuning (``fastbrain train vq-lm``). On people never seen: R² of the
codes against mean and AR(1), codes in use, the accuracy of the adversary and of a probe trained
afterwards, and the mean absolute error of age, in years, of every way to tell it. Written to
``--out``: one row a seed and condition. Rows are written as they are known; a run that was cut goes
on where it was.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from fastbrain._io import read_json, write_json
from fastbrain.data import RestDesign, resting_study, simulate_rest
from fastbrain.evaluation.vqlm import evaluate_vqlm
from fastbrain.training.vqlm import train_vqlm
from fastbrain.training.vqlm_config import VQLMConfig

DOMAIN = (0.0, 1.0)


def main() -> None:
    """Simulate, train, score, tell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--people", type=int, default=60)
    args = parser.parse_args()
    rows = read_json(args.out) if args.out and args.out.exists() else []
    for seed in range(args.seeds):
        for weight in DOMAIN:
            if any((row["seed"], row["domain"]) == (seed, weight) for row in rows):
                continue
            rows.append(one(seed, weight, args.people))
            if args.out:
                write_json(args.out, rows)
    names = list(rows[0])
    print("| " + " | ".join(names) + " |\n|" + "---|" * len(names))
    for row in rows:
        told = ["" if value is None else f"{value:.3g}" for value in row.values()]
        print("| " + " | ".join(told) + " |")


def one(seed: int, weight: float, people: int) -> dict[str, float | None]:
    """Train and score one model."""
    study = resting_study(simulate_rest(RestDesign(people=people, seed=seed)))
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        train_vqlm(study, run, VQLMConfig(domain=weight, seed=seed))
        result = evaluate_vqlm(run, study)
    coding = result.coding
    return {
        "seed": seed,
        "domain": weight,
        "r2_mean": coding["r2_mean"],
        "r2_ar1": coding["r2_ar1"],
        "usage": coding["usage"]["share"],
        "adversary": coding["adversary"],
        "probe": coding["probe"]["accuracy"],
        **{score.group: score.value for score in result.scores if score.metric == "mae"},
    }


if __name__ == "__main__":
    main()
