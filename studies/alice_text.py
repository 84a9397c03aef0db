"""Real fMRI: predict what 20 seconds of a story say, and let a language model write it.

    python studies/alice_text.py --data DIR --out metrics.json [--llm MODEL --decoder retrieve]

`DIR` is as in ``alice_motion.py``, with word timings as in ``alice_words.py``. A decoder learns
from one random half of the listeners and is tested on the other, on a quarter of the story at a
time: whatever is fitted or chosen has seen neither those listeners nor the quarter nor any word or
volume within 20 s of its responses. Filter and motion see the whole run of their own listener. The
decoder learns from the 20 s after every second volume of each learner; the brain is the 12 volumes
from 4 s to 28 s after such a segment begins (delays of 3 to 9 s), in six regions of two radii.

From the brain to a segment, among the nine of its quarter:

- ``embedding``: a ridge regression to the layers of MiniLM (``fit_sentence_readout``);
- ``rate``: one to the words, seconds of speech and letters in each of the ten volumes, from the
  three volumes that follow 4 to 8 s later;
- ``both``: the sum of both cosines; how much the rate counts is what finds segments of left-out
  blocks of the training part best.

``two_way_KIND`` is of one listener, ``two_way_KIND_group`` of the mean of the tested half, both
means over random halves (``_range``: 95 % of the halves); ``_ci`` is over blocks of three segments,
``_chance`` and ``_p`` are of other segments' brains, of another block of the quarter.

With ``--llm``, the mean of one tested half is decoded to text as in ``pereira_brainllm.py``, with
the same keys; those that end in ``_nearest`` are of the nearest training segment, copied.
``cpu_s_a_segment`` is the processor time, in seconds, of writing a segment and of its likelihood
under its own and other brains. ``--noise SEED`` randomises the phases of each listener: all scores
must fall to chance.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

# the sibling files read the story, fit the read-outs and report written texts
from alice_motion import without_motion
from alice_readout import PARTS, RATES, Heard, Remembered, hear, learn, quarters, samples, windows
from alice_retrieval import VOLUMES, random_phases, read_radii
from checked_input import positive
from pereira_brainllm import Fold, Sentences
from pereira_brainllm import report as report_texts
from pereira_text import decoded, scores_of_text

from fastbrain._io import write_json
from fastbrain._progress import say, track
from fastbrain.decoding import LineWriter, fit_sentence_decoder
from fastbrain.decoding.sentences import WRITING
from fastbrain.errors import FastbrainError
from fastbrain.evaluation import score_beside_null
from fastbrain.evaluation.metrics.bertscore import default_bert
from fastbrain.lm import load_llm
from fastbrain.lm.sentence_embeddings import SentenceEncoder
from fastbrain.stats import derangements

BLOCK = 3  # segments of a quarter that are not exchanged for each other
KINDS = ("embedding", "rate", "both")
# a segment has some 60 words; more than one token a word
LENGTH = {"max_new_tokens": 80, "min_new_tokens": 40, "prompts": 2, "samples": 6}


def main() -> None:
    """Read, fit, decode, report."""
    args = _arguments()
    llm = load_llm(str(args.llm)) if args.llm else None
    people, excluded = read_radii(args.data, args.radius)
    if args.noise is not None:
        rng = np.random.default_rng(args.noise)
        people = {name: random_phases(values, rng) for name, values in people.items()}
    brains = np.stack([windows(v) for v in without_motion(people, args.data).values()])
    heard, encoder = hear(args.data, brains.shape[1] + VOLUMES - 1), Remembered(default_bert()[0])
    metrics = {"listeners": len(brains), "excluded": excluded}
    metrics |= identify(brains, heard, encoder, args)
    if llm is not None:
        metrics |= write(brains, heard, encoder, llm, args)
    metrics["noise"] = args.noise is not None
    print(json.dumps(metrics, indent=2))
    if args.out:
        write_json(args.out, metrics)


def identify(brains: np.ndarray, heard: Heard, encoder: SentenceEncoder, args: Any) -> dict:
    """Right of two by predicted embedding and word rate, over random halves of the listeners."""
    rng = np.random.default_rng(args.seed)
    found: dict[str, list] = {"single": [], "group": []}
    weights = []
    for _ in track(range(args.halves), "halves of the listeners"):
        order = rng.permutation(len(brains))
        middle = len(order) // 2
        for learners, tested in (
            (order[middle:], order[:middle]),
            (order[:middle], order[middle:]),
        ):
            wins: dict[str, list] = {"single": [], "group": []}
            for train, test in quarters(brains.shape[1]):
                model = learn(brains[learners], heard, train, encoder)
                weights.append(model.weight)
                unseen = brains[tested][:, test]
                each = [model.similarity(x, heard, test) for x in unseen]
                wins["single"].append(np.mean([won(s) for s in each], axis=0))
                wins["group"].append(won(model.similarity(unseen.mean(axis=0), heard, test)))
            for kind, parts in wins.items():
                found[kind].append(joined(parts))
    part = np.repeat(np.arange(PARTS), [len(test) for _, test in quarters(brains.shape[1])])
    block = [f"{p}-{passage}" for p in range(PARTS) for passage in passages(np.sum(part == p))]
    partners = derangements(block, count=args.derangements, within=part.tolist(), seed=args.seed)
    metrics: dict[str, Any] = {"segments": len(part), "n_halves": 2 * args.halves}
    metrics["rate_weights"] = {str(w): weights.count(w) for w in RATES}
    at = np.arange(len(part))
    for kind, suffix in (("single", ""), ("group", "_group")):
        every = np.stack(found[kind])  # (halves, kinds, N, N)
        for number, name in enumerate(KINDS):
            mean, key = every[:, number].mean(axis=0), f"two_way_{name}{suffix}"
            own, null = mean[at, at], mean[partners, at].mean(axis=1)
            halves = every[:, number, at, at].mean(axis=1)
            score = score_beside_null(
                key, own, null, mode="retrieval", control="deranged brain", blocks=block
            )
            metrics |= score.to_row()
            metrics[f"{key}_range"] = np.quantile(halves, [0.025, 0.975]).tolist()
    return metrics


def passages(count: int) -> np.ndarray:
    """Number of the block of three segments, of each segment of a quarter."""
    return np.arange(count) // BLOCK


def won(similar: np.ndarray) -> np.ndarray:
    """Share of other segments less like each brain than each segment is, (kinds, N, N)."""
    own, others = similar[..., :, None], similar[..., None, :]
    wins = ((own > others) + 0.5 * (own == others)).sum(axis=-1)
    return (wins - 0.5) / (similar.shape[-1] - 1)


def joined(parts: list[np.ndarray]) -> np.ndarray:
    """Quarters (kinds, n, n) as one (kinds, N, N); NaN between quarters, which are not compared."""
    sizes = np.cumsum([0, *(part.shape[-1] for part in parts)])
    whole = np.full((len(KINDS), sizes[-1], sizes[-1]), np.nan)
    for part, first, last in zip(parts, sizes[:-1], sizes[1:], strict=True):
        whole[:, first:last, first:last] = part
    return whole


def write(brains: np.ndarray, heard: Heard, encoder: SentenceEncoder, llm: Any, args: Any) -> dict:
    """Texts of the mean of one random half, quarter by quarter, and their scores."""
    order = np.random.default_rng(args.seed).permutation(len(brains))
    learners, tested = order[len(order) // 2 :], order[: len(order) // 2]
    folds, near, tests, seconds = [], [], [], 0.0
    for part, (train, at) in enumerate(quarters(brains.shape[1])):
        x, texts, groups = samples(brains[learners], heard, train)
        decoder = fit_sentence_decoder(
            x, texts, groups=groups, writer=LineWriter(*llm), encoder=encoder,
            writing=replace(WRITING[args.decoder], **LENGTH), samples=args.samples, seed=args.seed,
        )  # fmt: skip
        # shots that do not overlap, each once
        rows = np.flatnonzero(train % VOLUMES == 0)
        kept = {name: getattr(decoder.readout, name)[rows] for name in ("vectors", "out_of_fold")}
        kept["texts"] = tuple(texts[row] for row in rows)
        decoder = replace(decoder, readout=replace(decoder.readout, **kept))
        blocks = np.array([f"{part}-{passage}" for passage in passages(len(at))])
        truth = heard.texts[at]
        brain = brains[tested][:, at].mean(axis=0)
        test = Sentences(brain, truth, blocks, decoder.readout.embed(truth.tolist()))
        partners = derangements(blocks.tolist(), count=args.derangements, seed=part)
        began = time.process_time()
        folds.append(Fold(**decoded(decoder, test, partners)))
        seconds += time.process_time() - began
        nearest = (decoder.read(brain) @ decoder.readout.vectors.T).argmax(axis=1)
        near.append(replace(folds[-1], said=[kept["texts"][i] for i in nearest]))
        tests.append(test)
        say(f"quarter {part + 1} of {PARTS} is written")
    every = Sentences(*(np.concatenate([vars(t)[k] for t in tests]) for k in vars(tests[0])))
    copied = {**report_texts(every, near), **scores_of_text(every, near, llm)}
    names = [name for name in copied if name.startswith(("identification", "bleu1", "cosine"))]
    names += ["nll_fluency"]
    return {
        **report_texts(every, folds),
        **scores_of_text(every, folds, llm),
        **{f"{name}_nearest": copied[name] for name in names},
        "decoder": args.decoder,
        "cpu_s_a_segment": seconds / len(every.texts),
        "listeners_tested": len(tested),
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of listeners and stim/")
    parser.add_argument(
        "--radius", nargs="+", default=["10mm", "6mm"], help="folders; default 10mm 6mm"
    )
    parser.add_argument("--llm", type=Path, metavar="MODEL", help="smollm2, or folder of a model")
    parser.add_argument("--decoder", choices=sorted(WRITING), help="default retrieve")
    parser.add_argument(
        "--samples", type=positive, default=128, help="texts written without a brain"
    )
    parser.add_argument(
        "--halves", type=positive, default=10, help="random halves; both ways round"
    )
    parser.add_argument("--derangements", type=positive, default=999, help="for p; default 999")
    parser.add_argument("--noise", type=int, metavar="SEED", help="phase-randomised listeners")
    parser.add_argument("--seed", type=int, default=0, help="of halves and texts")
    parser.add_argument("--out", type=Path, help="JSON file for the metrics")
    args = parser.parse_args()
    if args.decoder and not args.llm:
        parser.error("--decoder needs --llm: without a language model no text is written")
    args.decoder = args.decoder or "retrieve"
    return args


if __name__ == "__main__":
    try:
        main()
    except FastbrainError as error:
        raise SystemExit(str(error)) from None
