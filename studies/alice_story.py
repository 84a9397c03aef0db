"""Real fMRI: write down what people heard, from six regions of their brains.

    python studies/alice_story.py --data DIR --out metrics.json

`DIR` is as in ``alice_retrieval.py``, with the word timings below ``stim/`` (Brennan et al. 2016).
All listeners heard the same twelve minutes, so no listener's story is new to the others. What can
be held out, and is: a quarter of the story at a time, eight volumes on either side of it, and half
of the listeners. Whatever is fitted (regressions and their penalties, the language model, BrainLLM,
the encoding model) has neither read that quarter nor seen those listeners. What cannot be: the
other three quarters are the same story by the same author, told by the same voice.

From brain to words, window by window of 8 s:

1. Ridge regressions from the volumes during and after a window predict how many words it has, and
   a sentence embedding of them.
2. The embedding's first components steer a small language model that has read the other three
   quarters and has the word vectors of MiniLM (BrainLLM).
3. A beam writes as many words as predicted (``fastbrain.brainllm.reconstruct``).
4. The baseline goes the other way: an encoding model from words to volumes, and a beam over words
   by what they would do to the brain (Tang et al. 2023).

Written to ``--out``: ``word_rate_r``, ``retrieval_2way`` and ``pairwise_vs_permuted`` of single
listeners and, ``_group``, of the mean of the held-out half, and the text scores of both decoders
for that mean. ``pairwise_p`` belongs to ``pairwise_of_mean``, of likelihoods that are averaged over
listeners or halves first. ``chance`` and ``p`` are of the story shifted within its quarter; the
text scores are reported with the word rate and the language model without a brain, too. ``--noise
SEED`` randomises the phases of every listener: all scores must fall to chance.

p is of finished decoders and shifted windows, which are few and alike. Where the validation part
turns steering off, brains tie (``pairwise_ties``); BrainLLM writes what the word rate alone would.
"""

from __future__ import annotations

import argparse
import itertools
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

# the sibling files read the listeners and the words, and fit what decodes them
from alice_decoders import GUARD, LAGS, WINDOW, Heard, encoded, fit, flat, language_model, windows
from alice_retrieval import TR, filtered, random_phases, read_listeners
from alice_words import SILENCE_S
from alice_words import read_story as read_words_of
from checked_input import positive, same_length

from fastbrain._io import write_json
from fastbrain._progress import say
from fastbrain.brainllm import BrainLLMDecoder, reconstruct, story_search
from fastbrain.data import story_samples
from fastbrain.decoding import Story
from fastbrain.errors import FastbrainError
from fastbrain.evaluation import (
    find_score,
    pairwise_score,
    retrieval_scores,
    shifted_partners,
    story_scores,
)
from fastbrain.evaluation.metrics.bertscore import default_bert
from fastbrain.evaluation.metrics.registry import TEXT_METRICS
from fastbrain.lm.sentence_embeddings import sentence_embeddings
from fastbrain.stats import needed_pairs, permutation_p
from fastbrain.stats.unit_rows import unit_rows

PARTS = 4
SHIFT = 3  # windows: 24 s, longer than the response to one
METRICS = [m for m in TEXT_METRICS if m.name in ("bleu1", "rougeL_f", "wer", "bertscore_f")]


@dataclass(frozen=True)
class Fold:
    """What one quarter gives, of single listeners (L, N) and of the means of halves (2, N)."""

    partners: np.ndarray  # (R, N)
    truth: list[str]
    rate: dict[str, np.ndarray]  # predicted words
    words: np.ndarray
    nll: dict[str, np.ndarray]  # (rows, 1 + R, N)
    found: dict[str, np.ndarray]  # (rows, 1 + R, N) right of two
    said: dict[str, list[list[str]]]  # of each half


def main() -> None:
    """Read, fit, decode, report."""
    args = _arguments()
    torch.manual_seed(0)
    people, excluded = read_listeners(args.data / "6mm")
    volumes = same_length(people, args.data)
    brains = {name: filtered(values) for name, values in people.items()}
    if args.noise is not None:
        rng = np.random.default_rng(args.noise)
        brains = {name: random_phases(values, rng) for name, values in brains.items()}
    heard, words = read_story(args.data, volumes)
    edges = np.linspace(0, volumes, PARTS + 1).astype(int)
    folds = []
    for part, (start, stop) in enumerate(itertools.pairwise(edges)):
        folds.append(decode(brains, heard, words, (start, stop), args.derangements, part))
        say(f"quarter {part + 1} of {PARTS} is decoded")
    metrics = report(folds)
    metrics |= {"listeners": len(brains), "excluded": excluded, "noise": args.noise is not None}
    print(json.dumps(metrics, indent=2))
    if args.out:
        write_json(args.out, metrics)


