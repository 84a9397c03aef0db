"""Real fMRI: say what a person looks at, from the Haxby et al. (2001) recordings.

    python examples/haxby.py --data DIR --train 1-6 --test 7-8 --out metrics.json

`DIR` is laid out as OpenfMRI did (``sub001/BOLD/task001_run001/bold_1slice.nii.gz``,
``sub001/model/model001/onsets/...``); the eight-run slice used in our tests comes with PyMVPA
(``mvpa2/data/haxby2001``), the whole data set is OpenNeuro ds000105.

The path is the library's own: runs table -> store -> tokenizer -> encoder -> language model ->
sentence. A block is one category shown for 22.5 s; it is decoded by the sentence that is most
likely after its volumes, and by what the model says freely. Delay and penalties are chosen inside
the training runs. Beside it: ridge regression on the same volumes.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from sklearn.linear_model import Ridge
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict

from fastbrain._io import write_atomic, write_json
from fastbrain.data import (
    Split,
    VoxelStore,
    WindowLoader,
    WindowSpec,
    prepare_store,
    read_runs_table,
    split_by,
)
from fastbrain.data.timing import nearest_volume
from fastbrain.decoding import decode_windows, score_texts
from fastbrain.errors import CohortError, FastbrainError
from fastbrain.evaluation import derangements, pairwise, permutation_p
from fastbrain.models import EncoderConfig, LLM4BrainConfig, QFormerConfig
from fastbrain.training import OptimConfig, RunConfig, preset, train_llm4brain

SENTENCE = "the person is looking at {}"
NOUNS = {  # with the article that English wants
    "house": "a house",
    "scrambledpix": "a scrambled picture",
    "cat": "a cat",
    "shoe": "a shoe",
    "bottle": "a bottle",
    "scissors": "a pair of scissors",
    "chair": "a chair",
    "face": "a face",
}
ALPHAS = np.logspace(1, 5, 9)


def main() -> None:
    """Prepare, train, score, report."""
    args = _arguments()
    work = Path(args.work or tempfile.mkdtemp(prefix="haxby-"))
    tr = float((args.data / "scan_key.txt").read_text().split()[1])
    table = write_tables(args.data, [*args.train, *args.test], tr, work)
    stores = {
        delay: make_store(table, work / f"delay-{delay:g}", args.test, delay)
        for delay in (0.0, tr, 2 * tr)
    }
    fits = {delay: fit_ridge(store) for delay, store in stores.items()}
    delay = max(fits, key=lambda d: fits[d][0])
    store, (cv_accuracy, alpha) = stores[delay], fits[delay]
    print(f"delay {delay:g} s: {cv_accuracy:.0%} of training volumes by ridge, left-out runs")

    truth = block_truth(store, store.split.test)
    ridge = block_mean(store, store.split.test, ridge_scores(store, alpha))
    # models differ in the half run that validates; their log likelihoods are averaged
    decoded = [
        decode(
            make_store(table, work / f"fold-{fold}", args.test, delay, fold),
            work / f"run-{fold}",
            args.seed,
        )
        for fold in range(args.folds)
    ]
    blocks = block_mean(store, store.split.test, np.mean([scores for scores, _ in decoded], axis=0))
    metrics = report(blocks, ridge, truth, [said for _, said in decoded], store) | {
        "delay_s": delay,
        "ridge_alpha": float(alpha),
        "train_runs": args.train,
        "test_runs": args.test,
    }
    print(json.dumps(metrics, indent=2))
    if args.out:
        write_json(args.out, metrics)


def write_tables(data: Path, runs: list[int], tr: float, work: Path) -> Path:
    """Write a runs table and one events file a run: a trial is one volume of a block."""
    subject = min(data.glob("sub[0-9]*"), default=data / "sub001")
    missing = [run for run in runs if not (subject / f"BOLD/task001_run{run:03d}").is_dir()]
    if missing:
        raise CohortError(
            f"haxby: runs must be below {subject / 'BOLD'}, got no folder of {missing}."
        )
    conditions = [line.split()[1:] for line in (data / "models/model001/condition_key.txt").open()]
    rows = ["subject\tsession\trun\tbold\tevents\tmask\ttr"]
    for run in runs:
        name = f"task001_run{run:03d}"
        events = ["onset\tduration\ttrial_type\tstimulus\ttext"]
        for condition, category in conditions:
            onsets = np.loadtxt(subject / f"model/model001/onsets/{name}/{condition}.txt", ndmin=2)
            for onset, duration in onsets[:, :2]:
                text = SENTENCE.format(NOUNS.get(category, f"a {category}"))
                block = f"{category}-{run}-{onset:g}"
                for k in range(nearest_volume(duration, tr)):
                    start = onset + k * tr
                    events.append(f"{start:g}\t{tr:g}\t{category}\t{block}\t{text}")
        write_atomic(work / f"{name}_events.tsv", "\n".join(events) + "\n")
        bold = (subject / f"BOLD/{name}/bold_1slice.nii.gz").resolve()
        mask = (data / "mask_1slice.nii.gz").resolve()
        rows.append(f"001\tn/a\t{run:03d}\t{bold}\t{name}_events.tsv\t{mask}\t{tr:g}")
    return write_atomic(work / "runs.tsv", "\n".join(rows) + "\n")


def make_store(table: Path, out: Path, test: list[int], delay: float, fold: int = 0) -> VoxelStore:
    """Prepare a store; every second block of one training run validates."""

    def split(trials: list) -> Split:
        tested = {f"{run:03d}" for run in test}
        runs = sorted({t.run for t in trials} - tested)
        blocks = {
            run: list(dict.fromkeys(t.stimulus for t in trials if t.run == run)) for run in runs
        }
        val = blocks[runs[fold % len(runs)]][fold // len(runs) % 2 :: 2]
        train = [block for run in runs for block in blocks[run] if block not in val]
        seen = [t.stimulus for t in trials if t.run in tested]
        # eight sentences, all known: what is new in a test block is the scan
        return split_by(
            trials,
            "stimulus",
            train=train,
            val=val,
            test=list(dict.fromkeys(seen)),
            closed_set=True,
        )

    return prepare_store(
        read_runs_table(table, allow_outside=True),
        out,
        window=WindowSpec(delay, window_trs=1),
        kernel=(1, 4, 4),
        split=split,
    )


def features(store: VoxelStore, trials: tuple[str, ...]) -> np.ndarray:
    """Normalised brain voxels of each window, (N, F·voxels)."""
    windows = np.stack([store.window(t) for t in trials]).astype(np.float32)
    normalised = (windows * store.scale - store.mean) * store.inv_std
    return normalised[:, :, store.inv_std > 0].reshape(len(trials), -1)


def one_hot(store: VoxelStore, trials: tuple[str, ...]) -> np.ndarray:
    """Category of each trial, (N, categories)."""
    names = categories(store)
    return np.eye(len(names))[[names.index(store.by_id[t].category) for t in trials]]


def categories(store: VoxelStore) -> list[str]:
    """All categories, sorted."""
    return sorted({trial.category for trial in store.trials})


def fit_ridge(store: VoxelStore) -> tuple[float, float]:
    """Best accuracy over left-out training runs, and the penalty that gave it."""
    trials = (*store.split.train, *store.split.val)
    x, y = features(store, trials), one_hot(store, trials)
    runs = [store.by_id[t].run_id for t in trials]
    accuracy = {}
    for alpha in ALPHAS:
        guess = cross_val_predict(Ridge(alpha), x, y, groups=runs, cv=LeaveOneGroupOut())
        accuracy[alpha] = float((guess.argmax(1) == y.argmax(1)).mean())
    best = max(accuracy, key=lambda a: accuracy[a])
    return accuracy[best], best


def ridge_scores(store: VoxelStore, alpha: float) -> np.ndarray:
    """Scores of the test windows by ridge on all training runs, (N, categories)."""
    trials = (*store.split.train, *store.split.val)
    model = Ridge(alpha).fit(features(store, trials), one_hot(store, trials))
    return model.predict(features(store, store.split.test))


def decode(store: VoxelStore, run: Path, seed: int) -> tuple[np.ndarray, list[str]]:
    """Log likelihood of each category's sentence after each test window, and free text."""
    model = train_llm4brain(store, run, recipe(seed))
    names = categories(store)
    texts = [SENTENCE.format(NOUNS.get(name, f"a {name}")) for name in names]
    loader = WindowLoader(store, store.split.test, batch_size=64, shuffle=False)
    test = decode_windows(model, loader, prompt=PROMPT)
    return -score_texts(model, test, texts).numpy(), list(test.texts)


