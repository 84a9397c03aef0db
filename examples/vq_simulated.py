"""Does an adversary help? Codes of simulated people at rest, with and without domain classifier.

    python examples/vq_simulated.py --out metrics.json [--seeds 3]

Per seed: people whose connectivity depends on age (``fastbrain.data.simulate_rest``), two thirds to
train on. The small ``fastbrain`` preset is trained without and with a domain classifier against
the token embeddings of a small language model. On people never seen: R² against mean and AR(1),
codes in use, the accuracy of the adversary itself and of a probe trained afterwards (tested on
other people than it was trained on), and the error of age by connectivity ridge on what comes back
of the codes, beside connectivity ridge on the series and the mean. Written to ``--out``: one row a
seed and condition.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from fastbrain._io import write_json
from fastbrain.data import Autoregression, RestDesign, SeriesScaler, simulate_rest
from fastbrain.data.grammar import draw_meanings
from fastbrain.evaluation import ClinicalCohort, baseline_predictions, connectivity_features
from fastbrain.models import VQAutoencoder, load_llm, probe_domains, small_llm
from fastbrain.training import CodedSeries, SeriesLoader, TextSide, coding_scores, vq_preset
from fastbrain.training.loop import fit
from fastbrain.training.vq import start_codebook

DOMAIN = (0.0, 1.0)


def main() -> None:
    """Simulate, train, score, tell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    text = text_side()
    rows = [one(seed, weight, text) for seed in range(args.seeds) for weight in DOMAIN]
    names = list(rows[0])
    print("| " + " | ".join(names) + " |\n|" + "---|" * len(names))
    for row in rows:
        told = ["" if value is None else f"{value:.3g}" for value in row.values()]
        print("| " + " | ".join(told) + " |")
    if args.out:
        write_json(args.out, rows)


def text_side() -> TextSide:
    """Embeddings of a small language model, and its own corpus in tokens."""
    corpus = sorted({m.caption for m in draw_meanings(300, np.random.default_rng(0))})
    llm, tokenizer = load_llm(str(small_llm(corpus, steps=100)))
    ids = [i for line in corpus for i in tokenizer.encode(line, add_special_tokens=False)]
    return TextSide(llm.get_input_embeddings().weight.detach().float(), torch.tensor(ids))


def one(seed: int, weight: float, text: TextSide) -> dict[str, float | None]:
    """Train and score one autoencoder."""
    cohort = simulate_rest(RestDesign(seed=seed))
    names = list(cohort.series)
    train = {n: cohort.series[n] for n in names[: 2 * len(names) // 3]}
    test = {n: s for n, s in cohort.series.items() if n not in train}
    sizes, stage = vq_preset("fastbrain", regions=len(next(iter(train.values()))), small=True)
    stage = replace(stage, seed=seed, weights=replace(stage.weights, domain=weight))
    scaler = SeriesScaler.fit(train)
    torch.manual_seed(seed)
    model = VQAutoencoder(sizes, center=scaler.center, spread=scaler.spread)

    def loader(runs: dict) -> SeriesLoader:
        size = {"frames": stage.frames, "patch": sizes.patch, "batch_size": stage.batch_size}
        return SeriesLoader(runs, **size, seed=seed)

    start_codebook(model, loader(train), seed=seed)
    objective = CodedSeries(model, stage, steps=stage.epochs * len(loader(train)), text=text)
    with tempfile.TemporaryDirectory() as folder:
        fit(objective, loader(train), stage, run_dir=Path(folder) / "vq")
    scores = coding_scores(model, loader(test), Autoregression.fit(train))
    tokens, people, adversary = features(objective, loader(test))
    used = text.embeddings[text.token_ids.unique()]
    probe = probe_domains(tokens, used, groups=people)
    age = dict(zip(names, cohort.age, strict=True))
    return {
        "seed": seed,
        "domain": weight,
        "r2_mean": scores.r2_mean,
        "r2_ar1": scores.r2_ar1,
        "usage": scores.usage.share,
        "adversary": adversary,
        "probe": probe.accuracy,
        **ages(model, train, test, age),
    }


@torch.no_grad()
def features(
    objective: CodedSeries, loader: SeriesLoader
) -> tuple[torch.Tensor, list[str], float | None]:
    """Every seventh feature, whose it is, and how often the adversary, if any, is right."""
    objective.eval()
    found, people, right = [], [], []
    for batch in loader:
        encoded = objective.model.encode(objective.model.patches(batch.series, batch.mask))
        # the encoder is as wide as the embeddings: no map between them
        found.append(encoded.flatten(1, 2)[:, ::7].flatten(0, 1))
        people += [run for run in batch.runs for _ in range(len(found[-1]) // len(batch.runs))]
        if objective.domain is not None:
            right.append(float(objective(batch)["domain_accuracy"]))
    return torch.cat(found), people, float(np.mean(right)) if right else None


def ages(model: VQAutoencoder, train: dict, test: dict, age: dict[str, float]) -> dict[str, float]:
    """Mean absolute error of age, years: connectivity after coding, connectivity, the mean."""

    def cohort(runs: dict) -> ClinicalCohort:
        connectivity = np.stack([connectivity_features(run.T) for run in runs.values()])
        # there is no confound: a column of zeros says so
        zeros = np.zeros((len(runs), 1))
        return ClinicalCohort(connectivity, np.array([age[n] for n in runs]), zeros, list(runs))

    @torch.no_grad()
    def restored(runs: dict) -> dict:
        series = {n: torch.tensor(run[None], dtype=torch.float32) for n, run in runs.items()}
        back = {n: model.decode(model.codes(s))[0] for n, s in series.items()}
        return {n: s.double().numpy() for n, s in back.items()}

    one, other = cohort(train), cohort(test)
    plain = baseline_predictions(one, other, kind="scale")
    coded = baseline_predictions(cohort(restored(train)), cohort(restored(test)), kind="scale")
    guesses = {
        "age_codes": coded["connectivity ridge"],
        "age_ridge": plain["connectivity ridge"],
        "age_mean": plain["mean"],
    }
    return {name: float(np.abs(g - other.target).mean()) for name, g in guesses.items()}


if __name__ == "__main__":
    main()