def read_story(folder: Path, volumes: int) -> tuple[Heard, list]:
    """All windows, one volume apart, and the words with the times of the volumes."""
    words = read_words_of(folder)
    samples = story_samples(
        words, tr=TR, n_volumes=volumes, window=WINDOW, step=1, prompt=0, onset_s=-SILENCE_S
    )
    texts = [s.text.lower() for s in samples]
    return Heard(
        np.array([s.start for s in samples]),
        np.array(texts),
        np.array([s.words for s in samples]),
        sentence_embeddings(texts, default_bert()[0]).reshape(len(texts), -1),
    ), words


def decode(
    brains: dict[str, np.ndarray],
    heard: Heard,
    words: list,
    quarter: tuple[int, int],
    count: int,
    seed: int,
) -> Fold:
    """Decode a quarter of the story, each half of the listeners by what the other half gives."""
    first, last = quarter
    starts = heard.starts
    # a window and the lags after it end this many volumes after its start
    reach = WINDOW + max(LAGS)
    inside = (starts >= first) & (starts + reach <= last) & ((starts - first) % WINDOW == 0)
    outside = (starts + reach + GUARD <= first) | (starts >= last + GUARD)
    test, train = heard[inside], heard[outside]
    partners = shifted_partners([len(test.texts)], guard=SHIFT, count=count, seed=seed)
    llm = language_model(train)
    names = list(brains)
    halves = [(names[::2], names[1::2]), (names[1::2], names[::2])]
    out: dict[str, dict[str, list]] = {k: {} for k in ("rate", "nll", "found", "said")}

    def add(kind: str, name: str, value: Any) -> None:
        out[kind].setdefault(name, []).append(value)

    for learners, tested in halves:
        rate, ridge, model, basis = fit([brains[name] for name in learners], train, llm)
        group = np.mean([brains[name] for name in tested], axis=0)
        for name, values in [*((n, brains[n]) for n in tested), ("group", group)]:
            kind = "group" if name == "group" else "single"
            rows = windows(values, test.starts)
            predicted = ridge.predict(flat(rows))
            components = predicted / basis[2]
            decoder = BrainLLMDecoder(model, max_text_tokens=128, end=False)
            pairs = needed_pairs(partners)
            own, other = pairs.gather(
                decoder.score(decoder.read(components[:, None]), test.texts, pairs.index)
            )
            add("rate", kind, rate.predict(rows))
            add("nll", kind, np.concatenate([own[None], other]))
            true = unit_rows((test.embedding - basis[0]) @ basis[1])
            add("found", kind, found(unit_rows(predicted) @ true.T, partners))
        counts = rate.counts(windows(group, test.starts))
        brain = torch.from_numpy(components[:, None]).float()
        search = replace(story_search("fastbrain"), longest_word=4)
        add("said", "BrainLLM", texts(reconstruct(model, brain, counts, search=search)))
        add("said", "prompt alone", texts(reconstruct(model, None, counts, search=search)))
        story = encoded(
            np.mean([brains[name] for name in learners], axis=0),
            group, words, llm, quarter, counts, test.starts,
        )  # fmt: skip
        add("said", "encoding model", texts(story))
    return Fold(
        partners,
        test.texts.tolist(),
        {k: np.array(v) for k, v in out["rate"].items()},
        test.words,
        {k: np.array(v) for k, v in out["nll"].items()},
        {k: np.array(v) for k, v in out["found"].items()},
        out["said"],
    )


def texts(story: Story) -> list[str]:
    """What was written in each window."""
    return list(story.texts)


def found(similar: np.ndarray, partners: np.ndarray) -> np.ndarray:
    """Right of two, (1 + R, N), of the true windows and of shifted brains."""
    rows = [np.arange(len(similar)), *partners]
    return np.array([retrieval_scores(similar[row])[0] for row in rows])


