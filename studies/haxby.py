"""Real fMRI: say what a person looks at, from the Haxby et al. (2001) recordings.

    python studies/haxby.py --data DIR --train 1-6 --test 7-8 --out metrics.json
    python studies/haxby.py --data DIR --all-pairs --out metrics.json

`DIR` is laid out as OpenfMRI did (``sub001/BOLD/task001_run001/bold_1slice.nii.gz``,
``sub001/model/model001/onsets/...``); the eight-run slice used in our tests comes with PyMVPA
(``mvpa2/data/haxby2001``), the whole data set is OpenNeuro ds000105.

The path is fastbrain's own: runs table -> store -> tokenizer -> encoder -> language model ->
sentence. A block is one category shown for 22.5 s; it is decoded by the sentence that is most
likely after its volumes, and by what the model says freely. The high-pass filter, delay and
penalties are chosen inside the training runs. Beside it: ridge regression on the same volumes,
whose scores are also evidence for the sentences, weighted on training runs left out whole.
``--all-pairs`` tests every pair of the runs 1 to 8 once, by models trained on the six others.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from checked_input import positive
from haxby_data import (
    block_of,
    block_truth,
    categories,
    make_store,
    parts,
    read_tr,
    sentence,
    write_tables,
)
from haxby_ridge import Fit, block_weights, choose_delay, fit_ridge, left_out_scores, ridge_scores

from fastbrain._io import write_json
from fastbrain.data import VoxelStore, WindowLoader
from fastbrain.decoding import ClosedSetEvidence, fit_closed_set
from fastbrain.errors import FastbrainError
from fastbrain.evaluation import pairwise
from fastbrain.llm4brain import (
    EncoderConfig,
    LLM4BrainConfig,
    QFormerConfig,
    decode_windows,
    score_texts,
)
from fastbrain.llm4brain.training import RunConfig, preset, train_llm4brain
from fastbrain.stats import derangements, permutation_p
from fastbrain.training import OptimConfig

PROMPT = "what does the person see ?"
PAIRS = ((1, 2), (3, 4), (5, 6), (7, 8))
DELAYS = (0, 1, 2)  # volumes
POOLED = ("block_accuracy", "block_accuracy_lm", "block_accuracy_free_text", "ridge_block_accuracy")


@dataclass(frozen=True)
class Scored:
    """Test windows of one model: log likelihood of each category's sentence, and free text.

    Parameters
    ----------
    likelihood : ndarray, (N, categories)
    texts : list of str
    """

    likelihood: np.ndarray
    texts: list[str]


def main() -> None:
    """Test one set of runs, or every pair of them."""
    args = _arguments()
    work = Path(args.work or tempfile.mkdtemp(prefix="haxby-"))
    if args.all_pairs:
        runs = [run for pair in PAIRS for run in pair]
        found = []
        for pair in PAIRS:
            rest = [run for run in runs if run not in pair]
            found.append(decode_runs(args, rest, list(pair), work / f"test-{pair[0]}"))
        metrics: dict[str, Any] = {**pooled(found), "pairs": found}
    else:
        metrics = decode_runs(args, args.train or _runs("1-6"), args.test or _runs("7-8"), work)
    print(json.dumps(metrics, indent=2))
    if args.out:
        write_json(args.out, metrics)


def decode_runs(
    args: argparse.Namespace, train: list[int], test: list[int], work: Path
) -> dict[str, Any]:
    """Prepare, train, score, report."""
    tr = read_tr(args.data)
    table = write_tables(args.data, [*train, *test], tr, work)
    store = make_store(table, work / "store", test, 0.0)
    fit = fit_ridge(store)
    delay = choose_delay(store, DELAYS) * tr
    print(f"ridge: {fit.accuracy:.0%} of the blocks of left-out training runs; delay {delay:g} s")
    ridge = ridge_scores(store, fit)
    # models differ in the half run that validates; their log likelihoods are averaged
    decoded = []
    for fold in range(args.folds):
        own = make_store(table, work / f"fold-{fold}", test, delay, fold)
        decoded.append(decode(own, own.split.test, work / f"run-{fold}", args.seed))
    likelihood = np.mean([part.likelihood for part in decoded], axis=0)
    blocks = block_mean(store, store.split.test, likelihood, fit.shift)
    evidence = None
    if not args.no_evidence:
        left_out = {}
        for run in train:
            own = make_store(table, work / f"left-{run}", test, delay, left_out=run)
            ids = tuple(t for t in own.split.test if int(own.by_id[t].run) == run)
            scored = decode(own, ids, work / f"without-{run}", args.seed).likelihood
            means = block_mean(own, ids, scored, fit.shift)
            left_out |= dict(zip(blocks_of(own, ids), means, strict=True))
        evidence = fit_evidence(store, left_out, fit)
    return report(blocks, ridge, evidence, [part.texts for part in decoded], store) | {
        "delay_s": delay,
        "ridge_shift_s": fit.shift * tr,
        "ridge_alpha": fit.alpha,
        "ridge_train_accuracy": fit.accuracy,
        "high_pass_s": store.info.high_pass_s,
        "removed_at_128_s": store.info.filter["usual"],
        "folds": args.folds,
        "train_runs": train,
        "test_runs": test,
    }


def pooled(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Accuracies over the blocks of all pairs, and how far the language model is behind."""
    n = [row["n_blocks"] for row in found]
    means = {name: float(np.average([row[name] for row in found], weights=n)) for name in POOLED}
    behind = means["ridge_block_accuracy"] - means["block_accuracy"]
    chance = found[0]["block_chance"]  # there are as many categories in every pair
    return {**means, "block_chance": chance, "behind_ridge": behind, "n_blocks": sum(n)}


