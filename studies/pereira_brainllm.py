"""Real fMRI: BrainLLM on sentences that one person read, from one image of the brain each.

    python studies/pereira_brainllm.py --data DIR --out metrics.json [--llm MODEL]

`DIR` is as in ``pereira_ridge.py``. Without ``--train-data``, three folds by passage: no passage is
on both sides, and all that is fitted (ridge, its penalty, the language model, steering, BrainLLM)
is fitted on the training passages alone. One training passage in eight is for validation.

From brain to words:

1. A ridge regression predicts the sentence embedding of ``pereira_ridge.py``; training sentences
   get predictions of regressions that have not seen their passage. ``retrieval_2way`` is of these.
2. Its first components are what BrainLLM reads in place of voxels, as one volume.
3. The brain steers: it makes words likelier whose vectors lie where a linear map of the components
   points. With ``--decoder mlp`` it also stands in front of the text between its marks, as in the
   paper.
4. The language model of ``--llm``, or a small one that has read the training passages alone and has
   the word vectors of MiniLM.

``--decoder retrieve`` and ``edit`` need a pretrained language model (``--llm``) and replace steps 2
and 3: the model writes lines after the training sentences nearest to the prediction, and the one
nearest to it is kept; ``edit`` replaces words of the best lines, in rounds. Texts are scored by the
model times the evidence of the predicted embedding on whole sentences.

Keys of ``--out`` (``_ci``: 95 % interval over passages, ``_p`` and ``p``: one-sided, ``_permuted``
and ``_chance``: the same for brains of other passages; ``mode`` says which are teacher-forced; of
the pairwise keys and of ``retrieval_2way``, chance is 0.5):

- ``n`` sentences; ``decoder``; ``noise``: whether ``--noise SEED`` replaced every image.
- ``pairwise_vs_permuted`` (of it ``p``), ``pairwise_vs_nobrain``: the true sentence is likelier by
  its own brain than by that of another passage, than by none. ``pairwise_unigram``: the baseline, a
  nearest-text unigram model after the same ridge. ``nll``, ``nll_nobrain``: nats a token.
- ``retrieval_2way``: of the predicted embedding. By fold: ``penalties`` of the ridge and
  ``steering_nll``, validation nats a token by steering penalty; empty for retrieve and edit.
- Of written texts: ``bleu1``; ``identification_2way_text``, ``identification_top1_text`` and the
  same with ``_text_words``: which sentence of the fold was read, by meaning and by words in common;
  ``cosine``; ``nll_fluency``, nats a word under ``--llm`` without a brain; ``copied_4grams``, the
  share of four words in a row that a training sentence has; ``distinct_texts``, a number;
  ``brain_ignored`` and, in words, ``brain_use``; ``examples``.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from checked_input import positive

# the sibling files read the folder and embed the sentences
from pereira_data import embed, matched_noise, read_parts
from pereira_text import decode_sentences, scores_of_text

from fastbrain._io import write_json
from fastbrain._progress import say
from fastbrain.brainllm import BrainLLM, BrainLLMConfig, BrainLLMDecoder
from fastbrain.brainllm.config import DECODERS
from fastbrain.brainllm.training import BrainTexts, brainllm_preset, train_brainllm
from fastbrain.brainllm.training.presets import BRAINLLM_PRESETS
from fastbrain.decoding import Sampling
from fastbrain.decoding.sentences import WRITING
from fastbrain.errors import FastbrainError
from fastbrain.evaluation import NearestTextUnigram, bleu, pairwise_score, retrieval_scores
from fastbrain.evaluation.metrics.bertscore import default_bert
from fastbrain.lm import load_llm, vector_llm
from fastbrain.stats import bootstrap_interval, derangements, fit_ridge, group_folds, needed_pairs
from fastbrain.stats.unit_rows import unit_rows

PENALTIES = tuple(float(p) for p in np.logspace(-1.5, 0.5, 5))
COMPONENTS = 60
# as published, but for the repetition penalty, which a model this small needs less of
SAMPLING = Sampling(
    method="beam", beams=5, min_new_tokens=4, max_new_tokens=32, repetition_penalty=1.3
)


@dataclass(frozen=True)
class Sentences:
    """Brain images (N, C), what was read, its passage and its embedding (N, D)."""

    brain: np.ndarray
    texts: np.ndarray
    passages: np.ndarray
    embedding: np.ndarray

    def __getitem__(self, rows: np.ndarray) -> Sentences:
        return Sentences(*(values[rows] for values in vars(self).values()))


@dataclass(frozen=True)
class Fold:
    """What one fold gives of each of its test sentences."""

    true: np.ndarray  # (N,) nats a token
    deranged: np.ndarray  # (R, N)
    nothing: np.ndarray  # (N,)
    unigram: np.ndarray  # (N,)
    unigram_deranged: np.ndarray  # (R, N)
    found: np.ndarray  # (N,) right of two
    said: list[str]
    partners: np.ndarray  # (R, N)
    penalty: float
    steering: dict
    train_texts: list[str]


def main() -> None:
    """Read, fit, decode, report."""
    args = _arguments()
    torch.manual_seed(0)
    data, parts = read(args.data, args.train_data)
    if args.noise is not None:
        data.brain[:] = matched_noise(data.brain, np.random.default_rng(args.noise))
    llm = load_llm(str(args.llm)) if args.llm else None
    tested = [part for part in np.unique(parts) if part >= 0]
    folds = [
        decode(data[parts != part], data[parts == part], args, llm, seed=int(part))
        for part in tested
    ]
    order = np.concatenate([np.flatnonzero(parts == part) for part in tested])
    metrics = report(data[order], folds)
    metrics |= scores_of_text(data[order], folds, llm)
    metrics |= {"decoder": args.decoder, "noise": args.noise is not None}
    print(json.dumps(metrics, indent=2))
    if args.out:
        write_json(args.out, metrics)


def read(folder: Path, train_folder: Path | None) -> tuple[Sentences, np.ndarray]:
    """All sentences, and the fold each is tested in; -1 is only trained on."""
    brain, texts, passages, parts = read_parts(folder, train_folder)
    return Sentences(brain, np.array(texts), np.array(passages), embed(texts)[0]), parts


def decode(
    train: Sentences, test: Sentences, args: argparse.Namespace, llm: Any, *, seed: int
) -> Fold:
    """Fit on some passages, decode others."""
    if args.decoder in WRITING:
        return Fold(**decode_sentences(train, test, args, llm, seed=seed))
    ridge, penalty = regression(train)
    predicted = ridge.predict(test.brain)
    mean = train.embedding.mean(axis=0)
    basis = np.linalg.svd(train.embedding - mean, full_matrices=False)[2][:COMPONENTS].T
    scale = ((ridge.out_of_fold - mean) @ basis).std(axis=0).mean()

    def windows(embedding: np.ndarray) -> np.ndarray:
        return ((embedding - mean) @ basis / scale)[:, None]

    left = group_folds(train.passages, 8, order="appearance") == 7
    learn, watch = np.flatnonzero(~left), np.flatnonzero(left)
    if llm is None:
        llm = vector_llm(
            train.texts[learn].tolist(), train.texts[watch].tolist(), encoder=default_bert()[0]
        )
    config = BrainLLMConfig(COMPONENTS, frames=1, decoder=args.decoder, steering=True)
    model = BrainLLM(config, llm=llm[0], text_tokenizer=llm[1])
    ids = np.array([f"sentence {i}" for i in range(len(train.texts))])
    seen = torch.from_numpy(windows(ridge.out_of_fold)).float()
    texts = [
        BrainTexts(tuple(ids[rows]), seen[rows], tuple(train.texts[rows]))
        for rows in (learn, watch)
    ]
    with tempfile.TemporaryDirectory() as run:
        done = train_brainllm(model, *texts, brainllm_preset(args.preset), run_dir=run)
    steering = {str(k): v for k, v in done["steering"].nll.items()}
    say(f"steering, validation nats a token by penalty: {steering}")

    truth = test.texts.tolist()
    partners = derangements(test.passages, count=args.derangements, seed=seed)
    pairs = needed_pairs(partners)
    own = np.stack([np.arange(len(truth))] * 2, axis=1)
    decoder = BrainLLMDecoder(model, sampling=SAMPLING, max_text_tokens=128)
    brains = decoder.read(windows(predicted))
    true, deranged = pairs.gather(decoder.score(brains, truth, pairs.index))
    nothing = decoder.score(decoder.read_nothing(), truth, own * [0, 1])
    baseline = NearestTextUnigram(train.embedding, train.texts.tolist(), words=llm[1].tokenize)
    bag = baseline.score(baseline.read(predicted), truth, pairs.index)
    return Fold(
        true,
        deranged,
        nothing,
        *pairs.gather(bag),
        two_way(predicted - mean, test.embedding - mean),
        decoder.write(brains),
        partners,
        penalty,
        steering,
        train.texts.tolist(),
    )


def regression(train: Sentences) -> tuple[Any, float]:
    """The ridge whose penalty finds left-out training passages best."""
    mean = train.embedding.mean(axis=0)

    def right(penalty: float) -> float:
        fitted = fit_ridge(
            train.brain, train.embedding, groups=list(train.passages), penalties=[penalty]
        )
        return float(two_way(fitted.out_of_fold - mean, train.embedding - mean).mean())

    best = max(PENALTIES, key=right)
    groups = list(train.passages)
    return fit_ridge(train.brain, train.embedding, groups=groups, penalties=[best]), best


def two_way(predicted: np.ndarray, embedding: np.ndarray) -> np.ndarray:
    """Share of other sentences that are less like each prediction than its own, (N,)."""
    return retrieval_scores(unit_rows(predicted) @ unit_rows(embedding).T)[0]


def report(test: Sentences, folds: Sequence[Fold]) -> dict:
    """Scores beside their nulls, over all folds."""
    blocks = test.passages.tolist()
    true = np.concatenate([f.true for f in folds])
    deranged = np.concatenate([f.deranged for f in folds], axis=1)
    nothing = np.concatenate([f.nothing for f in folds])
    permuted = pairwise_score(true, deranged, blocks=blocks)
    alone = pairwise_score(true, nothing, blocks=blocks, control="prompt alone")
    bag = pairwise_score(
        np.concatenate([f.unigram for f in folds]),
        np.concatenate([f.unigram_deranged for f in folds], axis=1),
        blocks=blocks,
    )
    found = np.concatenate([f.found for f in folds])
    said = [text for f in folds for text in f.said]
    # BLEU tells letters by their case
    truth = [text.lower() for text in test.texts]
    others = [
        [f.said[i].lower() for f in folds for i in f.partners[r]]
        for r in range(min(50, len(folds[0].partners)))
    ]
    return {
        "n": len(true),
        "pairwise_vs_permuted": permuted.value,
        "pairwise_vs_permuted_ci": permuted.interval.as_list(),
        "p": permuted.p,
        "pairwise_vs_nobrain": alone.value,
        "pairwise_vs_nobrain_p": alone.p,
        "pairwise_unigram": bag.value,
        "pairwise_unigram_p": bag.p,
        "retrieval_2way": float(found.mean()),
        "retrieval_2way_ci": bootstrap_interval(found, blocks=blocks).as_list(),
        "nll": float(true.mean()),
        "nll_nobrain": float(nothing.mean()),
        "bleu1": bleu([text.lower() for text in said], truth, order=1).value,
        "bleu1_permuted": float(np.mean([bleu(o, truth, order=1).value for o in others])),
        "mode": "pairwise and nll are teacher-forced; bleu1 is of free generation",
        "penalties": [f.penalty for f in folds],
        "steering_nll": [f.steering for f in folds],
        "examples": [
            {"read": t, "decoded": s}
            for t, s in zip(test.texts[::67].tolist(), said[::67], strict=True)
        ],
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of what is decoded")
    parser.add_argument("--train-data", type=Path, help="fit on this folder, test on all of --data")
    parser.add_argument("--out", type=Path, help="JSON file for the metrics")
    parser.add_argument("--llm", type=Path, metavar="MODEL", help="smollm2, or folder of a model")
    parser.add_argument("--decoder", choices=(*DECODERS, *sorted(WRITING)), default="none")
    parser.add_argument(
        "--preset", choices=BRAINLLM_PRESETS, default="fastbrain", help="of BrainLLM's training"
    )
    parser.add_argument("--kept", type=Path, help="folder of written sentences, to go on with")
    parser.add_argument("--noise", type=int, metavar="SEED", help="noise instead of every image")
    parser.add_argument("--seed", type=int, default=0, help="of what retrieve and edit write")
    parser.add_argument("--derangements", type=positive, default=1999, help="for p; default 1999")
    args = parser.parse_args()
    if args.decoder in WRITING and not args.llm:
        parser.error(f"--decoder {args.decoder} needs --llm, a pretrained language model")
    if args.kept and args.decoder not in WRITING:
        parser.error(f"--kept needs --decoder {' or '.join(sorted(WRITING))}, got {args.decoder}")
    return args


if __name__ == "__main__":
    try:
        main()
    except FastbrainError as error:
        raise SystemExit(str(error)) from None