def report(folds: list[Fold]) -> dict[str, Any]:
    """Scores beside their nulls, over all quarters."""
    truth = [text for fold in folds for text in fold.truth]
    lengths = [len(fold.truth) for fold in folds]
    partners = np.concatenate(
        [f.partners + start for f, start in zip(folds, np.cumsum([0, *lengths]), strict=False)],
        axis=1,
    )
    quarters = np.repeat(np.arange(len(folds)), lengths)
    metrics: dict[str, Any] = {"n": len(truth), "windows_s": WINDOW * TR}
    for kind, suffix in (("single", ""), ("group", "_group")):
        nll = np.concatenate([f.nll[kind].mean(axis=0) for f in folds], axis=1)
        wins = np.concatenate([_wins(f.nll[kind]).mean(axis=(0, 1)) for f in folds])
        ties = np.mean([(f.nll[kind][:, :1] == f.nll[kind][:, 1:]).mean() for f in folds])
        score = pairwise_score(nll[0], nll[1:], blocks=quarters.tolist())
        metrics |= {
            f"pairwise_vs_permuted{suffix}": float(wins.mean()), f"pairwise{suffix}_chance": 0.5,
            f"pairwise_of_mean{suffix}": score.value, f"pairwise{suffix}_p": score.p,
            f"pairwise{suffix}_ties": float(ties),
        }  # fmt: skip
        two = np.concatenate([f.found[kind].mean(axis=0) for f in folds], axis=1).mean(axis=1)
        metrics |= {
            f"retrieval_2way{suffix}": float(two[0]),
            f"retrieval_2way{suffix}_chance": float(two[1:].mean()),
            f"retrieval_2way{suffix}_p": permutation_p(two[0], two[1:]),
        }
        rate = np.array([_rate(folds, kind, row) for row in range(-1, len(partners))])
        metrics |= {
            f"word_rate_r{suffix}": float(rate[0]),
            f"word_rate_r{suffix}_chance": float(rate[1:].mean()),
            f"word_rate_r{suffix}_p": permutation_p(rate[0], rate[1:]),
        }
    metrics["p"] = metrics["pairwise_p"]
    for name in ("BrainLLM", "encoding model"):
        halves = []
        for half in range(2):
            said = [text for f in folds for text in f.said[name][half]]
            alone = [text for f in folds for text in f.said["prompt alone"][half]]
            halves.append(
                story_scores(
                    said,
                    truth,
                    partners,
                    others={"prompt alone": alone},
                    blocks=quarters.tolist(),
                    metrics=METRICS,
                )
            )
        metrics[name] = {m.name: _both(halves, m.name) for m in METRICS}
    metrics["examples"] = [
        {"heard": t} | {k: v for k, v in zip(folds[0].said, said, strict=True)}
        for t, *said in list(
            zip(folds[0].truth, *(v[0] for v in folds[0].said.values()), strict=True)
        )[::6]
    ]
    metrics["mode"] = "pairwise is teacher-forced; text scores are of free generation"
    return metrics


def _wins(nll: np.ndarray) -> np.ndarray:
    """Whether the own brain makes each window likelier than a shifted one; ties are a half."""
    own, other = nll[:, :1], nll[:, 1:]
    return (own < other) + 0.5 * (own == other)


def _rate(folds: list[Fold], kind: str, row: int) -> float:
    """Correlation of predicted and true words, mean over listeners; of shift `row`, or none."""
    r = []
    for f in folds:
        order = np.arange(len(f.words)) if row < 0 else f.partners[row]
        r += [np.corrcoef(values[order], f.words)[0, 1] for values in f.rate[kind]]
    return float(np.mean(r))


def _both(halves: list, metric: str) -> dict[str, Any]:
    """Mean of a text score over both halves, with the larger of its two p."""
    own = [find_score(half, metric, control="deranged brain") for half in halves]
    alone = [find_score(half, metric, control="prompt alone") for half in halves]
    return {
        "value": float(np.mean([s.value for s in own])),
        "chance": float(np.mean([s.chance for s in own])),
        "p": max(s.p for s in own),
        "prompt_alone": float(np.mean([s.chance for s in alone])),
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the listeners")
    parser.add_argument("--out", type=Path, help="JSON file for the metrics")
    parser.add_argument("--derangements", type=positive, default=199, help="for p; default 199")
    parser.add_argument("--noise", type=int, metavar="SEED", help="phase-randomised listeners")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main()
    except FastbrainError as error:
        raise SystemExit(str(error)) from None