def decode(store: VoxelStore, ids: tuple[str, ...], run: Path, seed: int) -> Scored:
    """Train, and score the sentences after each of some windows that are not of training."""
    model = train_llm4brain(store, run, recipe(seed))
    texts = [sentence(name) for name in categories(store)]
    loader = WindowLoader(store, ids, batch_size=64, shuffle=False)
    found = decode_windows(model, loader, prompt=PROMPT)
    return Scored(-score_texts(model, found, texts).double().numpy(), list(found.texts))


def fit_evidence(
    store: VoxelStore, likelihood: dict[str, np.ndarray], fit: Fit
) -> ClosedSetEvidence:
    """Weigh language model and ridge by the training runs, each left out whole by both."""
    ridge = left_out_scores(store, fit)
    known = block_truth(store, parts(store)[0])
    return fit_closed_set(
        np.stack([likelihood[block] for block in known]),
        np.stack([ridge[block] for block in known]),
        np.array(list(known.values())),
        groups=[block.split("/")[0] for block in known],
    )


def recipe(seed: int) -> RunConfig:
    """Small sizes: about 360 training volumes of 530 voxels."""
    return RunConfig(
        prompts=(PROMPT,),
        stimulus="text",
        video=None,
        model=LLM4BrainConfig(
            encoder=EncoderConfig(dim=64, depth=1, dropout=0.1),
            qformer=QFormerConfig(dim=64, depth=1, n_queries=16, mlp_ratio=2.0),
            bridge_tokens=32,
        ),
        calibrate=replace(preset("calibrate"), seed=seed),
        stage1=None,
        # the validation blocks decide whether anything beyond the calibrated readout helps
        stage2=replace(
            preset("stage2"),
            epochs=5,
            batch_size=32,
            seed=seed,
            noise_std=1.0,
            optim=OptimConfig(lr=1e-4, weight_decay=0.3),
        ),
        seed=seed,
    )


def blocks_of(store: VoxelStore, ids: tuple[str, ...]) -> list[str]:
    """Blocks of some windows, in the order of :func:`block_truth`."""
    own = {block_of(store.by_id[t]) for t in ids}
    return [block for block in dict.fromkeys(map(block_of, store.trials)) if block in own]