PROMPT = "what does the person see ?"


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
        # the validation run decides whether anything beyond the calibrated readout helps
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


def block_of(store: VoxelStore, trial: str) -> str:
    """Name of the block a volume belongs to."""
    return f"{store.by_id[trial].run_id}/{store.by_id[trial].stimulus}"


def block_truth(store: VoxelStore, trials: tuple[str, ...]) -> dict[str, int]:
    """Category index of each block."""
    names = categories(store)
    return {block_of(store, t): names.index(store.by_id[t].category) for t in trials}


def block_mean(store: VoxelStore, trials: tuple[str, ...], scores: np.ndarray) -> np.ndarray:
    """Mean score over the volumes of each block, (blocks, categories)."""
    rows: dict[str, list[np.ndarray]] = {}
    for trial, score in zip(trials, scores, strict=True):
        rows.setdefault(block_of(store, trial), []).append(score)
    return np.stack([np.mean(values, axis=0) for values in rows.values()])


def report(
    blocks: np.ndarray,
    ridge: np.ndarray,
    truth: dict[str, int],
    said: list[list[str]],
    store: VoxelStore,
) -> dict:
    """Accuracies, chance and p."""
    labels = np.array(list(truth.values()))
    runs = [name.split("/")[0] for name in truth]
    names = categories(store)
    volumes = np.array([names.index(store.by_id[t].category) for t in store.split.test])
    sentences = [SENTENCE.format(NOUNS.get(name, f"a {name}")) for name in names]
    accuracy = float((blocks.argmax(1) == labels).mean())
    rng = np.random.default_rng(0)
    null = [float((blocks.argmax(1) == _shuffle(labels, runs, rng)).mean()) for _ in range(10_000)]
    nll = -blocks[:, labels]  # brain i, sentence of block j
    partners = derangements(runs if len(set(runs)) > 1 else list(truth), count=1000)
    forced = pairwise(nll, partners)
    # free text counts for a category only when it is that category's sentence, word by word
    votes = np.array([[[text == s for s in sentences] for text in texts] for texts in said])
    free = block_mean(store, store.split.test, votes.mean(axis=0))
    return {
        "block_accuracy": accuracy,
        "block_p": permutation_p(accuracy, null),
        "block_chance": 1 / len(names),
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
    parser.add_argument("--train", type=_runs, default=_runs("1-6"), help="runs, e.g. 1-6 or 1,3,5")
    parser.add_argument("--test", type=_runs, default=_runs("7-8"), help="runs, e.g. 7-8")
    parser.add_argument("--out", type=Path, help="JSON file for the metrics")
    parser.add_argument("--work", help="new folder for store and model; default: a temporary one")
    parser.add_argument("--folds", type=int, default=3, help="models to average")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main()
    except FastbrainError as error:
        raise SystemExit(str(error)) from None