def block_mean(
    store: VoxelStore, ids: tuple[str, ...], scores: np.ndarray, shift: int | None
) -> np.ndarray:
    """Mean of the scores of each block's windows, (blocks, categories).

    Windows are weighted by the response that their block should evoke, or equally if `shift` is
    None.
    """
    trials = [store.by_id[t] for t in ids]
    names = np.array([block_of(t) for t in trials])
    weights = np.ones(len(trials))
    if shift is not None:
        of = {run: block_weights(store, run, shift) for run in {t.run_id for t in trials}}
        weights = np.array([of[t.run_id][block_of(t)][t.start] for t in trials])
    return np.stack(
        [
            np.average(scores[names == block], axis=0, weights=weights[names == block])
            for block in blocks_of(store, ids)
        ]
    )


def report(
    likelihood: np.ndarray,
    ridge: np.ndarray,
    evidence: ClosedSetEvidence | None,
    said: list[list[str]],
    store: VoxelStore,
) -> dict[str, Any]:
    """Accuracies, chance and p."""
    blocks = likelihood if evidence is None else evidence.log_posterior(likelihood, ridge)
    truth = block_truth(store, parts(store)[1])
    labels = np.array(list(truth.values()))
    runs = [name.split("/")[0] for name in truth]
    names = categories(store)
    volumes = np.array([names.index(store.by_id[t].category) for t in store.split.test])
    sentences = [sentence(name) for name in names]
    accuracy = float((blocks.argmax(1) == labels).mean())
    rng = np.random.default_rng(0)
    null = [float((blocks.argmax(1) == _shuffle(labels, runs, rng)).mean()) for _ in range(10_000)]
    nll = -blocks[:, labels]  # brain i, sentence of block j
    partners = derangements(runs if len(set(runs)) > 1 else list(truth), count=1000)
    forced = pairwise(nll, partners)
    # free text counts for a category only when it is that category's sentence, word by word
    votes = np.array([[[text == s for s in sentences] for text in texts] for texts in said])
    free = block_mean(store, store.split.test, votes.mean(axis=0), None)
    return {
        "block_accuracy": accuracy,
        "block_p": permutation_p(accuracy, null),
        "block_chance": 1 / len(names),
        "block_accuracy_lm": float((likelihood.argmax(1) == labels).mean()),
        "evidence": None if evidence is None else asdict(evidence),
        "block_accuracy_free_text": float(np.mean((free.argmax(1) == labels) & (free.max(1) > 0))),
        "volume_accuracy_free_text": float(votes[:, np.arange(len(volumes)), volumes].mean()),
        "ridge_block_accuracy": float((ridge.argmax(1) == labels).mean()),
        "pairwise_accuracy": forced.accuracy,
        "pairwise_p": forced.p,
        "n_blocks": len(labels),
    }


def _shuffle(labels: np.ndarray, runs: list[str], rng: np.random.Generator) -> np.ndarray:
    out = labels.copy()
    for run in set(runs):
        rows = [i for i, r in enumerate(runs) if r == run]
        out[rows] = rng.permutation(out[rows])
    return out


def _runs(text: str) -> list[int]:
    runs: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        runs += range(int(first), int(last or first) + 1)
    return runs


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the recordings")
    parser.add_argument("--train", type=_runs, help="runs, e.g. 1,3,5; default 1-6")
    parser.add_argument("--test", type=_runs, help="runs; default 7-8")
    parser.add_argument("--all-pairs", action="store_true", help="test every pair of runs 1 to 8")
    parser.add_argument("--out", type=Path, help="JSON file for the metrics")
    parser.add_argument("--work", help="new folder for store and model; default: a temporary one")
    parser.add_argument("--folds", type=positive, default=6, help="models to average")
    parser.add_argument(
        "--no-evidence", action="store_true", help="score by the language model alone"
    )
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.all_pairs and (args.train or args.test):
        parser.error("--all-pairs trains on and tests runs 1 to 8: leave --train and --test out")
    return args


if __name__ == "__main__":
    try:
        main()
    except FastbrainError as error:
        raise SystemExit(str(error)) from None
